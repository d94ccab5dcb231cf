"""What a role may not see or do that the watch needs, with the exact GRANT and who may give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.pooling import bounded, is_pooled
from guardian.adapters.postgres.privileges import PATIENCE, Finding
from guardian.adapters.postgres.providers import Grantors, Provider, read_grantors
from guardian.adapters.postgres.queries import query


@dataclass(frozen=True, slots=True)
class WatchNeeds:
    """What the config asks of the role: whether policies judge, signal, and signal superusers."""

    judges: bool = False
    signals: bool = False
    superusers: bool = False


@dataclass(frozen=True, slots=True)
class WatchAccess:
    """One server seen with the eyes of the watch's role. ``hidden`` of ``sessions`` it cannot."""

    version: str
    provider: Provider
    role: str
    sees_all: bool
    may_signal: bool
    sessions: int
    hidden: int
    findings: tuple[Finding, ...]


_POOLED = Finding(
    False,
    "a pooler such as PgBouncer stands between: no connection can be kept in reserve for when all "
    "slots are taken, and whether the server lives is not seen through it",
    "let the dsn lead to the server itself",
)
_TRACK = "ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();"


def inspect_watch(connector: Connector, needs: WatchNeeds) -> WatchAccess:
    """Look at one server with the watch's role.

    Raises:
        ConnectionFailedError, PermissionDeniedError: it cannot even be connected to.
    """
    with connector.connect(None, "doctor") as connection:
        try:
            pooled = is_pooled(connection)
            with (
                bounded(connection, PATIENCE),
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                (facts,) = cursor.execute(query("watch_privileges")).fetchall()
                grantors = read_grantors(connection)
        except psycopg.Error as error:
            raise connector.translate(error) from error
    return _access(facts, grantors, needs, pooled=pooled)


def _access(
    facts: dict[str, Any], grantors: Grantors, needs: WatchNeeds, *, pooled: bool
) -> WatchAccess:
    findings = []
    if pooled:
        findings.append(_POOLED)
    if facts["track_activities"] != "on":
        text = "the server does not record what sessions do, so policies match nothing"
        findings.append(Finding(needs.judges, text, _TRACK))
    if not facts["sees_all"]:
        findings.append(_blind(facts, grantors, needs))
    if not facts["may_signal"]:
        findings.append(_tied(facts, grantors, needs))
    if needs.superusers and not facts["is_superuser"]:
        findings.append(
            Finding(
                False,
                f"a policy says superusers: true, but {facts['role']} cannot end a superuser's "
                "session: only a superuser can",
                f"take it out; {grantors.provider} makes nobody superuser"
                if grantors.provider.is_managed
                else f"take it out, or ALTER ROLE {facts['role']} SUPERUSER;",
            )
        )
    return WatchAccess(
        version=facts["version"].split()[0],
        provider=grantors.provider,
        role=facts["role"],
        sees_all=facts["sees_all"],
        may_signal=facts["may_signal"],
        sessions=facts["sessions"],
        hidden=facts["hidden"],
        findings=tuple(findings),
    )


def _blind(facts: dict[str, Any], grantors: Grantors, needs: WatchNeeds) -> Finding:
    role = facts["role"]
    now = f" ({facts['hidden']} of {facts['sessions']} now)" if facts["hidden"] else ""
    then = "policies match none of them, and vitals are unknown" if needs.judges else ""
    text = f"{role} sees NULLs for other roles' sessions{now}: " + (
        then or "sessions, locks and vitals are unknown"
    )
    if facts["might_see_all"]:
        return Finding(needs.judges, text, _inherit("pg_monitor", role, grantors))
    mend = grantors.grant("pg_monitor", role)
    if not grantors.of("pg_monitor") and grantors.of("pg_read_all_stats"):
        mend = grantors.grant("pg_read_all_stats", role)
    return Finding(needs.judges, text, mend)


def _tied(facts: dict[str, Any], grantors: Grantors, needs: WatchNeeds) -> Finding:
    role = facts["role"]
    text = f"{role} may not end other roles' sessions" + (
        ": in mode enforce policies will be refused" if needs.signals else " (guardian kill)"
    )
    if facts["might_signal"]:
        return Finding(needs.signals, text, _inherit("pg_signal_backend", role, grantors))
    return Finding(needs.signals, text, grantors.grant("pg_signal_backend", role))


def _inherit(granted: str, role: str, grantors: Grantors) -> str:
    """It is a member, but does not inherit: GRANT decides that since 16, the role before."""
    if grantors.version_num >= 160000:
        return f"GRANT {granted} TO {role} WITH INHERIT TRUE;"
    return f"ALTER ROLE {role} INHERIT;"
