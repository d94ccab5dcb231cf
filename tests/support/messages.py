"""Messages for channels: an ordinary one, a hostile one, one of every kind, and too long ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from guardian.escalate.model import (
    Fact,
    IncidentId,
    Message,
    MessageKind,
    Severity,
    State,
)

AT = datetime(2026, 11, 23, 2, 12, 3, tzinfo=UTC)

HOSTILE = (
    "<!channel> @everyone <@U1> *b* _i_ ~s~ `c` ```x``` [a](http://evil) </pre><b>&amp; "
    '\\ | # "q" \'s {{DATE(x)}} ${x} %0d%0a \r\nBcc: evil@evil.example\r\n\r\nX\x00\x1b[31m'
    "\u202egnp\u202c \ud800 \u2066x\u2069 \U0001f600"
)
"""What would ping everybody, write headers, close tags and turn letters round, if it could."""


def alert(**changes: object) -> Message:
    """A backup that has failed, told in full."""
    message = Message(
        kind=MessageKind.ALERT,
        severity=Severity.P1,
        title="Backup of main/mina failed: disk full",
        at=AT,
        dedup_key="backup.failed:main/mina#k3f9w2ap",
        number=1,
        incident=IncidentId("k3f9w2ap"),
        incident_kind="backup.failed",
        state=State.FIRING,
        server="main",
        database="mina",
        since=AT - timedelta(minutes=12),
        occurrences=2,
        why="first to be told",
        impact="The last proven backup is 26h old; a restore would lose what came after it.",
        evidence=(Fact("cause", "disk_full"), Fact("store local", "No space left on device")),
        tried=("tried 3 times within 10m",),
        checks=(
            Fact("disk of /var/backups", "97% full"),
            Fact("last log lines", "pg_dump: dumping table users\npg_dump: error: no space <left>"),
        ),
        mend=("guardian backup prune", "guardian backup now main/mina"),
        links=(("dashboard", "https://guardian.mina.example/incidents/k3f9w2ap?a=1&b=(2)"),),
        told=("on-call",),
    )
    return replace(message, **changes)  # type: ignore[arg-type]


def later(kind: MessageKind, number: int = 2, **changes: object) -> Message:
    """A further message of the same incident."""
    state = {
        MessageKind.RESOLVED: State.RESOLVED,
        MessageKind.ACKNOWLEDGED: State.ACKNOWLEDGED,
    }.get(kind, State.FIRING)
    at = AT + timedelta(minutes=30)
    ended = at if kind is MessageKind.RESOLVED else None
    return alert(kind=kind, number=number, state=state, at=at, ended_at=ended, **changes)


def hostile() -> Message:
    """Each text is an attack on somebody's markup."""
    return alert(
        title=HOSTILE,
        dedup_key=f"probe:{HOSTILE}",
        server=HOSTILE,
        database=HOSTILE,
        why=HOSTILE,
        impact=HOSTILE,
        evidence=(Fact(HOSTILE, HOSTILE), Fact("log", f"a\n{HOSTILE}\n```\nb")),
        tried=(HOSTILE,),
        checks=(Fact("x", HOSTILE),),
        mend=(HOSTILE,),
        links=(
            (HOSTILE, 'https://h.example/?q="><script>alert(1)</script>|x) (y'),
            ("script", "javascript:alert(1)"),
        ),
        items=(HOSTILE,),
        told=(HOSTILE,),
    )


def endless() -> Message:
    """More than any service takes, in each of its texts."""
    long = "ä🙂" * 1_500
    return alert(
        title=long,
        dedup_key=long,
        incident_kind=long,
        server=long,
        database=long,
        why=long,
        impact=long,
        evidence=tuple(Fact(f"{index} {long}", long) for index in range(80)),
        tried=(long,) * 80,
        checks=tuple(Fact(f"{index}", f"{long}\n" * 50) for index in range(50)),
        mend=(long,) * 80,
        links=tuple((long, f"https://h.example/{index}") for index in range(80)),
        items=(long,) * 400,
        told=(long,) * 100,
    )


def storm(count: int = 100) -> Message:
    """Many incidents in one message."""
    return alert(
        kind=MessageKind.STORM,
        severity=Severity.P0,
        title=f"{count} incidents at once",
        dedup_key="storm:20261123T021203Z",
        incident=None,
        incident_kind=None,
        items=tuple(f"P1 main/db{index}: backup failed: disk full" for index in range(count)),
        evidence=(),
        checks=(),
        tried=(),
        mend=("guardian incidents list",),
    )


def every_kind() -> Iterator[Message]:
    """One message of each kind, as they come in an incident's life."""
    yield alert()
    for number, kind in enumerate(
        [
            *(MessageKind.UPDATE, MessageKind.ESCALATION, MessageKind.REMINDER),
            *(MessageKind.ACKNOWLEDGED, MessageKind.RESOLVED),
        ],
        start=2,
    ):
        yield later(kind, number)
    yield storm()
    yield bare(MessageKind.DIGEST, title="This week", items=("P3 disk of main is 86% full",))
    yield bare(MessageKind.TEST, title="A test of channel incidents")


def bare(kind: MessageKind, **changes: object) -> Message:
    """A message with nothing but what it must have."""
    message = Message(kind, Severity.P3, "A title", AT, dedup_key=f"{kind.value}:1")
    return replace(message, **changes)  # type: ignore[arg-type]
