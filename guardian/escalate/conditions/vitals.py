"""Vital signs beyond their bounds, and disks that fill up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from guardian.escalate.conditions.phrases import LISTED, fact, name, said, title
from guardian.escalate.model import Condition, Fact, Severity
from guardian.watch.vitals import Finding
from guardian.watch.vitals import Severity as Grade

VITAL = "vital"
DISK = "disk.low"

ELSEWHERE = frozenset({"backup_age", "size_drop", "disk", "lock_wait"})
"""Vitals that have conditions of their own: backup.overdue, backup.shrunk, disk.low, locks."""

_GRADES = {Grade.WARNING: Severity.P2, Grade.CRITICAL: Severity.P1}
_IMPACTS: Mapping[str, str] = {
    "connections": "When all are in use, applications are refused, and so is guardian.",
    "idle_in_transaction": "It holds its locks and keeps VACUUM from cleaning up.",
    "query_age": "It takes the server's time from others and keeps VACUUM from cleaning up.",
    "transaction_id_age": "At two billion the server stops taking writes.",
    "multixact_age": "At two billion the server stops taking writes.",
    "prepared_transactions": "It holds its locks and keeps VACUUM from cleaning up.",
    "slot_retained_wal": "The WAL that it holds back can fill the server's disk.",
    "replica_lag": "Reads there are old, and a failover would lose what is not there yet.",
    "checksum_failures": "Data on the server's disk is damaged.",
    "archiver": "WAL is not archived: point-in-time recovery ends here, and the disk fills up.",
    "sequences": "When it is used up, inserts fail.",
    "invalid_indexes": "They cost writes and serve no query.",
}
_DATA_LOSS = frozenset({"checksum_failures"})


def vital_conditions(server: str, findings: Sequence[Finding]) -> tuple[Condition, ...]:
    """One condition for each vital that is not fine, whatever the number of its subjects."""
    found = []
    for vital, group in _bad(findings).items():
        if vital in ELSEWHERE:
            continue
        worst = group[0]
        of = f"{name(server)}: "
        found.append(
            Condition(
                key=f"{VITAL}.{vital}:{server}",
                kind=f"{VITAL}.{vital}",
                severity=_severity(worst),
                title=title(f"{of}{_title(worst)}"),
                server=server,
                impact=_IMPACTS.get(vital, ""),
                evidence=tuple(_facts(group)),
                mend=tuple(dict.fromkeys(said(one.mend) for one in group[:2] if one.mend)),
            )
        )
    return tuple(found)


def blind_vitals(server: str, findings: Iterable[Finding]) -> tuple[str, ...]:
    """The keys of vitals that could not be read: what is open there stays as it is."""
    unknown = {one.vital for one in findings if one.severity is Grade.UNKNOWN}
    return tuple(sorted(f"{VITAL}.{one}:{server}" for one in unknown - ELSEWHERE))


def disk_conditions(findings: Iterable[Finding]) -> tuple[Condition, ...]:
    """One condition for each file system, the worst that is said of it.

    A finding's subject is its path and, in parentheses, what lies there: which differs by server.
    """
    worst: dict[str, Finding] = {}
    for one in findings:
        if one.vital == "disk" and one.severity in _GRADES and one.subject is not None:
            path = one.subject.partition(" (")[0]
            known = worst.get(path)
            if known is None or known.severity.rank < one.severity.rank:
                worst[path] = one
    return tuple(
        Condition(
            key=f"{DISK}:{path}",
            kind=DISK,
            severity=_severity(one),
            title=title(f"guardian's disk {name(path)} is nearly full"),
            impact="Backups and drills fail when it is full.",
            evidence=(fact("disk", one.text),),
            mend=(said(one.mend),) if one.mend else (),
        )
        for path, one in worst.items()
    )


def _bad(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """By vital, the worst first (and of those the highest number, as assess sorts by grade)."""
    groups: dict[str, list[Finding]] = {}
    for one in findings:
        if one.severity in _GRADES:
            groups.setdefault(one.vital, []).append(one)
    for group in groups.values():
        group.sort(key=lambda one: (-one.severity.rank, -(one.value or 0.0)))
    return groups


def _severity(finding: Finding) -> Severity:
    if finding.vital in _DATA_LOSS and finding.severity is Grade.CRITICAL:
        return Severity.P0
    return _GRADES[finding.severity]


_TITLES: Mapping[str, str] = {
    "connections": "nearly all connections are in use",
    "idle_in_transaction": "a session has been idle in transaction for too long",
    "query_age": "a query has run for too long",
    "transaction_id_age": "transaction ids are running out",
    "multixact_age": "multixact ids are running out",
    "prepared_transactions": "a prepared transaction was forgotten",
    "slot_retained_wal": "a replication slot holds back much WAL",
    "replica_lag": "a replica is far behind",
    "checksum_failures": "data on disk is damaged (checksum failures)",
    "archiver": "WAL is not archived",
    "sequences": "a sequence is nearly used up",
    "invalid_indexes": "there are invalid indexes",
}


_SUBJECTS_STAY = frozenset(
    {
        "transaction_id_age",
        "multixact_age",
        "prepared_transactions",
        "slot_retained_wal",
        "replica_lag",
        "sequences",
        "invalid_indexes",
    }
)
"""Vitals whose subject is a thing with a name, and no session that is another one tomorrow."""


def _title(worst: Finding) -> str:
    """Words without the number, which changes with each look; it is in the evidence."""
    words = _TITLES.get(worst.vital, worst.vital.replace("_", " "))
    if worst.vital in _SUBJECTS_STAY and worst.subject:
        return f"{words}: {worst.subject}"
    return words


def _facts(group: Sequence[Finding]) -> Iterable[Fact]:
    for one in group[:LISTED]:
        yield fact(one.severity.value, one.text)
    if len(group) > LISTED:
        yield Fact("more", f"{len(group) - LISTED:,}")
