"""Write the next revision from the difference between the scripts and the models (developers)."""

from __future__ import annotations

import sys

from alembic import command
from sqlalchemy import create_engine

from guardian.adapters.catalog.schema import REVISIONS, alembic_config, upgrade

if __name__ == "__main__":
    with create_engine("sqlite://").begin() as connection:
        upgrade(connection)
        command.revision(
            alembic_config(connection),
            message=sys.argv[1],
            autogenerate=True,
            rev_id=f"{len(REVISIONS) + 1:04d}",
        )
