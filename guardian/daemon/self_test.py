"""The drill of the drill, put together: where damaged copies are made, and what it has of its own.

All copies of one backup live on one server, so that a throw-away one is made only twice: for the
backup as it is, as in every drill, and for all that is damaged.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from guardian import __version__
from guardian.adapters.catalog.memory import MemoryCatalog
from guardian.adapters.gnupg import GnupgEncryptor
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.damage import damage_database
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.side_database import drop_database, side_database_name
from guardian.adapters.postgres.source import PostgresSource
from guardian.adapters.process import current_holder
from guardian.adapters.scratch.folder import ScratchFolder, sweep_strays
from guardian.adapters.scratch.stepdown import choose_runner
from guardian.adapters.stores.local import LocalStore
from guardian.adapters.stores.signed import Demands, SignedStore
from guardian.adapters.stores.spooling import SpoolingStore
from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.lease import LeaseKeeper
from guardian.config.backing import VerifyConfig
from guardian.daemon.scratch import PREFIX, PURPOSE, EmbeddedScratch, GivenScratch
from guardian.daemon.stores import make_store
from guardian.errors import InconclusiveError, ScratchError
from guardian.model import (
    BackupRecord,
    DatabaseDamage,
    EncryptionKind,
    Fingerprint,
    Manifest,
)
from guardian.ports import Progress, Store
from guardian.verify.bench import Bench, OwnThings
from guardian.verify.drill import LEASE_TTL, DrillPlan
from guardian.verify.intruding import Seals
from guardian.verify.ports import DamagedCopy, ScratchServers, Workshop
from guardian.verify.self_test import SelfTest
from guardian.verify.trial import SelfTestReport

if TYPE_CHECKING:
    from guardian.daemon.app import App

_LARGE = 256 << 20
"""From so many bytes on a database is copied file by file, not through the write-ahead log."""
_MAINTENANCE = "postgres"


def self_test(app: App, record: BackupRecord, store: str, progress: Progress) -> SelfTestReport:
    """Damage copies of one backup in every way, and see whether a drill catches each.

    A lease keeps the backup from being pruned meanwhile; nothing else is written to the catalog.

    Raises:
        InterruptedRunError, NotFoundError, InconclusiveError: as SelfTest.run.
        AlreadyRunningError: it is being pruned, or self-tested, by another process.
    """
    holder = current_holder("guardian verify --self-test")
    with ExitStack() as stack:
        name = f"read:{record.id}:self-test"
        stack.enter_context(LeaseKeeper(app.catalog, name, holder, LEASE_TTL))
        section = _section(app, record.ref.server)
        lies_in: Store = app.store(store)
        if app.config.stores[store].kind != "local":
            lies_in = stack.enter_context(SpoolingStore(lies_in, section.scratch_dir))
        scratch = app.scratch(record.ref.server)
        bench = Bench(
            store=lies_in,
            scratch=scratch,
            workshops=PostgresWorkshops(scratch),
            encryptor=app.encryptor,
            compressor=ZstdCompressor(),
            own=stack.enter_context(own_things(app, section.scratch_dir)),
            clock=app.clock,
            progress=progress,
            holder=holder,
            plan=DrillPlan(jobs=section.jobs, timeout=section.timeout),
            version=__version__,
            seals=_seals(app, store),
        )
        return SelfTest(bench).run(
            record.ref,
            record.id,
            known=app.catalog.manifest(record.id),
            other=_other_backup(app, record, store),
        )


def _section(app: App, server: str) -> VerifyConfig:
    known = app.config.servers.get(server)
    return VerifyConfig() if known is None else known.verify


def _seals(app: App, name: str) -> Seals | None:
    """What a self-test forges against: one store, and our checking; None where none is demanded."""
    if not app.config.encryption.is_signature_required:
        return None
    return Seals(
        store=make_store(name, app.config.stores[name]),
        checked=lambda store: SignedStore(store, app.signer, Demands(required=True)),
        sign=app.signer.sign,
    )


@contextmanager
def own_things(app: App, directory: Path | None) -> Iterator[OwnThings]:
    """A folder with a store and keys; after a kill -9 the next run removes it.

    Raises:
        InconclusiveError: it cannot be made.
    """
    sweep_strays(directory)
    try:
        folder = ScratchFolder(directory, choose_runner())
    except ScratchError as error:
        raise InconclusiveError(
            f"the self-test could not be done: {error.message}", mend=error.mend
        ) from error
    with ExitStack() as stack:
        stack.callback(folder.remove)
        private = folder.path / "self-test"
        private.mkdir(mode=0o700)
        homedir = app.config.encryption.homedir
        empty = private / "gnupg"
        empty.mkdir(mode=0o700)
        keys = {
            EncryptionKind.SYMMETRIC: _throw_away_key(private / "wrong", homedir),
            EncryptionKind.RECIPIENTS: GnupgEncryptor(recipients=["none"], homedir=empty),
        }
        stack.callback(keys[EncryptionKind.RECIPIENTS].close)
        yield OwnThings(
            store=LocalStore("self-test", private / "store"),
            encryptor=_throw_away_key(private / "passphrase", homedir),
            wrong_keys=keys,
            new_catalog=lambda: MemoryCatalog(app.clock),
            token=lambda: secrets.token_hex(3),
        )


def _throw_away_key(file: Path, homedir: Path | None) -> GnupgEncryptor:
    file.touch(mode=0o600)
    file.write_text(secrets.token_urlsafe(24) + "\n")
    return GnupgEncryptor(passphrase_file=file, homedir=homedir)


def _other_backup(app: App, record: BackupRecord, store: str) -> Manifest | None:
    """Another backup of the same database in the same store."""
    for one in app.catalog.backups(record.ref.server, record.ref.database):
        if one.id != record.id and store in one.stores:
            return app.catalog.manifest(one.id)
    return None


class PostgresWorkshops:
    """Implements Workshops on the scratch servers that drills use."""

    def __init__(self, scratch: ScratchServers) -> None:
        self._scratch = scratch

    @contextmanager
    def open(self, manifest: Manifest, fingerprint: Fingerprint, jobs: int) -> Iterator[Workshop]:
        """A database on a scratch server, and the same server for what is drilled."""
        with self._scratch.open(manifest, fingerprint, jobs) as original:
            if not isinstance(original, PostgresDatabase):
                raise ScratchError("a self-test needs a PostgreSQL server as scratch")
            if isinstance(self._scratch, EmbeddedScratch):
                parameters = original.connector.parameters(_MAINTENANCE)
                connector = Connector("scratch", make_conninfo("", **parameters))
                scratch: ScratchServers = GivenScratch(connector, None)
            else:
                connector, scratch = original.connector, self._scratch
            yield _PostgresWorkshop(original, connector, scratch, manifest.facts.encoding)


class _PostgresWorkshop:
    """Implements Workshop: copies are made by the server, with the original as their template."""

    def __init__(
        self,
        original: PostgresDatabase,
        connector: Connector,
        scratch: ScratchServers,
        encoding: str,
    ) -> None:
        self.original = original
        self.scratch = scratch
        self._connector = connector
        self._encoding = encoding

    def untouched(self) -> DamagedCopy:
        """The original itself."""
        return DamagedCopy(PostgresSource(self._connector), self.original.name)

    @contextmanager
    def damaged(
        self, damage: DatabaseDamage, expected: Fingerprint
    ) -> Iterator[DamagedCopy | None]:
        """A copy with one thing damaged."""
        maintenance = self._connector.default_database
        with (
            self._connector.connect(maintenance, PURPOSE) as connection,
            side_database_name(connection, PREFIX) as name,
        ):
            try:
                self._copy(connection, name)
                objects = self._damage(name, damage, expected)
                source = PostgresSource(self._connector)
                yield None if objects is None else DamagedCopy(source, name, objects)
            finally:
                drop_database(self._connector, maintenance, name, purpose=PURPOSE)

    def _copy(self, connection: psycopg.Connection, name: str) -> None:
        template = self.original.name
        try:
            connection.execute("SET statement_timeout = 0")
            if connection.info.server_version >= 140000:
                connection.execute("SET idle_session_timeout = 0")
            row = connection.execute(
                "SELECT pg_catalog.pg_database_size(%s::name)", [template]
            ).fetchone()
            large = row is not None and row[0] > _LARGE
            by_file = large and connection.info.server_version >= 150000
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}{}").format(
                    sql.Identifier(name),
                    sql.Identifier(template),
                    sql.SQL(" STRATEGY file_copy" if by_file else ""),
                )
            )
        except psycopg.Error as error:
            raise self._connector.translate(error, template) from error

    def _damage(
        self, name: str, damage: DatabaseDamage, expected: Fingerprint
    ) -> tuple[str, ...] | None:
        try:
            with self._connector.connect(name, PURPOSE) as connection:
                return damage_database(connection, damage, expected, self._encoding)
        except psycopg.Error as error:
            raise self._connector.translate(error, name) from error
