"""Guardian: one small daemon that makes sure a PostgreSQL database can always be brought back."""

__version__ = "0.1.0"
