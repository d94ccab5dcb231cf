"""Whether a restored database is what the source was: the comparison and the verdict."""
