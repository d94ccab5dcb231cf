"""The place to restore to: what is wished for, what is found there, what may then be done.

:func:`decide` refuses, before anything is begun, whatever would overwrite or disturb what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from guardian.errors import PermissionDeniedError, UsageError
from guardian.model import DatabaseFacts, DatabaseRef, Fingerprint, ProofLevel
from guardian.restore.database_items import DatabaseItems
from guardian.restore.globals_script import GlobalsScript
from guardian.restore.ports import Archive

_PLPGSQL = "plpgsql"
_TEMPLATES = frozenset({"template0", "template1"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for; the fields are the command's options."""

    create: bool = False
    replace: bool = False
    force_disconnect: bool = False
    jobs: int = 1
    tables: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    schema_only: bool = False
    data_only: bool = False
    owner: bool = True
    privileges: bool = True
    tablespaces: bool = True
    with_globals: bool = False
    compare: bool = True
    analyze: bool = True

    def __post_init__(self) -> None:
        """Raise UsageError where options exclude each other."""
        for one, other in (
            ("schema_only", "data_only"),
            ("data_only", "create"),
            ("data_only", "replace"),
        ):
            if getattr(self, one) and getattr(self, other):
                names = [f"--{name.replace('_', '-')}" for name in (one, other)]
                raise UsageError(f"{names[0]} and {names[1]} exclude each other", mend="choose one")

    @property
    def is_selective(self) -> bool:
        """Whether some tables or schemas are wanted, not the whole database."""
        return bool(self.tables or self.schemas)

    @property
    def flags(self) -> tuple[str, ...]:
        """What pg_restore is told."""
        given = {
            "--no-owner": not self.owner,
            "--no-privileges": not self.privileges,
            "--no-tablespaces": not self.tablespaces,
        }
        return tuple(flag for flag, wanted in given.items() if wanted)


class Way(StrEnum):
    """How the wanted name is reached.

    ``new``: made beside, then renamed. ``empty``: likewise, the empty database that has the name is
    dropped. ``replace``: likewise, and it is kept under a dated name. ``in_place``: all or nothing,
    in one transaction. ``data``: rows alone, likewise.
    """

    NEW = "new"
    EMPTY = "empty"
    REPLACE = "replace"
    IN_PLACE = "in_place"
    DATA = "data"

    @property
    def is_in_place(self) -> bool:
        """Whether it is restored into the wanted database itself."""
        return self in {Way.IN_PLACE, Way.DATA}


@dataclass(frozen=True, slots=True)
class Situation:
    """The wanted database, and the server, as found before anything is done.

    ``contents`` says by kind what a person made there (``3 tables``), ``sessions`` who else is
    connected to it. ``may_create``: we may make databases; ``owns``: we may rename this one.
    """

    database: str
    where: str
    server_version_num: int
    exists: bool = False
    contents: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()
    system_identifier: str | None = None
    superuser: bool = False
    may_create: bool = False
    owns: bool = True


def decide(wish: Wish, situation: Situation, ref: DatabaseRef, facts: DatabaseFacts) -> Way:
    """How to restore the backup of ``ref`` there.

    Raises:
        UsageError: it would overwrite, disturb, or has nothing to restore into.
        PermissionDeniedError: our role may not do what is needed.
    """
    here = situation
    thing = f"database {here.database!r} on {here.where}"
    if here.database in _TEMPLATES:
        raise UsageError(
            f"{here.database} is the template of other databases", mend="name another database"
        )
    if not here.exists:
        return _decide_new(wish, here, thing)
    if wish.data_only:
        return Way.DATA
    if _is_source(here, ref, facts) and not wish.replace:
        raise UsageError(
            f"{thing} is the source of this backup itself",
            mend="name another database, or say --replace, which keeps the present one under a "
            "dated name",
        )
    if here.contents and not wish.replace:
        raise UsageError(
            f"{thing} is not empty: it holds {', '.join(here.contents)}",
            mend="name a new or empty database, or say --replace, which restores beside it and "
            "keeps the present one under a dated name",
        )
    if not wish.replace and not _can_swap(here):
        return Way.IN_PLACE
    _require_swap(wish, here, thing)
    return Way.REPLACE if wish.replace else Way.EMPTY


def _decide_new(wish: Wish, here: Situation, thing: str) -> Way:
    if wish.data_only:
        raise UsageError(
            f"{thing} does not exist, and --data-only needs its tables",
            mend="restore with --schema-only --create first",
        )
    if not wish.create:
        raise UsageError(f"{thing} does not exist", mend="--create makes it")
    if not here.may_create:
        raise PermissionDeniedError(
            f"our role may not create databases on {here.where}",
            mend="ALTER ROLE … CREATEDB, or let an administrator make an empty database",
        )
    return Way.NEW


def _can_swap(here: Situation) -> bool:
    """Whether an empty database can be replaced by another one.

    What an administrator installed in it, we may not be able to install anew.
    """
    installed = set(here.extensions) - {_PLPGSQL}
    return here.may_create and here.owns and (here.superuser or not installed)


def _require_swap(wish: Wish, here: Situation, thing: str) -> None:
    if not (here.may_create and here.owns):
        raise PermissionDeniedError(
            f"{thing} cannot be replaced: that takes its owner, with the right to create databases",
            mend="connect as its owner, and ALTER ROLE … CREATEDB",
        )
    if here.prepared:
        raise UsageError(
            f"{thing} has prepared transactions: {', '.join(here.prepared)}",
            mend="COMMIT PREPARED or ROLLBACK PREPARED them there",
        )
    if here.sessions and not wish.force_disconnect:
        raise UsageError(
            f"others are connected to {thing}: {', '.join(here.sessions)}",
            mend="let them end, or say --force-disconnect",
        )


def _is_source(here: Situation, ref: DatabaseRef, facts: DatabaseFacts) -> bool:
    return (
        here.system_identifier is not None
        and here.system_identifier == facts.system_identifier
        and here.database == ref.database
    )


def dated_name(name: str, word: str, at: datetime, taken: Collection[str] = ()) -> str:
    """``mina_before_20261123T020000Z``, within PostgreSQL's 63 bytes and not ``taken``."""
    for number in range(1, 1000):
        suffix = f"_{word}_{at:%Y%m%dT%H%M%SZ}" + (f"_{number}" if number > 1 else "")
        kept = name.encode()[: 63 - len(suffix)].decode(errors="ignore")
        if (dated := kept + suffix) not in taken:
            return dated
    raise UsageError(f"too many databases are called {name}_{word}_…", mend="drop some")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a backup needs of a server. ``roles`` are those that must be there already."""

    facts: DatabaseFacts
    dump_version: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RolesMade:
    """What came of the globals: roles made, roles left as they are, sentences about the rest."""

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What is to be done. ``chosen`` are entries of the archive in its order, None for all of them.

    ``tables`` are those whose rows come when only rows are restored; they must be there, empty.
    """

    way: Way
    needs: Needs
    at: datetime
    jobs: int = 1
    flags: tuple[str, ...] = ()
    chosen: tuple[int, ...] | None = None
    items: DatabaseItems = field(default_factory=DatabaseItems)
    tables: tuple[tuple[str, str], ...] = ()
    force_disconnect: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended.

    ``kept_old`` is the name of the database that was replaced. Where the wanted name could not be
    taken, ``reason`` says why, ``kept_as`` is the restored copy and ``statements`` would finish.
    """

    kept_old: str | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    kept_as: str | None = None
    statements: tuple[str, ...] = ()


class RestoreWork(Protocol):
    """One restore under way. Nothing has the wanted name before :meth:`finish`."""

    @property
    def major(self) -> int:
        """The server's major version."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the person should know about the new database."""

    @property
    def extensions_before(self) -> Collection[str]:
        """Extensions that were there before us."""

    @property
    def taken(self) -> Finished | None:
        """What :meth:`finish` has come to, as soon as the name is taken; None in place.

        Also for who was interrupted, or lost the server, before he heard.
        """

    def restore(
        self,
        archive: Archive,
        row_counts: Mapping[tuple[str, str], int],
        advance: Callable[[int], None],
    ) -> None:
        """Restore. Raises as RestoredDatabase.restore."""

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now. Raises GuardianError when it cannot be read."""

    def analyze(self) -> Sequence[str]:
        """Give the planner its statistics; sentences about what has none. Raises GuardianError."""

    def finish(self) -> Finished:
        """Take the wanted name, in one step; or keep the copy under another that no sweep takes."""

    def keep(self, reason: str) -> Finished:
        """Keep the copy under a dated name instead."""


class RestoreTarget(Protocol):
    """One server, and the name of a database wanted there."""

    def inspect(self) -> Situation:
        """Look. Raises ConnectionFailedError, PermissionDeniedError."""

    def check(self, needs: Needs) -> None:
        """Raise VersionMismatchError or UnsuitableTargetError where the server cannot take it."""

    def missing_roles(self, roles: Sequence[str]) -> Sequence[str]:
        """Those of the roles that the server does not have."""

    def make_roles(self, script: GlobalsScript) -> RolesMade:
        """Make the roles and tablespaces that are not there; never change one that is."""

    def work(self, order: RestoreOrder) -> AbstractContextManager[RestoreWork]:
        """Begin; leaving the block removes what has neither the wanted name nor was kept.

        Raises UnsuitableTargetError (the locale), PermissionDeniedError, UsageError (tables that
        are missing or hold rows, for rows alone).
        """
