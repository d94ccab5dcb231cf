"""The composition root: builds adapters from the configuration and hands them to services."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from guardian import __version__
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import current_holder, is_alive
from guardian.backup.run import BackupPlan, BackupResult, BackupRunner
from guardian.errors import GuardianError, NotFoundError, UsageError
from guardian.model import DatabaseRef, ProofLevel, RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from guardian.adapters.catalog.catalog import SqlCatalog
    from guardian.adapters.gnupg import GnupgEncryptor
    from guardian.adapters.postgres.connection import Connector
    from guardian.adapters.postgres.source import PostgresSource
    from guardian.adapters.postgres.watching import PostgresWatcher
    from guardian.adapters.stores.signed import SignedStore
    from guardian.backup.inventory import Inventory
    from guardian.backup.prune_result import PruneResult
    from guardian.backup.rebuild_result import RebuildResult
    from guardian.config import Config, ServerConfig
    from guardian.config.backing import VerifyConfig
    from guardian.model import BackupId, BackupRecord
    from guardian.ports import Clock, Progress, Signer, Store
    from guardian.restore.result import RestoreResult
    from guardian.restore.target import Wish
    from guardian.verify.drill import DrillResult
    from guardian.verify.ports import ScratchServers
    from guardian.watch.model import Mode
    from guardian.watch.patrol import Patrol


class App:
    """Guardian, put together. Leaving the ``with`` block lets go of what was opened."""

    def __init__(
        self,
        config: Config,
        *,
        command: str = "guardian",
        clock: Clock | None = None,
        catalog: SqlCatalog | None = None,
    ) -> None:
        self.config = config
        self.clock: Clock = clock or SystemClock()
        if catalog is not None:  # another one opened it, and closes it
            self.catalog = catalog
        self._command = command
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the catalog, stop gpg's agents."""
        self._opened.close()

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The catalog, created and migrated where needed."""
        from guardian.adapters.catalog.catalog import open_catalog

        catalog = open_catalog(self.config.catalog_url, clock=self.clock, is_alive=is_alive)
        self._opened.callback(catalog.close)
        return catalog

    @cached_property
    def encryptor(self) -> GnupgEncryptor:
        """gpg, with the configured passphrase or recipients."""
        from guardian.adapters.gnupg import GnupgEncryptor

        section = self.config.encryption
        encryptor = GnupgEncryptor(
            passphrase_file=section.passphrase_file,
            recipients=section.recipients or (),
            homedir=section.homedir,
        )
        self._opened.callback(encryptor.close)
        return encryptor

    @cached_property
    def signer(self) -> Signer:
        """What signs, and checks what was signed."""
        from guardian.daemon.signing import make_signer

        return make_signer(self)

    @cached_property
    def stores(self) -> dict[str, SignedStore]:
        """Every configured store by name; what they hold of ours is signed."""
        from guardian.daemon.signing import signed_store

        return {name: signed_store(self, name) for name in self.config.stores}

    def store(self, name: str) -> SignedStore:
        """One store.

        Raises:
            NotFoundError: when none has that name.
        """
        if name not in self.stores:
            raise NotFoundError(
                f"there is no store {name!r}", mend=f"configured: {', '.join(self.stores)}"
            )
        return self.stores[name]

    def server(self, name: str) -> ServerConfig:
        """One server's section.

        Raises:
            NotFoundError: when none has that name.
        """
        if name not in self.config.servers:
            raise NotFoundError(
                f"there is no server {name!r}",
                mend=f"configured: {', '.join(self.config.servers)}",
            )
        return self.config.servers[name]

    def connector(self, name: str) -> Connector:
        """How to connect to one server."""
        from guardian.adapters.postgres.connection import Connector

        section = self.server(name)
        password = section.password.get_secret_value() if section.password else None
        return Connector(name, section.dsn.get_secret_value(), password)

    def source(self, name: str) -> PostgresSource:
        """One server as the place to back up from."""
        from guardian.adapters.postgres.source import PostgresSource

        section = self.server(name)
        return PostgresSource(
            self.connector(name),
            databases=section.databases,
            exclude_databases=section.exclude_databases,
            lock_timeout=section.backup.lock_timeout,
            content_limit=section.backup.snapshot_max_age,
            left_out=section.backup.exclude_table_data,
            with_inventory=section.backup.proof is not ProofLevel.NONE,
        )

    def server_stores(self, name: str) -> list[Store]:
        """The stores that one server's backups go to."""
        return [self.stores[store] for store in self.server(name).backup.stores]

    def targets(self, words: Sequence[str]) -> list[tuple[str, str | None]]:
        """Read SERVER[/DATABASE] words; every server when there are none.

        Raises:
            NotFoundError: an unknown server.
            UsageError: a word without a server, or with an empty database.
        """
        if not words:
            return [(name, None) for name in self.config.servers]
        found = []
        for word in words:
            server, slash, database = word.partition("/")
            if not server or (slash and not database):
                raise UsageError(f"{word!r} is not SERVER or SERVER/DATABASE")
            self.server(server)
            found.append((server, database or None))
        return found

    def runner(self, name: str, progress: Progress) -> BackupRunner:
        """What makes one server's backups."""
        from guardian.adapters.zstd import ZstdCompressor

        section = self.server(name)
        plan = BackupPlan(
            proof=section.backup.proof,
            with_globals=section.globals,
            compression_level=section.backup.compression.level,
            jobs=section.backup.jobs,
            timeout=section.backup.timeout,
            attempts=section.backup.attempts,
            size_drop=section.vitals.size_drop,
        )
        return BackupRunner(
            source=self.source(name),
            stores=self.server_stores(name),
            compressor=ZstdCompressor(plan.compression_level),
            encryptor=self.encryptor,
            signer=self.signer,
            catalog=self.catalog,
            clock=self.clock,
            progress=progress,
            holder=current_holder(self._command),
            plan=plan,
            version=__version__,
            token=lambda: secrets.token_hex(3),
        )

    def back_up(self, ref: DatabaseRef, progress: Progress) -> BackupResult:
        """Back up one database, then apply its retention.

        Raises:
            AlreadyRunningError, InterruptedRunError, CatalogError: as BackupRunner.run.
        """
        result = self.runner(ref.server, progress).run(ref)
        if result.status is RunStatus.SUCCEEDED:
            self._prune_after(ref, progress)
        return result

    def _prune_after(self, ref: DatabaseRef, progress: Progress) -> None:
        """The backup is safe; what could not be pruned stays until the next run."""
        try:
            pruned = self.prune(ref)
        except GuardianError as error:
            progress.note(f"{ref}: pruning is put off: {error.message}")
            return
        for line in (*pruned.problems, *pruned.notes):
            progress.note(line)

    def prune(
        self, ref: DatabaseRef, *, dry_run: bool = False, trust_clock: bool = False
    ) -> PruneResult:
        """Apply one database's retention in all configured stores.

        Raises:
            AlreadyRunningError: another prune is at it.
        """
        from guardian.backup.prune import Pruner

        section = self.server(ref.server)
        stores, holder = list(self.stores.values()), current_holder(self._command)
        pruner = Pruner(stores=stores, catalog=self.catalog, clock=self.clock, holder=holder)
        return pruner.prune(
            ref,
            section.retention,
            ZoneInfo(section.backup.timezone),
            dry_run=dry_run,
            trust_clock=trust_clock,
        )

    def stored_backups(
        self, store: str, server: str | None = None, database: str | None = None
    ) -> Inventory:
        """What lies in one store, read there, newest first; and what was refused."""
        from guardian.backup.inventory import stored_backups

        return stored_backups(self.store(store), self.catalog, server, database)

    def keep(self, record: BackupRecord, by: str, reason: str | None) -> tuple[str, ...]:
        """Pin a backup; returns what went wrong beside that, a line each."""
        from guardian.backup.pins import keep

        stores = list(self.stores.values())
        return keep(self.catalog, stores, record, at=self.clock.now(), by=by, why=reason)

    def unkeep(self, record: BackupRecord, by: str) -> tuple[str, ...]:
        """Take a pin back; returns what went wrong beside that, a line each."""
        from guardian.backup.pins import unkeep

        stores = list(self.stores.values())
        return unkeep(self.catalog, stores, record, at=self.clock.now(), by=by)

    def set_aside_damaged_catalog(self) -> Path | None:
        """Rename a damaged catalog file, before it is opened; returns its new name if it was."""
        from guardian.adapters.catalog.aside import set_aside_if_damaged

        return set_aside_if_damaged(self.config.catalog_url, clock=self.clock)

    def rebuild_catalog(self, progress: Progress) -> RebuildResult:
        """Take in all that the configured stores hold.

        Raises:
            AlreadyRunningError: another rebuild is at it.
        """
        from guardian.backup.rebuild import rebuild

        holder = current_holder(self._command)
        return rebuild(self.catalog, list(self.stores.values()), self.clock, holder, progress)

    def drill(
        self, ref: DatabaseRef, backup: BackupId, store: str, progress: Progress
    ) -> DrillResult:
        """Restore one backup from one store into a scratch database, and compare it.

        Raises:
            AlreadyRunningError, InterruptedRunError, NotFoundError, CatalogError: as Drill.run.
        """
        from guardian.adapters.stores.spooling import SpoolingStore
        from guardian.adapters.zstd import ZstdCompressor
        from guardian.daemon.bounds import size_bounds
        from guardian.verify.drill import Check, Drill, DrillPlan

        section = self.verify_section(ref.server)
        plan = DrillPlan(
            checks=tuple(Check(one.name, one.sql) for one in section.checks),
            jobs=section.jobs,
            timeout=section.timeout,
            amcheck=section.amcheck,
            size_drop=size_bounds(self.config, ref.server),
        )
        self.signer.get_ready()  # while nothing keeps the processors busy yet
        with ExitStack() as stack:
            lies_in: Store = self.store(store)
            if self.config.stores[store].kind != "local" and plan.jobs > 1:
                lies_in = stack.enter_context(SpoolingStore(lies_in, section.scratch_dir))
            drill = Drill(
                store=lies_in,
                scratch=self.scratch(ref.server),
                encryptor=self.encryptor,
                compressor=ZstdCompressor(),
                catalog=self.catalog,
                clock=self.clock,
                progress=progress,
                holder=current_holder(self._command),
                plan=plan,
                version=__version__,
            )
            return drill.run(ref, backup)

    def restore(
        self,
        record: BackupRecord,
        dsn: str,
        wish: Wish,
        progress: Progress,
        *,
        store: str | None = None,
    ) -> RestoreResult:
        """Restore a backup into the database that ``dsn`` names.

        Raises:
            GuardianError: as Restorer.run; NotFoundError when no configured store has the backup.
        """
        from guardian.adapters.postgres.target import open_target
        from guardian.adapters.postgres.tools import find_installations
        from guardian.adapters.stores.spooling import SpoolingStore
        from guardian.adapters.zstd import ZstdCompressor
        from guardian.daemon.scratch_programs import fitting_client
        from guardian.restore.run import Equipment, Restorer

        folder = self.verify_section(record.ref.server).scratch_dir
        equipment = Equipment(
            encryptor=self.encryptor,
            compressor=ZstdCompressor(),
            catalog=self.catalog,
            clock=self.clock,
            progress=progress,
            holder=current_holder(self._command),
            token=lambda: secrets.token_hex(3),
        )
        with ExitStack() as stack:
            stores: list[Store] = []
            for name in self._stores_of(record, store):
                place: Store = self.store(name)
                if self.config.stores[name].kind != "local" and wish.jobs > 1:
                    place = stack.enter_context(SpoolingStore(place, folder))
                stores.append(place)
            target = stack.enter_context(
                open_target(
                    dsn,
                    lambda dumped_by, server: fitting_client(
                        dumped_by, server, find_installations()
                    ),
                )
            )
            return Restorer(stores, equipment).run(record, target, wish)

    def _stores_of(self, record: BackupRecord, wanted: str | None) -> list[str]:
        """Where to read a backup: the store that was asked for, else local ones first."""
        if wanted is not None:
            return [wanted]
        configured = [name for name in record.stores if name in self.stores]
        if not configured:
            raise NotFoundError(
                f"backup {record.id} lies in {', '.join(record.stores) or 'no store'}, none of "
                "which is configured",
                mend="guardian catalog rebuild looks again",
            )
        return sorted(configured, key=lambda name: self.config.stores[name].kind != "local")

    def scratch(self, server: str) -> ScratchServers:
        """Where one server's drills restore to."""
        from guardian.adapters.postgres.connection import Connector
        from guardian.daemon.scratch import EmbeddedScratch, GivenScratch

        section = self.verify_section(server)
        place = section.scratch.get_secret_value()
        if place == "embedded":
            return EmbeddedScratch(
                section.scratch_dir, templates=self.config.state_dir / "scratch-templates"
            )
        source = self.connector(server) if server in self.config.servers else None
        return GivenScratch(
            Connector(f"{server}.verify.scratch", place),
            source,
            allow_source_server=section.allow_source_server,
        )

    def verify_section(self, server: str) -> VerifyConfig:
        """A server's section; of a server that is configured no more, the defaults."""
        from guardian.config.backing import VerifyConfig

        return known.verify if (known := self.config.servers.get(server)) else VerifyConfig()

    def watcher(self, name: str) -> PostgresWatcher:
        """Eyes and hands on one server; close it after use. Nothing is opened before a look."""
        from guardian.adapters.postgres.watching import PostgresWatcher
        from guardian.daemon.own_roles import own_roles

        return PostgresWatcher(self.connector(name), own_roles=own_roles(self, name))

    def patrol(self, name: str, mode: Mode | None = None) -> Patrol:
        """The watch over one server, as configured or in another mode; close it after use."""
        from guardian.watch.model import Mode
        from guardian.watch.patrol import Patrol, WatchPlan

        section = self.server(name).watch
        plan = WatchPlan(
            policies=section.to_policies(),
            limits=section.limits.to_limits(),
            mode=mode or Mode(section.mode),
            record=section.recording.enabled,
            record_query_text=section.recording.query_text,
            keep_recording=section.recording.keep,
            recording_bytes=section.recording.max_size,
        )
        return Patrol(self.watcher(name), self.catalog, self.clock, plan)

    def prunable(self, targets: Sequence[tuple[str, str | None]]) -> list[DatabaseRef]:
        """The databases of these targets that have backups."""
        found: set[DatabaseRef] = set()
        for server, database in targets:
            if database is not None:
                found.add(DatabaseRef(server, database))
            else:
                found |= {record.ref for record in self.catalog.newest_backups(server)}
        return sorted(found)
