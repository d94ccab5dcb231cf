"""What the rows of the vitals' queries mean, as readings. No I/O in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from guardian.units import format_duration, format_size
from guardian.watch.readings import Reading, Severity, Unit, Unknown

Row: TypeAlias = Mapping[str, Any]

_NEARLY_CAUGHT_UP = 16 << 20
"""Bytes: one WAL segment. Nobody measures the lag of a replica that was idle until just now."""
_SEQUENCES_SHOWN = 10
_WORTH_SHOWING = 50.0


def sessions(row: Row, role: str) -> Sequence[Reading | Unknown]:
    """Connections, the longest idle transaction and the longest query."""
    found: list[Reading | Unknown] = [_connections(row)]
    for name, key in (("idle_in_transaction", "idle"), ("query_age", "query")):
        longest = row[key]
        if longest is not None:
            found.append(_session(name, longest))
        elif not row["hidden"]:
            found.append(Reading(name, 0.0, Unit.SECONDS, detail=_NOBODY[name]))
        if row["hidden"]:
            found.append(
                Unknown(
                    name,
                    f"{row['hidden']} sessions of other roles are hidden from {role}",
                    f"GRANT pg_monitor TO {role};",
                    "the others" if longest is not None else None,
                )
            )
    return found


_NOBODY = {
    "idle_in_transaction": "no session is idle in transaction",
    "query_age": "no query is running",
}


def _connections(row: Row) -> Reading | Unknown:
    if row["available"] <= 0:
        return Unknown("connections", "max_connections leaves none beside the reserved ones")
    used = 100.0 * row["used"] / row["available"]
    return Reading("connections", used, Unit.PERCENT, None, f"{row['used']} of {row['available']}")


def _session(name: str, row: Row, detail: str = "") -> Reading:
    application = f"application {row['application_name']!r}" if row["application_name"] else ""
    return Reading(
        name,
        max(row["seconds"], 0.0),  # the row may be younger than our clock_timestamp()
        Unit.SECONDS,
        f"pid {row['pid']} ({row['usename']} in {row['datname']})",
        ", ".join(filter(None, (application, detail))),
        str(row["pid"]),
    )


def lock_wait(row: Row | None) -> Reading:
    """The longest wait for a lock."""
    if row is None:
        return Reading("lock_wait", 0.0, Unit.SECONDS, detail="no session waits for a lock")
    what = row["relation"] or row["locktype"]
    by = ", ".join(
        f"pid {pid}" if pid else "a prepared transaction" for pid in sorted(set(row["blocked_by"]))
    )
    detail = f"for {row['mode']} on {what}" + (f", blocked by {by}" if by else "")
    return _session("lock_wait", row, detail)


def wraparound(rows: Sequence[Row]) -> Sequence[Reading]:
    """The oldest transaction id and multixact id over all databases."""
    databases = [row for row in rows if row["database"] is not None]
    found = []
    for name, key in (("transaction_id_age", "xid_age"), ("multixact_age", "mxid_age")):
        oldest = max(databases, key=lambda row: row[key] or 0.0)
        subject = f"database {oldest['database']}"
        found.append(
            Reading(name, oldest[key] or 0.0, Unit.COUNT, subject, handle=oldest["database"])
        )
    return found


def checksums(rows: Sequence[Row]) -> Reading | Unknown:
    """Pages that failed their checksum, over all databases."""
    counted = [row for row in rows if row["checksum_failures"] is not None]
    if not counted:
        return Unknown(
            "checksum_failures",
            "data checksums are off: nobody would notice a damaged page",
            "stop the server and run pg_checksums --enable; managed services have them on",
        )
    failed = [row for row in counted if row["checksum_failures"]]
    total = float(sum(row["checksum_failures"] for row in failed))
    if not failed:
        return Reading("checksum_failures", 0.0, Unit.COUNT, detail="no page failed its checksum")
    where = ", ".join(
        f"{row['checksum_failures']} in {row['database'] or 'shared objects'}"
        + (
            f", the last {format_duration(row['seconds_since_failure'])} ago"
            if row["seconds_since_failure"] is not None
            else ""
        )
        for row in failed
    )
    return Reading("checksum_failures", total, Unit.COUNT, None, where)


def prepared(row: Row | None) -> Reading:
    """The oldest prepared transaction."""
    if row is None:
        return Reading(
            "prepared_transactions", 0.0, Unit.SECONDS, detail="there are no prepared transactions"
        )
    more = f", {row['total'] - 1} more" if row["total"] > 1 else ""
    return Reading(
        "prepared_transactions",
        max(row["seconds"], 0.0),
        Unit.SECONDS,
        f"prepared transaction {row['gid']!r}",
        f"of {row['owner']} in {row['database']}{more}",
        row["gid"],
    )


def slots(rows: Sequence[Row]) -> Sequence[Reading]:
    """What each replication slot holds back."""
    if not rows:
        return [
            Reading("slot_retained_wal", 0.0, Unit.BYTES, detail="there are no replication slots")
        ]
    return [_slot(row) for row in rows]


def _slot(row: Row) -> Reading:
    kind = row["slot_type"] + (f" in {row['database']}" if row["database"] else "")
    words = [kind, "in use" if row["active"] else "not in use"]
    if row["inactive_seconds"] is not None and not row["active"]:
        words[-1] += f" for {format_duration(max(row['inactive_seconds'], 0.0))}"
    at_least = Severity.OK
    if row["wal_status"] == "unreserved":
        at_least = Severity.WARNING
        words.append("unreserved: the next checkpoint may remove WAL that it needs")
    if row["wal_status"] == "lost" or row["invalidation_reason"] or row["conflicting"]:
        at_least = Severity.CRITICAL
        reason = row["invalidation_reason"] or ("conflict" if row["conflicting"] else "WAL removed")
        words.append(f"lost ({reason}): its consumer must begin anew")
    return Reading(
        "slot_retained_wal",
        row["retained"] or 0.0,
        Unit.BYTES,
        f"replication slot {row['name']}",
        ", ".join(words),
        row["name"],
        at_least=at_least,
    )


def replicas(rows: Sequence[Row], role: str, *, is_standby: bool) -> Sequence[Reading | Unknown]:
    """How far each replica is behind."""
    if not rows:
        nobody = Reading("replica_lag", 0.0, Unit.SECONDS, detail="no replica is connected")
        return [] if is_standby else [nobody]
    if any(row["state"] is None for row in rows):
        return [
            Unknown(
                "replica_lag",
                f"the state of {len(rows)} replicas is hidden from {role}",
                f"GRANT pg_monitor TO {role};",
            )
        ]
    return [_replica(row) for row in rows]


def _replica(row: Row) -> Reading | Unknown:
    name = row["application_name"] or row["usename"]
    subject = f"replica {name}" + (f" at {row['client']}" if row["client"] else "")
    behind = row["behind"]
    detail = row["state"] + (f", {format_size(max(behind, 0.0))} behind" if behind else "")
    if row["lag_seconds"] is not None:
        return Reading("replica_lag", row["lag_seconds"], Unit.SECONDS, subject, detail)
    if behind is not None and behind < _NEARLY_CAUGHT_UP:
        return Reading("replica_lag", 0.0, Unit.SECONDS, subject, detail)
    said = "has not replayed anything since it came" if behind else "has told nothing yet"
    return Unknown("replica_lag", f"it {said} ({detail})", None, subject)


def standby(row: Row) -> Reading | Unknown:
    """How far the server that we look at is behind, being a standby itself."""
    subject = "this standby"
    if row["streams"] and row["replayed_all"]:
        return Reading("replica_lag", 0.0, Unit.SECONDS, subject, "it has replayed all it got")
    if row["seconds_since_commit"] is None:
        return Unknown("replica_lag", "it has not replayed any commit yet", None, subject)
    words = "replay is paused" if row["paused"] else "since the last commit that it replayed"
    if not row["streams"]:
        words += ", it is not connected to its primary"
    return Reading(
        "replica_lag", max(row["seconds_since_commit"], 0.0), Unit.SECONDS, subject, words
    )


def archiver(row: Row, backlog: Row | None, role: str) -> Reading | Unknown:
    """For how long WAL has waited for the archive. ``backlog`` is None when it is hidden."""
    if row["mode"] == "off":
        return Reading("archiver", 0.0, Unit.SECONDS, detail="WAL archiving is off")
    if row["mode"] == "on" and row["in_recovery"]:
        return Reading("archiver", 0.0, Unit.SECONDS, detail="WAL is archived by the primary")
    failing = ""
    if row["failing"]:
        ago = format_duration(max(row["seconds_since_failure"], 0.0))
        failing = f"archiving {row['last_failed_wal']} failed {ago} ago"
    if backlog is not None:
        if not backlog["files"] and not failing:
            detail = "no WAL waits for the archive"
            return Reading("archiver", 0.0, Unit.SECONDS, detail=detail)
        waiting = f"{backlog['files']} WAL files wait" + (f", {failing}" if failing else "")
        return Reading("archiver", max(backlog["seconds"], 0.0), Unit.SECONDS, None, waiting)
    grant = f"GRANT pg_monitor TO {role};"
    if failing:
        detail = f"{failing}; since when is hidden from {role}: {grant}"
        return Reading("archiver", 0.0, Unit.SECONDS, detail=detail, at_least=Severity.WARNING)
    return Unknown("archiver", f"what waits for the archive is hidden from {role}", grant)


def sequences(rows: Sequence[Row], database: str, role: str) -> Sequence[Reading | Unknown]:
    """The fullest sequence, and others that are more than half used."""
    readable = sorted((row for row in rows if row["readable"]), key=lambda row: -row["used"])
    found: list[Reading | Unknown] = [
        _sequence(row, database)
        for row in readable[:_SEQUENCES_SHOWN]
        if row is readable[0] or row["used"] >= _WORTH_SHOWING
    ]
    if hidden := [row["name"] for row in rows if not row["readable"]]:
        found.append(
            Unknown(
                "sequences",
                f"{role} may not read {len(hidden)} of database {database}, such as {hidden[0]}",
                f"GRANT pg_read_all_data TO {role};",
            )
        )
    if not found:
        detail = f"database {database} has no sequences"
        return [Reading("sequences", 0.0, Unit.PERCENT, detail=detail)]
    return found


def _sequence(row: Row, database: str) -> Reading:
    narrow = row["column_type"] in {"smallint", "integer"}
    fills = f" for {row['table']}.{row['column']} ({row['column_type']})" if row["column"] else ""
    return Reading(
        "sequences",
        row["used"],
        Unit.PERCENT,
        f"sequence {row['name']}",
        f"{row['type']}{fills}, database {database}",
        row["name"],
        (row["table"], row["column"]) if narrow else (),
    )


def invalid_indexes(rows: Sequence[Row], database: str, role: str) -> Reading | Unknown:
    """Indexes that a failed CREATE or REINDEX INDEX CONCURRENTLY left behind."""
    if not rows:
        detail = f"database {database} has no invalid indexes"
        return Reading("invalid_indexes", 0.0, Unit.COUNT, detail=detail)
    names = tuple(row["name"] for row in rows)
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    if rows[0]["hidden_builds"]:
        return Unknown(
            "invalid_indexes",
            f"{shown} may be invalid or being built: which, is hidden from {role}",
            f"GRANT pg_monitor TO {role};",
        )
    total = float(rows[0]["total"])
    return Reading("invalid_indexes", total, Unit.COUNT, f"database {database}", shown, items=names)
