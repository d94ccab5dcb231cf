"""Checks of all that backups depend on: what was found, and the mend where it falls short."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

from guardian.adapters.postgres.privileges import inspect_access
from guardian.adapters.postgres.tools import choose_client, find_installations
from guardian.adapters.postgres.watch_privileges import WatchNeeds, inspect_watch
from guardian.adapters.scratch.cage import missing
from guardian.daemon.alarms import make_channels
from guardian.daemon.app import App
from guardian.daemon.briefing import told_at_set_times
from guardian.errors import GuardianError
from guardian.ports import Store
from guardian.units import counted, format_duration, format_size
from guardian.watch.model import Action

_SKEW_SECONDS = 60
_EMBEDDED = "embedded"
_SAMPLE = b"guardian doctor\n" * 4096


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report."""

    name: str
    verdict: Verdict
    found: str
    mend: str | None = None


def examine(app: App) -> Iterator[Check]:
    """Every check in turn; none keeps the next from being made."""
    yield Check(
        "config",
        Verdict.OK,
        f"{counted(len(app.config.servers), 'server')}, {counted(len(app.config.stores), 'store')}",
    )
    yield from _guarded("catalog", lambda: _catalog(app))
    yield from _guarded("encryption", lambda: _encryption(app))
    yield from _guarded("signatures", lambda: _signatures(app))
    yield from _guarded("tools", _tools)
    yield from _drills(app)
    for name, store in app.stores.items():
        yield from _guarded(f"store {name}", lambda store=store: _store(store))  # type: ignore[misc]
    for name in app.config.servers:
        yield from _server(app, name)
    yield from _guarded("channels", lambda: look_at_channels(app))


def _guarded(name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from check()
    except GuardianError as error:
        yield Check(name, Verdict.FAILED, error.message, error.mend)


def _catalog(app: App) -> Iterator[Check]:
    backups = sum(1 for _ in app.catalog.each_backup())
    yield Check("catalog", Verdict.OK, f"{counted(backups, 'backup')} known")


def _encryption(app: App) -> Iterator[Check]:
    """A round trip, where this host can decrypt; a host with public keys alone cannot."""
    app.encryptor.check()
    encryption = app.encryptor.describe()
    sealed, opened = bytearray(), bytearray()
    app.encryptor.encrypt(BytesIO(_SAMPLE), sealed.extend)
    how = f"{encryption.kind.value}, {encryption.cipher}"
    if encryption.key_ids:
        how += ", for " + ", ".join(encryption.key_ids)
    try:
        app.encryptor.decrypt(BytesIO(bytes(sealed)), opened.extend)
    except GuardianError as error:
        if not encryption.key_ids:
            raise
        yield Check(
            "encryption",
            Verdict.WARNING,
            f"{how}; this host cannot decrypt ({error.message})",
            "fine if another host runs the drills and restores",
        )
        return
    same = bytes(opened) == _SAMPLE
    yield Check(
        "encryption",
        Verdict.OK if same else Verdict.FAILED,
        f"{how}; round trip {'ok' if same else 'gave other data'}",
    )


def _signatures(app: App) -> Iterator[Check]:
    """Whether what this host writes into stores is signed, and what is not is refused."""
    how = app.signer.describe()
    if how is None:
        yield Check(
            "signatures",
            Verdict.WARNING,
            "nothing that this host writes is signed: whoever can write to a store can forge "
            "backups, drills and pins",
            "make a signing key (gpg --quick-gen-key NAME ed25519 sign) and set "
            "encryption.sign_with to its fingerprint",
        )
        return
    signature = app.signer.sign(_SAMPLE)
    assert signature is not None
    app.signer.verify(_SAMPLE, signature)
    yield Check("signatures", Verdict.OK, f"{how}; signed and checked")
    if not app.config.encryption.is_signature_required:
        yield Check(
            "signatures",
            Verdict.WARNING,
            "what lies in a store unsigned is believed (encryption.require_signed: false)",
            "set it only while older backups are taken in; see docs/operating.md",
        )


def _tools() -> Iterator[Check]:
    found = [one for one in find_installations() if one.has_client]
    verdict = Verdict.OK if found else Verdict.FAILED
    listed = ", ".join(one.version for one in found) or "none"
    yield Check(
        "postgresql tools", verdict, listed, None if found else "apt-get install postgresql-client"
    )
    if shutil.which("zstd") is None:
        yield Check(
            "zstd",
            Verdict.WARNING,
            "the zstd program is not on this host",
            "guardian does not need it, RESTORE.txt does: apt-get install zstd",
        )


def _drills(app: App) -> Iterator[Check]:
    """What is restored is code of the source's: whether it is kept from this host."""
    places = {one.verify.scratch.get_secret_value() for one in app.config.servers.values()}
    if _EMBEDDED not in places:
        return
    lacking = missing()
    if lacking is None:
        found = "throw-away servers are caged: no program, no network, no file of this host"
        yield Check("drills", Verdict.OK, found)
    else:
        yield Check(
            "drills",
            Verdict.WARNING,
            f"throw-away servers run {lacking}; functions of a hostile database could reach what "
            "their user can",
            "run guardian where Linux has Landlock or lets us make namespaces, or name another "
            "server in verify.scratch",
        )


def _store(store: Store) -> Iterator[Check]:
    store.check()
    free = store.free_bytes()
    room = f", {format_size(free)} free" if free is not None else ""
    yield Check(f"store {store.name}", Verdict.OK, f"write, read, list, delete ok{room}")


def look_at_channels(app: App) -> Iterator[Check]:
    """Whether each can be made here, and how they have done; nothing is sent."""
    configured = app.config.escalation.channels
    if not configured:
        yield Check(
            "channels", Verdict.OK, "none: nobody is told of anything (escalation.channels)"
        )
        return
    channels, unusable = make_channels(app)
    for channel in channels.values():
        channel.close()
    for name, error in unusable.items():
        yield Check(f"channel {name}", Verdict.FAILED, error.message, error.mend)
    for one in app.catalog.channel_health():
        if one.channel in channels and one.failing_since is not None:
            yield Check(
                f"channel {one.channel}",
                Verdict.WARNING,
                f"it has failed since {one.failing_since:%Y-%m-%d %H:%M} UTC: {one.last_error}",
                f"guardian alerts test {one.channel}",
            )
    yield Check("channels", Verdict.OK, f"{', '.join(configured)}; {_self_test(app)}")


def _self_test(app: App) -> str:
    if app.config.escalation.self_test is None:
        return 'no self-test is scheduled (escalation.self_test: "every 7d")'
    planned = told_at_set_times(app, app.clock.now())
    at = next(one.at for one in planned if one.what.startswith("self-test"))
    return f"self-test at {at:%Y-%m-%d %H:%M} UTC"


def _server(app: App, name: str) -> Iterator[Check]:
    try:
        databases = app.source(name).databases()
    except GuardianError as error:
        yield Check(f"server {name}", Verdict.FAILED, error.message, error.mend)
        return
    for database in databases:
        label = f"{name}/{database}"
        yield from _guarded(label, lambda label=label, db=database: _database(app, name, label, db))  # type: ignore[misc]
    yield from _guarded(f"{name} watch", lambda: _watch(app, name))


def _watch(app: App, name: str) -> Iterator[Check]:
    """What the role sees and may end; a failure only where policies need it."""
    policies = app.server(name).watch.to_policies()
    ends = any(action is not Action.REPORT for one in policies for action in one.action)
    access = inspect_watch(
        app.connector(name),
        WatchNeeds(
            judges=bool(policies),
            signals=ends and app.server(name).watch.mode == "enforce",
            superusers=any(one.superusers for one in policies),
        ),
    )
    sees = "all sessions" if access.sees_all else "its own sessions only"
    ends_whose = "others' sessions, too" if access.may_signal else "its own sessions only"
    yield Check(
        f"{name} watch",
        Verdict.OK,
        f"{access.provider}; {access.role} sees {sees}, may end {ends_whose}",
    )
    for finding in access.findings:
        verdict = Verdict.FAILED if finding.fatal else Verdict.WARNING
        yield Check(f"{name} watch", verdict, finding.text, finding.mend)


def _database(app: App, name: str, label: str, database: str) -> Iterator[Check]:
    report = inspect_access(app.connector(name), database)
    tool = choose_client(report.server_version_num, closest=True)
    yield Check(
        label,
        Verdict.OK,
        f"PostgreSQL {report.server_version.split()[0]} as {report.role}, "
        f"{counted(report.tables, 'table')}, pg_dump {tool.version}",
    )
    for finding in report.findings:
        verdict = Verdict.FAILED if finding.fatal else Verdict.WARNING
        yield Check(label, verdict, finding.text, finding.mend)
    if abs(report.clock_skew_seconds) > _SKEW_SECONDS:
        yield Check(
            label,
            Verdict.WARNING,
            f"its clock differs from ours by {format_duration(abs(report.clock_skew_seconds))}",
            "synchronise both (chrony, systemd-timesyncd)",
        )
