"""How many tables and rows a backup holds, as its fingerprint counted them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("guardian_backups", sa.Column("tables", sa.BigInteger(), nullable=True))
    op.add_column("guardian_backups", sa.Column("rows", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("guardian_backups", "rows")
    op.drop_column("guardian_backups", "tables")
