"""The catalog: guardian's memory, on SQLAlchemy (``catalog``) or in memory (``memory``).

Nothing is imported here, so that the one in memory comes without SQLAlchemy.
"""
