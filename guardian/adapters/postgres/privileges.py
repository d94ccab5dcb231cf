"""What a role may not do that a backup needs, with the exact GRANT and who may give it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psycopg

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.pooling import LENDING_MEND, bounded, is_lent
from guardian.adapters.postgres.providers import Grantors, read_grantors
from guardian.adapters.postgres.tables import list_tables


@dataclass(frozen=True, slots=True)
class Finding:
    """One shortcoming: ``fatal`` where the backup would fail, else it is only less complete."""

    fatal: bool
    text: str
    mend: str


@dataclass(frozen=True, slots=True)
class AccessReport:
    """One database seen with the eyes of the backup's role."""

    server_version: str
    server_version_num: int
    role: str
    tables: int
    clock_skew_seconds: float
    findings: tuple[Finding, ...]


PATIENCE = timedelta(seconds=30)
_LENT = Finding(
    True,
    "a pooler in transaction mode (PgBouncer or the like) stands between, through which nothing is "
    "backed up: what we set would stay in connections that others get",
    LENDING_MEND,
)

_FIRST_WITH_READ_ALL_DATA = 140000

_ROLE = """
SELECT quote_ident(current_user), current_setting('server_version'),
       current_setting('server_version_num')::int, clock_timestamp(),
       r.rolsuper, r.rolbypassrls, has_table_privilege('pg_catalog.pg_authid', 'SELECT')
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

_SEQUENCES = """
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname)
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND NOT has_sequence_privilege(s.seqrelid, 'SELECT')
"""

_LARGE_OBJECTS = """
SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m
 WHERE NOT pg_has_role(m.lomowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
                    WHERE a.privilege_type = 'SELECT'
                      AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
"""

_ROW_SECURITY = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relrowsecurity AND row_security_active(c.oid)
"""


def inspect_access(connector: Connector, database: str) -> AccessReport:
    """Look at one database with the backup's role.

    Raises:
        ConnectionFailedError, PermissionDeniedError: it cannot even be connected to.
    """
    with connector.connect(database, "doctor") as connection:
        try:
            lent = is_lent(connector, connection)
            with bounded(connection, PATIENCE):
                report = _report(connection)
        except psycopg.Error as error:
            raise connector.translate(error, database) from error
    return replace(report, findings=(_LENT, *report.findings)) if lent else report


def _report(connection: psycopg.Connection) -> AccessReport:
    row = connection.execute(_ROLE).fetchone()
    assert row is not None
    role, version, number, clock, superuser, bypass, passwords = row
    grantors = read_grantors(connection)
    tables = list_tables(connection)
    findings = []
    if unreadable := [table for table in tables if not table.readable]:
        schemas = [table.schema_display for table in unreadable]
        findings.append(
            Finding(
                True,
                f"{role} may not read {_some([table.display for table in unreadable])}",
                _read_all(grantors, role, "TABLES", schemas),
            )
        )
    if sequences := connection.execute(_SEQUENCES).fetchall():
        findings.append(
            Finding(
                True,
                f"{role} may not read the sequences {_some([name for name, _ in sequences])}",
                _read_all(grantors, role, "SEQUENCES", [schema for _, schema in sequences]),
            )
        )
    if not (superuser or bypass) and (
        hidden := [name for (name,) in connection.execute(_ROW_SECURITY)]
    ):
        findings.append(
            Finding(
                True,
                f"row-level security hides rows of {_some(hidden)} from {role}",
                grantors.bypassrls(role),
            )
        )
    if not superuser:
        findings += _large_objects(connection, role)
    if not passwords:
        findings.append(_no_passwords(grantors, role))
    skew = (datetime.now(UTC) - clock).total_seconds()
    return AccessReport(version, number, role, len(tables), skew, tuple(findings))


def _read_all(grantors: Grantors, role: str, what: str, schemas: Iterable[str]) -> str:
    """pg_read_all_data, or where it cannot be had (it came with 14), GRANTs schema by schema."""
    by_schema = " ".join(
        f"GRANT USAGE ON SCHEMA {schema} TO {role}; "
        f"GRANT SELECT ON ALL {what} IN SCHEMA {schema} TO {role};"
        for schema in dict.fromkeys(schemas)
    )
    if grantors.version_num < _FIRST_WITH_READ_ALL_DATA:
        return f"{by_schema} (as their owner, and again for new ones)"
    return grantors.grant(
        "pg_read_all_data",
        role,
        f"{grantors.provider} lets nobody grant pg_read_all_data: back up as a role that "
        f"{grantors.provider} made, or {by_schema} (as their owner, and again for new ones)",
    )


def _large_objects(connection: psycopg.Connection, role: str) -> list[Finding]:
    row = connection.execute(_LARGE_OBJECTS).fetchone()
    if row is None or not row[0]:
        return []
    return [
        Finding(
            True,
            f"{role} may not read {row[0]} large objects",
            f"GRANT SELECT ON LARGE OBJECT … TO {role}; or make it a member of the owner",
        )
    ]


def _no_passwords(grantors: Grantors, role: str) -> Finding:
    text = f"{role} may not read password hashes: roles are saved without passwords"
    if grantors.provider.is_managed:
        mend = f"{grantors.provider} shows them to nobody: set passwords anew after a restore"
        return Finding(False, text, mend)
    mend = (
        f"GRANT SELECT ON pg_authid TO {role}; (in this very database; mind what it can read then)"
    )
    return Finding(False, text, mend)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
