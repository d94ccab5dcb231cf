"""The watch: the audit of kills, what a look must know of those before it, the recording."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.Text(), "sqlite", "postgresql")
TIME = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def upgrade() -> None:
    op.create_table(
        "guardian_kills",
        sa.Column("number", SERIAL, nullable=False, autoincrement=True),
        column("at", TIME),
        column("server", KEY),
        column("policy", sa.Text(), null=True),
        column("pid", sa.BigInteger()),
        column("backend_start", TIME, null=True),
        column("username", sa.Text(), null=True),
        column("database", sa.Text(), null=True),
        column("application", sa.Text(), null=True),
        column("query", sa.Text(), null=True),
        column("action", KEY),
        column("mode", KEY),
        column("outcome", KEY),
        column("reason", sa.Text()),
        column("evidence", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_kills"),
    )
    op.create_index("ix_guardian_kills_at", "guardian_kills", ["at"])
    op.create_index("ix_guardian_kills_server_at", "guardian_kills", ["server", "at"])
    op.create_table(
        "guardian_watch_memory",
        column("server", KEY),
        column("at", TIME),
        column("memory", sa.Text()),
        sa.PrimaryKeyConstraint("server", name="pk_guardian_watch_memory"),
    )
    op.create_table(
        "guardian_recording",
        column("server", KEY),
        column("first_at", TIME),
        column("last_at", TIME),
        column("size", sa.BigInteger()),
        column("data", sa.LargeBinary((1 << 24) - 1)),
        sa.PrimaryKeyConstraint("server", "first_at", name="pk_guardian_recording"),
    )


def downgrade() -> None:
    for table in ("recording", "watch_memory", "kills"):
        op.drop_table(f"guardian_{table}")
