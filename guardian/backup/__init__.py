"""Back up: what is due, what is kept, how a backup is laid out, and the run that makes one."""
