"""Who runs a server, and who may grant what there.

Managed services keep the superuser for themselves and leave their customers some other role that
may grant some of PostgreSQL's. Which service it is shows in the roles that it makes; who may grant
is read from the server, for that changes with majors: before 16 every role with CREATEROLE, from 16
on those that hold the role with ADMIN OPTION.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg.rows import dict_row

from guardian.adapters.postgres.queries import query


class Provider(StrEnum):
    """Who runs the server, by name for people."""

    SELF_MANAGED = "a server of your own"
    RDS = "Amazon RDS"
    CLOUD_SQL = "Google Cloud SQL"
    NEON = "Neon"
    SUPABASE = "Supabase"

    @property
    def is_managed(self) -> bool:
        """Whether its superuser is nobody of ours."""
        return self is not Provider.SELF_MANAGED


_TELLTALES: Mapping[str, Provider] = {
    "rdsadmin": Provider.RDS,
    "cloudsqladmin": Provider.CLOUD_SQL,
    "neon_superuser": Provider.NEON,
    "supabase_admin": Provider.SUPABASE,
}
_THEIRS = {
    *_TELLTALES,
    *("rdstopmgr", "rdsrepladmin", "cloudsqlagent", "cloudsqlimportexport", "cloud_admin"),
} - {"neon_superuser"}
"""Roles of the services themselves, which nobody else can be."""
_FIRST_WITH_ADMIN_OPTION = 160000
_SHOWN = 3


def provider_of(roles: Collection[str]) -> Provider:
    """By its tell-tale role."""
    return next((one for name, one in _TELLTALES.items() if name in roles), Provider.SELF_MANAGED)


@dataclass(frozen=True, slots=True)
class KnownRole:
    """A role that may be able to grant. ``admin_of``: the roles it holds with ADMIN OPTION."""

    name: str
    is_superuser: bool = False
    creates_roles: bool = False
    bypasses_rls: bool = False
    logs_in: bool = True
    admin_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grantors:
    """Who may grant what on one server. ``roles`` are names as SQL writes them."""

    provider: Provider
    version_num: int
    roles: tuple[KnownRole, ...]

    def of(self, granted: str) -> str:
        """Who may grant one of PostgreSQL's roles: ``as postgres``; empty when nobody may."""
        if not self.provider.is_managed:
            return _as([one for one in self.roles if one.is_superuser and one.logs_in])
        able = [one for one in self._customers() if granted in one.admin_of]
        if self.version_num < _FIRST_WITH_ADMIN_OPTION:
            able += [one for one in self._customers() if one.creates_roles and one not in able]
        return _as(able)

    def of_bypassrls(self) -> str:
        """Who may set BYPASSRLS: superusers, from 16 on also who has it and creates roles."""
        if not self.provider.is_managed:
            return _as([one for one in self.roles if one.is_superuser and one.logs_in])
        if self.version_num < _FIRST_WITH_ADMIN_OPTION:
            return ""
        return _as([one for one in self._customers() if one.bypasses_rls and one.creates_roles])

    def grant(self, what: str, role: str, instead: str = "") -> str:
        """The mend: the GRANT and who may give it, or what to do where nobody may."""
        able = self.of(what)
        if able or not self.provider.is_managed:
            return f"GRANT {what} TO {role};{_behind(able)}"
        return instead or f"{self.provider} lets nobody grant {what}: ask its support"

    def bypassrls(self, role: str) -> str:
        """The mend where row-level security hides rows."""
        able = self.of_bypassrls()
        if able or not self.provider.is_managed:
            return f"ALTER ROLE {role} BYPASSRLS;{_behind(able)}"
        having = _as([one for one in self._customers() if one.bypasses_rls and one.logs_in])
        return (
            f"{self.provider} lets nobody set BYPASSRLS here: back up "
            + (f"{having}, which has it, or " if having else "")
            + "as the owner of these tables"
        )

    def _customers(self) -> list[KnownRole]:
        return [one for one in self.roles if not one.is_superuser and one.name not in _THEIRS]


def read_grantors(connection: psycopg.Connection) -> Grantors:
    """Ask a server. Every role may. Raises psycopg.Error."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("grantors")).fetchall()
    return Grantors(
        provider_of({row["plain_name"] for row in rows}),
        connection.info.server_version,
        tuple(
            KnownRole(
                row["name"],
                row["is_superuser"],
                row["creates_roles"],
                row["bypasses_rls"],
                row["logs_in"],
                tuple(row["admin_of"]),
            )
            for row in rows
        ),
    )


def _as(roles: Sequence[KnownRole]) -> str:
    """``as postgres``, ``as a member of rds_superuser``."""
    names = [one.name if one.logs_in else f"a member of {one.name}" for one in roles]
    if not names:
        return ""
    more = " …" if len(names) > _SHOWN else ""
    return "as " + " or ".join(names[:_SHOWN]) + more


def _behind(able: str) -> str:
    return f" ({able})" if able else ""
