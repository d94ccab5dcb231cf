"""Leases as rows. Each function runs in a writing transaction of its caller.

What makes them atomic: SQLite has one writer at a time (BEGIN IMMEDIATE); elsewhere the row is
locked (FOR UPDATE), and of two that insert the same name the primary key lets one through.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from guardian.adapters.catalog import rows, rules
from guardian.adapters.catalog.models import LEASES
from guardian.model import Holder, Lease

Now = Callable[[Connection], datetime]
"""The current time. Asked for when the row is locked, for that may have taken a while."""

_table = LEASES


def take(
    connection: Connection,
    name: str,
    holder: Holder,
    ttl: timedelta,
    *,
    now: Now,
    is_alive: rules.IsAlive,
) -> Lease:
    """Take a lease that is free.

    Raises:
        AlreadyRunningError: it is held.
    """
    while True:
        held = _locked(connection, name)
        at = now(connection)
        lease = Lease(name, secrets.token_hex(16), holder, at, at + ttl)
        if held is not None:
            if not rules.is_free(held, at, is_alive):
                raise rules.refusal(held)
            connection.execute(
                update(LEASES).where(LEASES.c.name == name).values(rows.lease_values(lease))
            )
            return lease
        # Somebody else may have inserted it at this very moment; then we look again.
        with suppress(IntegrityError), connection.begin_nested():
            connection.execute(insert(LEASES).values(rows.lease_values(lease)))
            return lease


def prolong(connection: Connection, lease: Lease, ttl: timedelta, *, now: Now) -> Lease:
    """Move the end of a lease that is still ours, also when it has lapsed and nobody took it.

    Raises:
        AlreadyRunningError: it is not ours any more.
    """
    held = _locked(connection, lease.name)
    if held is None or held.token != lease.token:
        raise rules.loss(lease, held)
    longer = replace(held, expires_at=now(connection) + ttl)
    connection.execute(
        update(LEASES).where(LEASES.c.name == lease.name).values(expires_at=longer.expires_at)
    )
    return longer


def give_back(connection: Connection, lease: Lease) -> None:
    """Remove a lease if it is still ours."""
    connection.execute(
        delete(LEASES).where(LEASES.c.name == lease.name, LEASES.c.token == lease.token)
    )


def all_locked(connection: Connection) -> list[Lease]:
    """All leases, none of which can be renewed or taken before this transaction ends."""
    query = select(_table).order_by(LEASES.c.name).with_for_update()
    return [rows.lease(row) for row in connection.execute(query)]


def held(connection: Connection) -> list[Lease]:
    """All leases in order of name, also lapsed ones."""
    query = select(_table).order_by(LEASES.c.name)
    return [rows.lease(row) for row in connection.execute(query)]


def _locked(connection: Connection, name: str) -> Lease | None:
    query = select(_table).where(LEASES.c.name == name).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else rows.lease(row)
