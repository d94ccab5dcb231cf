"""When what is told at set times was told last; who observes what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.Text(), "sqlite", "postgresql")
TIME = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "guardian_occasions",
        sa.Column("name", KEY, nullable=False),
        sa.Column("told_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_guardian_occasions"),
    )
    op.create_table(
        "guardian_watchers",
        sa.Column("name", KEY, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_guardian_watchers"),
    )
    op.execute(  # until now the event alone remembered it
        "INSERT INTO guardian_occasions (name, told_at) "
        "SELECT kind, MAX(at) FROM guardian_events WHERE kind = 'digest_sent' GROUP BY kind"
    )


def downgrade() -> None:
    op.drop_table("guardian_watchers")
    op.drop_table("guardian_occasions")
