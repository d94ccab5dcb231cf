"""The daemon's life in this process: the catalog goes away as the configuration is read again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import holder
from support.duty import FAST, QUICKLY, until
from support.home import NOWHERE
from support.ports import free_port
from support.site import Site

from guardian.adapters.catalog.catalog import SqlCatalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.systemd import Notifier
from guardian.config import load
from guardian.daemon.app import App
from guardian.daemon.service import Service
from guardian.daemon.signals import Signalled
from guardian.daemon.state import Role
from guardian.daemon.tenure import LEASE
from guardian.errors import CatalogError, ConfigError, ExitCode

PROBE = {"name": "port", "kind": "tcp", "address": "127.0.0.1:1", "interval": "200ms"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site", NOWHERE, {**FAST, "backup": {"schedule": "every 30d"}})
    made.sections = {
        "service": {"listen": f"127.0.0.1:{free_port()}"},
        "escalation": QUICKLY,
        "probes": [PROBE],
    }
    made.write()
    return made


@pytest.fixture(autouse=True)
def logging_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "_set_up_logging", lambda _: None)


def live(site: Site, day: Callable[[Service], None]) -> None:
    """A life in this thread, as signals want it; the day comes from another."""
    service = Service(lambda: load(site.config), clock=SystemClock(), notifier=Notifier())
    wrong: list[BaseException] = []

    def pass_by() -> None:
        try:
            until(lambda: service._duty and "dashboard" in service._jobs.names(), "its start")
            day(service)
        except BaseException as error:  # noqa: BLE001 - told by the thread of the test
            wrong.append(error)
        finally:
            service._messages.put(Signalled(signal.SIGTERM))

    thread = threading.Thread(target=pass_by, daemon=True)
    thread.start()
    assert service.run() is ExitCode.DONE
    thread.join(60)
    if wrong:
        raise wrong[0]


def read_again(service: Service) -> None:
    service._messages.put(Signalled(signal.SIGHUP))


def away(*_: object, **__: object) -> Any:
    raise CatalogError("the catalog is locked by another process")


def test_a_reload_while_the_catalog_is_away_changes_nothing_and_the_next_one_does(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def day(service: Service) -> None:
        jobs = service._jobs.names()
        assert "probe of port" in jobs
        del site.sections["probes"]
        site.write()
        with monkeypatch.context() as catalog:
            catalog.setattr(SqlCatalog, "tries", away)
            read_again(service)
            why = until(lambda: service.snapshot().memory.config.problem, "the refusal")
        assert "the catalog is locked by another process" in why
        assert service.snapshot().memory.role is Role.ACTIVE
        assert service._jobs.names() == jobs
        until(lambda: service.app.catalog.events(kind="config.refused"), "the word of it")
        read_again(service)
        until(lambda: "probe of port" not in service._jobs.names(), "the reload")
        until(lambda: service.snapshot().memory.config.problem is None, "its end")

    live(site, day)


def new_password(site: Site) -> None:
    """With an empty line behind it."""
    (site.root / "password").write_text("canary\n\n")
    site.server["password_file"] = str(site.root / "password")


def mistyped(site: Site) -> None:
    site.dsn = "host=127.0.0.1 pasword=canary"


@pytest.mark.parametrize("change", [new_password, mistyped])
def test_a_reload_of_what_cannot_be_used_changes_nothing_and_the_next_one_does(
    site: Site, change: Callable[[Site], None]
) -> None:
    def day(service: Service) -> None:
        jobs, dsn = service._jobs.names(), site.dsn
        change(site)
        del site.sections["probes"]
        site.write()
        read_again(service)
        why = until(lambda: service.snapshot().memory.config.problem, "the refusal")
        assert "servers.main" in why
        assert "canary" not in why
        assert service.snapshot().memory.role is Role.ACTIVE
        assert service._jobs.names() == jobs
        site.dsn = dsn
        site.server.pop("password_file", None)
        site.write()
        read_again(service)
        until(lambda: "probe of port" not in service._jobs.names(), "the reload")
        assert service.app.catalog.events(kind="daemon.crash") == []

    live(site, day)


@pytest.mark.parametrize("change", [new_password, mistyped])
def test_a_standby_is_refused_at_its_start_and_not_when_it_is_needed(
    site: Site, change: Callable[[Site], None]
) -> None:
    change(site)
    site.write()
    with App(load(site.config).config) as app:
        app.catalog.acquire(LEASE, holder(host="another"), timedelta(minutes=5))
    service = Service(lambda: load(site.config), clock=SystemClock(), notifier=Notifier())
    service._messages.put(Signalled(signal.SIGTERM))  # it would stand by, and go
    with pytest.raises(ConfigError, match=r"servers\.main"):
        service.run()


def test_a_catalog_that_goes_away_within_a_reload_makes_a_standby_that_takes_up_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = SqlCatalog.tries

    def only_just(catalog: SqlCatalog, *of: Any, **named: Any) -> Any:
        return away() if of else tries(catalog, *of, **named)

    def day(service: Service) -> None:
        del site.sections["probes"]
        site.write()
        guards = list(service._duty._guards) if service._duty else []
        closed: list[object] = []
        for guard in guards:
            monkeypatch.setattr(guard, "close", lambda guard=guard: closed.append(guard))
        with monkeypatch.context() as catalog:
            catalog.setattr(SqlCatalog, "tries", only_just)
            read_again(service)
            until(lambda: service.snapshot().memory.role is Role.STANDBY, "it stands by")
            assert service._jobs.names() <= {"lease", "dashboard"}, "and does nothing else"
        assert closed == guards
        until(lambda: service.snapshot().memory.role is Role.ACTIVE, "it takes up again")
        until(lambda: "alarms" in service._jobs.names(), "its jobs")
        assert "watch:main" in service._jobs.names()
        assert "probe of port" not in service._jobs.names(), "by the new configuration"
        assert service.app.catalog.events(kind="daemon.crash") == []

    live(site, day)
