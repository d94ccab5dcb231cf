"""Alembic's scripts, run by guardian.adapters.catalog.schema when a catalog is opened."""
