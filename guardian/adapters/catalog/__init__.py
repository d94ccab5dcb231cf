"""The catalog on SQLAlchemy: models, queries, leases, migrations."""
