"""What pages ask: vitals over time, and tries and drills by their time alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.Text(), "sqlite", "postgresql")
SHORT_KEY = sa.String(64).with_variant(sa.Text(), "sqlite", "postgresql")
TIME = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "guardian_vitals",
        sa.Column("server", KEY, nullable=False),
        sa.Column("vital", SHORT_KEY, nullable=False),
        sa.Column("subject", KEY, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("last", sa.Double(), nullable=False),
        sa.Column("severity", SHORT_KEY, nullable=False),
        sa.PrimaryKeyConstraint("server", "vital", "subject", "at", name="pk_guardian_vitals"),
    )
    op.create_index("ix_guardian_vitals_server_at", "guardian_vitals", ["server", "at"])
    op.create_index("ix_guardian_backups_started_at", "guardian_backups", ["started_at"])
    op.create_index("ix_guardian_proofs_at", "guardian_proofs", ["at"])


def downgrade() -> None:
    op.drop_index("ix_guardian_proofs_at", "guardian_proofs")
    op.drop_index("ix_guardian_backups_started_at", "guardian_backups")
    op.drop_table("guardian_vitals")
