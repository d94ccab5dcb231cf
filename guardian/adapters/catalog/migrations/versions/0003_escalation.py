"""Escalation: incidents and their timelines, the outbox, how channels do, silences."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.Text(), "sqlite", "postgresql")
TIME = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def number() -> sa.Column[Any]:
    return sa.Column("number", SERIAL, nullable=False, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "guardian_incidents",
        number(),
        column("id", KEY),
        column("key", KEY),
        column("open_key", KEY, null=True),
        column("version", sa.BigInteger()),
        column("kind", KEY),
        column("scope", KEY),
        column("severity", KEY),
        column("state", KEY),
        column("title", sa.Text()),
        column("opened_at", TIME),
        column("updated_at", TIME),
        column("resolved_at", TIME, null=True),
        column("body", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_incidents"),
        sa.UniqueConstraint("id", name="uq_guardian_incidents_id"),
        sa.UniqueConstraint("open_key", name="uq_guardian_incidents_open_key"),
    )
    op.create_index("ix_guardian_incidents_key", "guardian_incidents", ["key"])
    op.create_index("ix_guardian_incidents_opened_at", "guardian_incidents", ["opened_at"])
    op.create_table(
        "guardian_timeline",
        number(),
        column("incident_id", KEY),
        column("at", TIME),
        column("kind", KEY),
        column("text", sa.Text()),
        column("by", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_timeline"),
    )
    op.create_index("ix_guardian_timeline_incident_id", "guardian_timeline", ["incident_id"])
    op.create_table(
        "guardian_outbox",
        number(),
        column("incident_id", KEY, null=True),
        column("dedup_key", KEY),
        column("channel", KEY),
        column("position", sa.BigInteger()),
        column("rung", KEY),
        column("kind", KEY),
        column("severity", KEY),
        column("title", sa.Text()),
        column("standing", KEY),
        column("created_at", TIME),
        column("next_at", TIME),
        column("delivered_at", TIME, null=True),
        column("attempts", sa.BigInteger()),
        column("error", sa.Text(), null=True),
        column("told_in", KEY, null=True),
        column("others", sa.Text()),
        column("tried", sa.Text()),
        column("refused", sa.Text()),
        column("body", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_guardian_outbox"),
    )
    op.create_index("ix_guardian_outbox_incident_id", "guardian_outbox", ["incident_id"])
    op.create_index("ix_guardian_outbox_told_in", "guardian_outbox", ["told_in"])
    op.create_index(
        "ix_guardian_outbox_standing_dedup_key_channel",
        "guardian_outbox",
        ["standing", "dedup_key", "channel"],
    )
    op.create_table(
        "guardian_channel_memos",
        column("dedup_key", KEY),
        column("channel", KEY),
        column("memo", sa.Text()),
        sa.PrimaryKeyConstraint("dedup_key", "channel", name="pk_guardian_channel_memos"),
    )
    op.create_table(
        "guardian_channels",
        column("channel", KEY),
        column("failing_since", TIME, null=True),
        column("failures", sa.BigInteger()),
        column("last_success_at", TIME, null=True),
        column("last_error", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("channel", name="pk_guardian_channels"),
    )
    op.create_table(
        "guardian_silences",
        column("id", KEY),
        column("starts_at", TIME),
        column("ends_at", TIME),
        column("reason", sa.Text()),
        column("made_by", sa.Text()),
        column("match", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_guardian_silences"),
    )


def downgrade() -> None:
    for table in ("silences", "channels", "channel_memos", "outbox", "timeline", "incidents"):
        op.drop_table(f"guardian_{table}")
