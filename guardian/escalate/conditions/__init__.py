"""What is wrong, from what is remembered and what was just seen: pure functions to Observations.

Each room tells one kind of story; each function says *everything* that is wrong within its scope at
that instant, and leaves out what it cannot judge. Nothing is asked of the world here: the sensors
gather, and add the quick checks.

Titles hold instants and never ages ("since 02:00", not "for 3 hours"), so that a condition that is
only seen again is the very same as before.
"""
