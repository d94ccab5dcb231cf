"""Watching servers: sessions, locks, and the policies over them."""
