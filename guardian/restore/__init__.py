"""Bring backups back: what an archive holds, which part of it is wanted, and in what order."""
