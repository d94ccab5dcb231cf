"""What an engineer looks at first, each look as a line or a few. Nothing is changed by any."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta

from guardian.adapters.postgres.probe import ConnectionProbe
from guardian.config.watching import HttpProbeConfig
from guardian.daemon.app import App
from guardian.daemon.vital_signs import file_systems
from guardian.escalate.conditions.phrases import instant, listed, said
from guardian.escalate.conditions.sessions import Round, lock_tree
from guardian.model import BackupRecord, DatabaseRef
from guardian.units import format_duration, format_size
from guardian.watch.diagnosis import connections_of, long_transactions
from guardian.watch.locks import LockGraph
from guardian.watch.model import Mode
from guardian.watch.model import Observation as Look
from guardian.watch.outage import ProbeResult
from guardian.watch.readings import Unknown

_LAST = 5
_OTHERS = 4
_TIMEOUT = timedelta(seconds=5)
_ERROR_LIMIT = 160


class Looks:
    """Looks at one configuration's world. To be called from several threads at once."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._catalog = app.catalog  # opened here, and by one thread

    # --- backups ---

    def backups(self, ref: DatabaseRef) -> str:
        """The newest ones, as ``ls`` would show them."""
        found = self._catalog.backups(ref.server, ref.database, limit=_LAST)
        return _lines((_backup_line(one) for one in found), "there is none")

    def newest_backups(self, server: str) -> str:
        """The newest one of each database: what there is to go back to."""
        found = sorted((one.ref, one) for one in self._catalog.newest_backups(server))
        lines = [f"{ref.database}: {_backup_line(one)}" for ref, one in found[:_LAST]]
        if more := len(found) - len(lines):
            lines.append(f"and of {more:,} more databases")
        return _lines(lines, "there is none")

    def tries(self, ref: DatabaseRef) -> str:
        """The end of the log: how the last runs went."""
        found = self._catalog.tries(ref.server, ref.database, limit=_LAST)
        return _lines((_try_line(one) for one in found), "there was none")

    def drills(self, ref: DatabaseRef) -> str:
        """How the last drills went."""
        return _lines(
            (
                f"{instant(one.at)} {one.backup} from {one.store}: {one.result.value}"
                + (f": {said(one.reason, _ERROR_LIMIT)}" if one.reason else "")
                for one in self._catalog.drills(ref, _LAST)
            ),
            "there was none",
        )

    def running(self, ref: DatabaseRef) -> str:
        """Who is at it."""
        names = (f"backup:{ref}", "verify:", "daemon")
        found = [one for name in names for one in self._catalog.leases(name)]
        return _lines((f"{one.name}: {one.holder}" for one in found), "nothing of guardian")

    def key(self) -> str:
        """Whether backups could be encrypted now."""
        self._app.encryptor.check()
        self._app.signer.check()
        encryption = self._app.encryptor.describe()
        whose = f" for {listed(encryption.key_ids)}" if encryption.key_ids else ""
        return f"usable: {encryption.kind.value}, {encryption.cipher}{whose}"

    # --- disks and stores ---

    def disks(self, server: str) -> str:
        """Those on which what belongs to a server lies, as ``df`` counts."""
        lines = []
        for one in file_systems(self._app, server):
            where = f"{one.path} ({', '.join(one.used_for)})"
            reading = one.reading
            if isinstance(reading, Unknown):
                lines.append(f"{where}: {reading.why}")
            else:
                lines.append(f"{where}: {reading.value:.0f}% full, {reading.detail}")
        return _lines(lines, "nothing lies on this host")

    def all_disks(self) -> str:
        """The same for all servers."""
        lines: dict[str, None] = {}
        for server in self._app.config.servers:
            lines |= dict.fromkeys(self.disks(server).splitlines())
        return "\n".join(lines)

    def store(self, name: str) -> str:
        """A write, a read, a listing and a deletion in the store."""
        store = self._app.store(name)
        store.check()
        free = store.free_bytes()
        room = f"; {format_size(free)} free" if free is not None else ""
        return f"write, read, list and delete work{room}"

    def stored(self) -> str:
        """Whose backups take how much room, the largest first."""
        sizes: dict[DatabaseRef, int] = {}
        for one in self._catalog.each_backup():
            sizes[one.ref] = sizes.get(one.ref, 0) + one.stored_bytes
        largest = sorted(sizes.items(), key=lambda item: -item[1])[:_LAST]
        return _lines((f"{ref}: {format_size(size)}" for ref, size in largest), "no backups")

    # --- servers ---

    def connect(self, server: str) -> str:
        """``SELECT 1``."""
        connector = self._app.connector(server)
        return _answer(ConnectionProbe(connector, self._app.clock, timeout=_TIMEOUT).probe())

    def other_servers(self, server: str) -> str:
        """Whether the others answer: else it is our network."""
        others = [one for one in self._app.config.servers if one != server][:_OTHERS]
        return _lines((f"{one}: {self.connect(one)}" for one in others), "there are none")

    def sessions(self, server: str) -> str:
        """How many are connected, what they do, and whose transactions are the oldest."""
        look = self._look(server)
        counted = connections_of(look, _OTHERS)
        lines = [
            f"{one.count:,} {one.state}"
            + (f", the longest for {_seconds(one.longest_seconds)}" if one.longest_seconds else "")
            for one in counted.by_state
        ]
        lines += [
            f"{one.count:,} of {one.user or '?'}@{one.database or '?'} ({one.application or '-'})"
            for one in counted.by_client
        ]
        lines += [
            f"pid {one.pid} of {one.user or '?'}: transaction open for "
            f"{_seconds(one.transaction_seconds(look.at) or 0.0)}, {one.state}"
            for one in long_transactions(look, _OTHERS)
        ]
        return _lines((said(one) for one in lines), "nobody is connected")

    def locks(self, server: str) -> str:
        """Who holds up whom."""
        look = self._look(server)
        graph = LockGraph(look)
        seen = Round(look, self._app.clock.now(), Mode.OBSERVE, query_text=False)
        return _lines(lock_tree(graph, seen, graph.roots), "nobody waits for a lock")

    def _look(self, server: str) -> Look:
        with closing(self._app.watcher(server)) as watcher:
            return watcher.observe()

    # --- probes and channels ---

    def probe(self, name: str) -> str:
        """One more try of a probe."""
        section = next(one for one in self._app.config.probes if one.name == name)
        # httpx takes a quarter of a second to import, which is nobody's who probes nothing.
        from guardian.adapters.probing import HttpProbe, TcpProbe  # noqa: PLC0415

        timeout = min(section.timeout, _TIMEOUT)
        if not isinstance(section, HttpProbeConfig):
            return _answer(
                TcpProbe(name, section.address, self._app.clock, timeout=timeout).probe()
            )
        headers = {key: one.get_secret_value() for key, one in section.headers.items()}
        return _answer(
            HttpProbe(
                name,
                section.url,
                self._app.clock,
                expect_status=section.expect_status,
                expect_json=section.expect_json,
                headers=headers,
                timeout=timeout,
            ).probe()
        )

    def other_channels(self, name: str) -> str:
        """How the others do."""
        others = {one: "never used" for one in self._app.config.escalation.channels if one != name}
        for one in self._catalog.channel_health():
            if one.channel in others:
                others[one.channel] = (
                    f"failing since {instant(one.failing_since)}: {said(one.last_error)}"
                    if one.failing_since is not None
                    else f"last success {instant(one.last_success_at)}"
                    if one.last_success_at is not None
                    else "never used"
                )
        return _lines((f"{one}: {how}" for one, how in others.items()), "there are none")


def _lines(lines: Iterable[str], otherwise: str) -> str:
    return "\n".join(lines) or otherwise


def _backup_line(one: BackupRecord) -> str:
    proven = {True: "proven", False: "BAD", None: "not drilled"}[one.proven]
    at = instant(one.snapshot_at or one.started_at)
    size = f"{format_size(one.dumped_bytes)} dumped, {format_size(one.stored_bytes)} stored"
    return f"{one.id} {at}, {size}, {proven}, in {listed(one.stores)}"


def _try_line(one: BackupRecord) -> str:
    cause = f" ({one.cause.value})" if one.cause is not None else ""
    error = f": {said(one.error, _ERROR_LIMIT)}" if one.error else ""
    return f"{instant(one.started_at)} {one.status.value}{cause}{error}"


def _answer(result: ProbeResult) -> str:
    if result.ok:
        return f"answers, in {format_duration(round(result.latency_seconds, 3))}"
    return said(result.text) or f"fails: {result.cause}"


def _seconds(seconds: float) -> str:
    return format_duration(round(seconds))
