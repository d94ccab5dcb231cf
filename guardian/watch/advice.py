"""The plain sentence of each vital, and its mend, with SQL where there is some. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from guardian.units import format_duration, format_size
from guardian.watch.readings import Reading, Unit

_ITEMS_SHOWN = 3

_SENTENCES: Mapping[str, str] = {
    "connections": "{value} of the connections are in use",
    "idle_in_transaction": "{subject} has been idle in transaction for {value}",
    "query_age": "the query of {subject} has run for {value}",
    "lock_wait": "{subject} has waited for a lock for {value}",
    "transaction_id_age": "the oldest transaction id of {subject} is {value} transactions old",
    "multixact_age": "the oldest multixact id of {subject} is {value} multixacts old",
    "prepared_transactions": "{subject} is {value} old",
    "slot_retained_wal": "{subject} holds back {value} of WAL",
    "replica_lag": "{subject} is {value} behind",
    "checksum_failures": "checksum failures: {value}",
    "archiver": "the archiver is {value} behind",
    "sequences": "{subject} has used {value} of its numbers",
    "invalid_indexes": "{subject} has invalid indexes: {value}",
    "backup_age": "the last good backup of {subject} is {value} intervals old",
    "size_drop": "the latest backup of {subject} is {value} smaller than the last proven one",
    "disk": "{subject} is {value} full",
}


def format_value(value: float, unit: Unit) -> str:
    """A reading's number for people."""
    if unit is Unit.PERCENT:
        return f"{value:.1f}".removesuffix(".0") + "%"
    if unit is Unit.SECONDS:
        return format_duration(value)
    if unit is Unit.BYTES:
        return format_size(value)
    if unit is Unit.INTERVALS:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:,.0f}"


def sentence(reading: Reading) -> str:
    """What was read, in words, without a judgement."""
    if reading.subject is None and reading.value == 0 and reading.detail:
        return reading.detail
    template = _SENTENCES.get(reading.name, f"{reading.name} of {{subject}}: {{value}}")
    words = template.format(
        value=format_value(reading.value, reading.unit), subject=reading.subject or "the server"
    )
    return f"{words} ({reading.detail})" if reading.detail else words


def mend(reading: Reading) -> str | None:
    """What to do about it, for one that is not fine."""
    rule = _MENDS.get(reading.name)
    return rule(reading) if rule is not None else None


def literal(text: str) -> str:
    """A string as SQL writes it."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def _connections(_: Reading) -> str:
    return (
        "see who holds them: guardian sessions, or SELECT usename, application_name, state, "
        "count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC; then shrink the "
        "applications' pools, put a pooler in front, or raise max_connections (needs a restart)"
    )


def _idle(reading: Reading) -> str:
    return (
        f"guardian kill {reading.handle}, or SELECT pg_terminate_backend({reading.handle}); "
        "so that it does not come back: ALTER ROLE … SET idle_in_transaction_session_timeout = "
        "'5min';"
    )


def _query(reading: Reading) -> str:
    return (
        f"guardian kill {reading.handle} --cancel, or SELECT pg_cancel_backend({reading.handle}); "
        "so that it does not come back: ALTER ROLE … SET statement_timeout = '5min';"
    )


def _lock(reading: Reading) -> str:
    return (
        "guardian locks shows the root; or SELECT pid, state, query FROM pg_stat_activity "  # nosec B608 # noqa: S608 - read by people
        f"WHERE pid = ANY (pg_blocking_pids({reading.handle}));"
    )


def _wraparound(reading: Reading) -> str:
    column = 3 if reading.name == "multixact_age" else 2
    return (
        "first end what holds back vacuum (long transactions, prepared transactions, replication "  # nosec B608 # noqa: S608 - read by people
        f"slots), then, connected to {reading.subject}: VACUUM (FREEZE, VERBOSE) of its oldest "
        "tables: SELECT oid::regclass, age(relfrozenxid), mxid_age(relminmxid) FROM pg_class "
        f"WHERE relkind IN ('r', 'm', 't') ORDER BY {column} DESC LIMIT 10;"
    )


def _prepared(reading: Reading) -> str:
    gid = literal(reading.handle)
    return (
        "ask its coordinator which it is to be, then, connected to its database: "
        f"COMMIT PREPARED {gid}; or ROLLBACK PREPARED {gid};"
    )


def _slot(reading: Reading) -> str:
    return (
        "bring its consumer back; if nobody needs it any more: "
        f"SELECT pg_drop_replication_slot({literal(reading.handle)}); a ceiling for all slots is "
        "max_slot_wal_keep_size"
    )


def _lag(_: Reading) -> str:
    return (
        "look at the replica's load, long queries there (max_standby_streaming_delay) and the "
        "network: SELECT application_name, state, sent_lsn, replay_lsn, replay_lag "
        "FROM pg_stat_replication;"
    )


def _checksums(_: Reading) -> str:
    return (
        "data on disk is damaged: stop writing, keep the disk, restore the last proven backup on "
        "other hardware; where: SELECT datname, checksum_failures, checksum_last_failure "
        "FROM pg_stat_database WHERE checksum_failures > 0; and the server's log"
    )


def _archiver(_: Reading) -> str:
    return (
        "read the server's log for what archive_command says (SHOW archive_command; "
        "SELECT * FROM pg_stat_archiver;): until it works again pg_wal grows until the disk is full"
    )


def _sequence(reading: Reading) -> str:
    if len(reading.items) == 2:
        table, column = reading.items
        return (
            f"ALTER SEQUENCE {reading.handle} AS bigint; ALTER TABLE {table} ALTER COLUMN {column} "
            "TYPE bigint; (the latter rewrites the table under an exclusive lock)"
        )
    return (
        f"ALTER SEQUENCE {reading.handle} AS bigint NO MAXVALUE; and let every column that its "
        "numbers go to be bigint"
    )


def _indexes(reading: Reading) -> str:
    commands = [
        f"DROP INDEX CONCURRENTLY {name};" if _is_leftover(name) else _rebuild(name)
        for name in reading.items[:_ITEMS_SHOWN]
    ]
    more = " …" if len(reading.items) > _ITEMS_SHOWN else ""
    return f"connected to its database: {' '.join(commands)}{more}"


def _rebuild(name: str) -> str:
    return f"REINDEX INDEX CONCURRENTLY {name};"


def _is_leftover(name: str) -> bool:
    """Of a REINDEX CONCURRENTLY that failed: its real index stands beside it."""
    stem = name.rstrip('"').rstrip("0123456789")
    return stem.endswith(("_ccnew", "_ccold"))


def _backup(reading: Reading) -> str:
    return f"guardian status says why; guardian backup now {reading.subject}"


def _size(reading: Reading) -> str:
    return (
        f"look whether somebody deleted data: guardian verify {reading.subject}; and pin the older "
        "backup before retention takes it: guardian backup keep ID"
    )


def _disk(_: Reading) -> str:
    return (
        "free some room or enlarge it: du -xh --max-depth=1 says where it went; "
        "guardian backup prune --dry-run says what retention would give back"
    )


_MENDS: Mapping[str, Callable[[Reading], str]] = {
    "connections": _connections,
    "idle_in_transaction": _idle,
    "query_age": _query,
    "lock_wait": _lock,
    "transaction_id_age": _wraparound,
    "multixact_age": _wraparound,
    "prepared_transactions": _prepared,
    "slot_retained_wal": _slot,
    "replica_lag": _lag,
    "checksum_failures": _checksums,
    "archiver": _archiver,
    "sequences": _sequence,
    "invalid_indexes": _indexes,
    "backup_age": _backup,
    "size_drop": _size,
    "disk": _disk,
}
