"""PostgreSQL: connections, snapshots, dumps, fingerprints, privileges."""
