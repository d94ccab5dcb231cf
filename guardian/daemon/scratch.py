"""Where drills restore to: a throw-away server on this host, or databases on a given server."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.pooling import refuse_lent
from guardian.adapters.postgres.reading_process import (
    WORTH_A_PROCESS,
    ReadingProcess,
    readers_begun,
)
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
from guardian.daemon.scratch_programs import Programs, client_for, suitable_programs
from guardian.errors import (
    DiskFullError,
    GuardianError,
    ScratchError,
    UnsuitableTargetError,
)
from guardian.model import DatabaseFacts, Fingerprint, Manifest, ProofLevel
from guardian.restore.ports import RestoredDatabase

_log = logging.getLogger(__name__)

PREFIX = "guardian_drill_"
PURPOSE = "drill"
_DATABASE = "drill"
_ROOM = 1.2
_ROOM_BESIDE = 128 << 20
_CONNECTIONS = 40
_LOCKS_AN_OBJECT = 2
_SHOWN_ROLES = 5
_MOST_LOCKS = 100_000
# What a scratch server may lack without the backup being any worse for it.
_FLAGS = ("--no-tablespaces", "--no-subscriptions", "--no-security-labels")


class EmbeddedScratch:
    """Implements ScratchServers: a cluster of its own for each drill, gone with it.

    ``directory`` is where it keeps its files, None for the system's place for temporary ones, and
    ``templates`` where fresh clusters are kept to be copied.
    """

    caged = True
    """What is restored is code of whoever could write to the source, and superuser there."""

    def __init__(
        self,
        directory: Path | None = None,
        installations: Sequence[Installation] | None = None,
        templates: Path | None = None,
    ) -> None:
        self._directory = directory
        self._templates = templates
        self._installations = installations
        self._warm: _WarmServer | None = None

    @contextmanager
    def warming(self, manifest: Manifest) -> Iterator[None]:
        """Make the cluster that is most likely to be wanted, on a thread."""
        self._warm = _WarmServer(lambda: self._make_likeliest(manifest))
        try:
            yield
        finally:
            self._warm.discard()
            self._warm = None

    def _make_likeliest(self, manifest: Manifest) -> tuple[Programs, EmbeddedServer]:
        programs = self._choices(manifest)[0]
        server = self._server(manifest, programs)
        try:
            server.create()
        except BaseException:
            server.destroy()
            raise
        return programs, server

    def _choices(self, manifest: Manifest) -> list[Programs]:
        everything = find_installations() if self._installations is None else self._installations
        return suitable_programs(manifest, everything)

    def _server(self, manifest: Manifest, programs: Programs) -> EmbeddedServer:
        size = max(manifest.facts.database_bytes, manifest.dumped_bytes)
        return EmbeddedServer(
            programs.server.bindir,
            directory=self._directory,
            needed_bytes=int(size * _ROOM) + _ROOM_BESIDE,
            templates=self._templates,
            caged=self.caged,
        )

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> Iterator[RestoredDatabase]:
        """Start the most faithful server that this host can make, with an empty database.

        One that offers all extensions and the source's locale goes before one that does not; among
        those the source's own major, then the closest newer one.
        """
        sweep_strays(self._directory)
        with readers_begun(_readers(manifest, fingerprint, jobs)) as readers:
            server, database = self._open(manifest, fingerprint, jobs, readers)
            try:
                yield database
            finally:
                server.destroy()

    def _open(
        self,
        manifest: Manifest,
        fingerprint: Fingerprint | None,
        jobs: int,
        readers: Sequence[ReadingProcess],
    ) -> tuple[EmbeddedServer, PostgresDatabase]:
        choices = self._choices(manifest)
        shortcomings: list[GuardianError] = []
        for exact in (True, False):
            candidates, choices = choices, []
            for programs in candidates:
                try:
                    return self._prepare(
                        manifest, fingerprint, programs, jobs, readers, exact=exact
                    )
                except (UnsuitableTargetError, ScratchError) as error:
                    shortcomings.append(error)
                    if isinstance(error, _LocaleMissingError):
                        choices.append(programs)
        raise shortcomings[0]  # what the most faithful of them lacks

    def _prepare(
        self,
        manifest: Manifest,
        fingerprint: Fingerprint | None,
        programs: Programs,
        jobs: int,
        readers: Sequence[ReadingProcess],
        *,
        exact: bool,
    ) -> tuple[EmbeddedServer, PostgresDatabase]:
        facts = manifest.facts
        server = (self._warm and self._warm.take(programs)) or self._server(manifest, programs)
        try:
            server.create()
            server.configure(_settings(programs.server.major, fingerprint, jobs))
            server.start()
            # Nothing asks for a password. What was restored could: without one of its own libpq
            # would give it PGPASSWORD, or what ~/.pgpass has.
            connector = Connector("scratch", server.dsn(_DATABASE), secrets.token_hex(8))
            with _translated(connector), connector.connect("postgres", PURPOSE) as connection:
                require_extensions(connection, facts)
                _make_roles(connection, () if fingerprint is None else fingerprint.roles)
                caveat = _create(connection, facts, exact=exact)
        except BaseException:
            server.destroy()
            raise
        database = PostgresDatabase(
            connector,
            _DATABASE,
            programs.client.tool("pg_restore"),
            major=programs.server.major,
            encoding=facts.encoding,
            options=_options(jobs, fingerprint, own_server=True),
            caveats=[caveat] if caveat else (),
            readers=readers,
        )
        return server, database


class _LocaleMissingError(UnsuitableTargetError):
    """The server cannot make a database with the source's encoding and locale."""


def _create(connection: psycopg.Connection, facts: DatabaseFacts, *, exact: bool) -> str | None:
    try:
        return create_database(connection, _DATABASE, facts, exact=exact)
    except UnsuitableTargetError as error:
        raise _LocaleMissingError(error.message, mend=error.mend) from error


@contextmanager
def _translated(connector: Connector) -> Iterator[None]:
    """Nothing that psycopg raises leaves this room untold."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise DiskFullError(
            f"the scratch server has no room left: {error.diag.message_primary}",
            mend="make room there, or name a folder on another disk in verify.scratch_dir",
        ) from error
    except psycopg.Error as error:
        raise connector.translate(error) from error


class _WarmServer:
    """A server in the making. What goes wrong with it is told by whoever makes it again."""

    def __init__(self, make: Callable[[], tuple[Programs, EmbeddedServer]]) -> None:
        self._make = make
        self._made: tuple[Programs, EmbeddedServer] | None = None
        self._ended = threading.Event()
        try:
            threading.Thread(target=self._run, name="scratch", daemon=True).start()
        except RuntimeError as error:  # no thread to be had: it is made when it is wanted
            _log.info("no server is made ahead of time: %s", error)
            self._ended.set()

    def take(self, programs: Programs) -> EmbeddedServer | None:
        """The server, if it is of these programs; it is the caller's then."""
        self._ended.wait()
        if self._made is None or self._made[0] != programs:
            return None
        _, server = self._made
        self._made = None
        return server

    def discard(self) -> None:
        """Nobody wants it any more."""
        self._ended.wait()
        if self._made is not None:
            self._made[1].destroy()

    def _run(self) -> None:
        try:
            self._made = self._make()
        except GuardianError as error:
            _log.info("no server was made ahead of time: %s", error)
        finally:
            self._ended.set()


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

    def warming(self, manifest: Manifest) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing takes long here."""
        return nullcontext()

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> Iterator[RestoredDatabase]:
        """Create a database there; drop it when the block is left."""
        maintenance = self._connector.default_database
        with (
            readers_begun(_readers(manifest, fingerprint, jobs)) as readers,
            _translated(self._connector),
            self._connector.connect(maintenance, PURPOSE) as connection,
        ):
            refuse_lent(self._connector, connection)
            _settle(connection)
            self._refuse_source(connection, manifest)
            version = connection.info.server_version
            client = client_for(manifest, version)
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
                        readers=readers,
                    )
                finally:
                    self._drop(maintenance, name)

    def _drop(self, maintenance: str, name: str) -> None:
        """Drop it; where that fails, what the drill saw counts all the same."""
        try:
            drop_database(self._connector, maintenance, name, purpose=PURPOSE)
        except GuardianError as error:
            _log.warning("%s is left behind, the next drill there drops it: %s", name, error)

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
                for role in missing
            )
            shown = ", ".join(missing[:_SHOWN_ROLES])
            raise UnsuitableTargetError(
                f"the scratch server lacks {len(missing)} roles that ownership and grants need: "
                f"{shown}{', …' if len(missing) > _SHOWN_ROLES else ''}",
                mend=f"create them there: {statements}",
            )


def _settle(connection: psycopg.Connection) -> None:
    """What the role or the database may have set otherwise, and would be in our way."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(f"SET {name} = 0".encode())
    connection.execute("SET default_transaction_read_only = off")
    if connection.info.server_version >= 140000:
        connection.execute("SET idle_session_timeout = 0")
    if connection.info.server_version >= 170000:
        connection.execute("SET transaction_timeout = 0")


def _readers(manifest: Manifest, fingerprint: Fingerprint | None, jobs: int) -> int:
    """How many processes will read all rows: they get ready while the server starts."""
    is_read = fingerprint is not None and fingerprint.level is ProofLevel.CONTENT
    return jobs if is_read and manifest.dumped_bytes > WORTH_A_PROCESS else 0


def _options(jobs: int, fingerprint: Fingerprint | None, *, own_server: bool) -> LoadOptions:
    # Without a fingerprint nobody knows which roles to make, and nothing is compared either.
    unknown = ("--no-owner", "--no-privileges") if fingerprint is None else ()
    return LoadOptions(
        jobs=jobs,
        flags=(*_FLAGS, *unknown),
        own_server=own_server,
        purpose=PURPOSE,
    )


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
    workers = max(1, (os.cpu_count() or 1) - jobs)
    settings = {
        **SCRATCH_SETTINGS,
        "max_connections": str(_CONNECTIONS),
        "max_locks_per_transaction": str(locks),
        "max_wal_size": "256MB",
        # More makes index builds slower: sorts that leave the processor's caches (3 million texts
        # took 6.1 s with 256 MB, 4.9 s with 64 MB; their merge is one pass with either).
        # A build takes as many workers as leave 32 MB to each, and to itself.
        "maintenance_work_mem": f"{32 * (min(2, workers) + 1)}MB",
        # The jobs are the parallelism, but one of them is the last, and builds its index alone.
        "max_parallel_maintenance_workers": str(min(2, workers)),
    }
    if major >= 17:
        settings["event_triggers"] = "off"  # a restored login trigger could keep us out
    return MappingProxyType(settings)
