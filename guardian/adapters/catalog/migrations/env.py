"""How Alembic runs our scripts: on the connection, and in the transaction, that we give it.

To write the next revision, make the models right and then, in the repository:

    python -m guardian.adapters.catalog.migrations "what changes"
"""

from __future__ import annotations

from alembic import context

from guardian.adapters.catalog.models import METADATA
from guardian.adapters.catalog.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    # SQLite cannot alter most things; batch mode makes the table anew.
    render_as_batch=True,
    # Other tables in the same database are none of our business.
    include_name=lambda name, kind, _parents: kind != "table" or str(name).startswith("guardian_"),
)
with context.begin_transaction():
    context.run_migrations()
