"""Escalate: from a condition that holds to a person who knows of it, and until nobody need."""
