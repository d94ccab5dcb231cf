"""The first catalog: backups, their copies, manifests, pins and drills; events; leases.

Column types are written out here: what a released revision makes never changes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.Text(), "sqlite", "postgresql")
TIME = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def of_backup(table: str) -> list[Any]:
    """The column that leads to the backup, and its foreign key."""
    return [
        column("backup_id", KEY),
        sa.ForeignKeyConstraint(
            ["backup_id"], ["guardian_backups.id"], name=f"fk_{table}_backup_id"
        ),
    ]


def upgrade() -> None:
    op.create_table(
        "guardian_backups",
        sa.Column("number", SERIAL, nullable=False, autoincrement=True),
        column("id", KEY),
        column("server", KEY),
        column("database", KEY),
        column("status", KEY),
        column("started_at", TIME),
        column("finished_at", TIME, null=True),
        column("snapshot_at", TIME, null=True),
        column("stored_bytes", sa.BigInteger()),
        column("dumped_bytes", sa.BigInteger()),
        column("proof", KEY),
        column("proven", sa.Boolean(), null=True),
        column("proven_at", TIME, null=True),
        column("cause", KEY, null=True),
        column("error", sa.Text(), null=True),
        column("lease_token", KEY, null=True),
        column("holder", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_backups"),
        sa.UniqueConstraint("id", name="uq_guardian_backups_id"),
    )
    op.create_index(
        "ix_guardian_backups_server_database_started_at",
        "guardian_backups",
        ["server", "database", "started_at"],
    )
    op.create_index("ix_guardian_backups_status", "guardian_backups", ["status"])
    op.create_table(
        "guardian_manifests",
        *of_backup("guardian_manifests"),
        column("manifest", sa.Text()),
        sa.PrimaryKeyConstraint("backup_id", name="pk_guardian_manifests"),
    )
    op.create_table(
        "guardian_copies",
        *of_backup("guardian_copies"),
        column("store", KEY),
        column("position", sa.BigInteger()),
        column("status", KEY),
        column("error", sa.Text(), null=True),
        column("cause", KEY, null=True),
        column("locked_until", TIME, null=True),
        column("deleted_at", TIME, null=True),
        sa.PrimaryKeyConstraint("backup_id", "store", name="pk_guardian_copies"),
    )
    op.create_table(
        "guardian_pins",
        *of_backup("guardian_pins"),
        column("pinned_at", TIME),
        column("pinned_by", sa.Text()),
        column("reason", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("backup_id", name="pk_guardian_pins"),
    )
    op.create_table(
        "guardian_proofs",
        sa.Column("number", SERIAL, nullable=False, autoincrement=True),
        *of_backup("guardian_proofs"),
        column("store", KEY),
        column("result", KEY),
        column("at", TIME),
        column("tables", sa.BigInteger()),
        column("rows", sa.BigInteger()),
        column("seconds", sa.Double()),
        column("fetch_seconds", sa.Double()),
        column("restore_seconds", sa.Double()),
        column("compare_seconds", sa.Double()),
        column("reason", sa.Text(), null=True),
        column("details", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_proofs"),
    )
    op.create_index("ix_guardian_proofs_backup_id", "guardian_proofs", ["backup_id"])
    op.create_table(
        "guardian_events",
        sa.Column("number", SERIAL, nullable=False, autoincrement=True),
        column("at", TIME),
        column("kind", KEY),
        column("message", sa.Text()),
        column("server", KEY, null=True),
        column("database", KEY, null=True),
        column("backup_id", KEY, null=True),
        column("data", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_events"),
    )
    op.create_index("ix_guardian_events_at", "guardian_events", ["at"])
    op.create_index("ix_guardian_events_kind", "guardian_events", ["kind"])
    op.create_table(
        "guardian_leases",
        column("name", KEY),
        column("token", KEY),
        column("host", sa.Text()),
        column("boot", sa.Text()),
        column("pid", sa.BigInteger()),
        column("pid_started", sa.Text()),
        column("command", sa.Text()),
        column("acquired_at", TIME),
        column("expires_at", TIME),
        sa.PrimaryKeyConstraint("name", name="pk_guardian_leases"),
    )


def downgrade() -> None:
    for table in ("leases", "events", "proofs", "pins", "copies", "manifests", "backups"):
        op.drop_table(f"guardian_{table}")
