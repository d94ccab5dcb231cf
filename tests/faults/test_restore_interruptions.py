"""Ctrl-C, SIGTERM and kill -9 at each step of a restore: the wanted database is as it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from support.drilling import gone
from support.gates import GATES, Place, Standing, at, ending, standing
from support.postgres import Database, PostgresServer
from support.restoring import Restoring, back_up, command_lines, wait_for
from support.site import Outcome, descendants

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.maintenance import discard_database
from guardian.adapters.postgres.side_database import side_database_name
from guardian.adapters.postgres.swapping import Swap
from guardian.adapters.postgres.target import PREFIX, PostgresTarget
from guardian.adapters.process import current_holder, is_alive
from guardian.errors import ConnectionFailedError

# Steps where it is not the restored database that waits, but the server.
MAKING = "^CREATE DATABASE"
RENAMING = "^ALTER DATABASE.*RENAME"


@pytest.fixture(scope="session")
def _noise(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restoring]:
    source = pg15.create_database()
    source.execute(GATES)
    yield back_up(tmp_path_factory.mktemp("noise") / "site", source, pg15)
    pg15.drop_database(source.name)


@pytest.fixture
def noise(_noise: Restoring) -> Iterator[Restoring]:
    """The backup of a database that takes a while."""
    yield _noise
    _noise.clean()
    assert _noise.beside() == []


@pytest.fixture(autouse=True)
def _calm(noise: Restoring) -> None:
    """What an earlier guardian left on the server when it was killed is not taken for ours."""
    wait_for(lambda: not place_of(noise).databases_where("."))


@contextmanager
def restoring(noise: Restoring, step: str, words: Sequence[str]) -> Iterator[Standing]:
    """A restore that has come to this step, and stands there."""
    with standing(noise.site, words, step, lambda: place_of(noise)) as it:
        yield it


@contextmanager
def replacing(noise: Restoring, full: Database, step: str) -> Iterator[Standing]:
    """The same for one that is to take the name of a database that there is."""
    words = noise.words(full.name, "--replace")
    if step == MAKING:
        with waiting_for_its_template(noise), restoring(noise, step, words) as it:
            yield it
    elif step == RENAMING:
        with restoring(noise, "analyzing", words) as it, full.connect(), it.place.opened():
            it.comes_to(step)  # and waits for who is connected
            yield it
    else:
        with restoring(noise, step, words) as it:
            yield it


def place_of(noise: Restoring) -> Place:
    return Place(noise.server.dsn(), noise.server.embedded.data_dir)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("rows", signal.SIGINT),
        ("comparing", signal.SIGTERM),
        (RENAMING, signal.SIGTERM),
    ],
)
def test_ctrl_c_and_sigterm(noise: Restoring, step: str, number: signal.Signals) -> None:
    full = noise.existing("CREATE TABLE mine AS SELECT 42 AS answer")
    before = noise.databases()
    with replacing(noise, full, step) as it:
        it.process.send_signal(number)
        out, err = it.process.communicate(timeout=60)
    outcome = Outcome(it.process.returncode, out, err)
    assert outcome.code == 130, outcome.out + outcome.err
    outcome.assert_clean()
    assert "interrupted, the database is as it was before" in outcome.err
    assert noise.databases() == before
    assert full.rows("SELECT answer FROM mine") == [(42,)]
    assert_nothing_runs(noise)


@pytest.mark.parametrize("step", [MAKING, "rows", "comparing", "analyzing", RENAMING])
def test_kill_9_and_the_next_restore_cleans_up(noise: Restoring, step: str) -> None:
    full = noise.existing("CREATE TABLE mine AS SELECT 42 AS answer")
    before = noise.databases()
    with replacing(noise, full, step) as it:
        children = descendants(it.process.pid)
        it.process.kill()
        it.process.communicate()
        assert gone(children) == []
    assert noise.databases()[full.name] == before[full.name]
    assert full.rows("SELECT answer FROM mine") == [(42,)]
    with place_of(noise).opened():
        assert_nothing_runs(noise)  # a server needs a moment to hear of a client's death
    connector = Connector("test", full.dsn())
    with PostgresTarget(connector, full.name, lambda *_: None) as target:
        target.sweep()  # what every restore begins with
    assert noise.databases() == before


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ConnectionFailedError("the server went away")]
)
@pytest.mark.parametrize("replaced", ["full", "empty"])
def test_once_the_name_is_taken_it_is_too_late_whoever_hears_of_it(
    noise: Restoring, monkeypatch: pytest.MonkeyPatch, error: BaseException, replaced: str
) -> None:
    """A stop, or a loss of the server, in the instant after the names were changed."""
    table = ("CREATE TABLE mine AS SELECT 42 AS answer",) if replaced == "full" else ()
    there = noise.existing(*table)
    words = ("--replace",) if table else ()
    run = Swap.run

    def run_and_fail(swap: Swap) -> None:
        assert run(swap).taken
        raise error

    monkeypatch.setattr(Swap, "run", run_and_fail)
    told = noise.restored(there.name, *words, "--no-compare", "--no-analyze")
    assert there.rows("SELECT count(*) FROM noise") == [(1000,)]
    if replaced == "full":
        assert Database(there.server, told["kept_old"]).rows("SELECT answer FROM mine") == [(42,)]
    else:
        assert told["kept_old"] is None
        (left,) = [name for name in noise.beside() if name.startswith("guardian_emptied_")]
        assert any(left in warning for warning in told["warnings"])
        noise.server.drop_database(left)


def assert_nothing_runs(noise: Restoring) -> None:
    wait_for(
        lambda: (
            noise.source.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'guardian%'"
            )
            == [(0,)]
        )
    )


def test_two_at_once_and_no_secret_on_a_command_line(noise: Restoring) -> None:
    """A sweep beside a restore that runs, from another maintenance database, leaves it alone.

    The restore itself began with one.
    """
    stray = "guardian_restore_fedcba987654"
    noise.server.create_database(stray)
    name = noise.new_name()
    dsn = noise.site.root / "dsn"
    dsn.write_text(noise.server.uri(name))
    words = ("restore", noise.backup, "--to-file", str(dsn), "--create", "--json")
    process = replace(noise.site, environ=at("definitions")).start(
        *words, "--no-compare", "--no-analyze"
    )
    it = Standing(process, lambda: place_of(noise))
    seen: list[str] = []
    with ending(process):
        with all_the_while(lambda: seen.append(command_lines(family(process.pid)))):
            it.comes_to("definitions")  # which it makes by means of pg_restore
        seen.append(command_lines(family(process.pid)))
        assert "pg_restore" in seen[-1]
        assert noise.server.superuser.password not in "".join(seen)
        assert stray not in noise.databases()
        catalog = catalog_of(noise)
        assert len(catalog.leases(f"read:{noise.backup}:")) == 1  # prune keeps off
        catalog.close()
        with PostgresTarget(
            # where no other database than this lets us in, its advisory locks are apart
            Connector("test", noise.server.dsn("postgres")),
            "postgres",
            lambda *_: None,
        ) as target:
            target.sweep()
            assert len(noise.beside()) == 1
        with it.place.opened():
            out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    with noise.server.connect(name) as connection:
        assert connection.execute("SELECT count(*) FROM noise").fetchone() == (1000,)


@contextmanager
def waiting_for_its_template(noise: Restoring) -> Iterator[None]:
    """As long as this lasts, no database is made: it takes too short else to be seen."""
    with noise.server.connect() as connection, connection.transaction():
        connection.execute("COMMENT ON DATABASE template0 IS 'unmodifiable empty database'")
        yield


def family(pid: int) -> list[int]:
    return [pid, *descendants(pid)]


@contextmanager
def all_the_while(work: Callable[[], object]) -> Iterator[None]:
    """Over and over, on a thread: what lives for a moment is to be seen."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.001):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(20)


def catalog_of(noise: Restoring) -> SqlCatalog:
    url = f"sqlite:///{noise.site.root}/state/catalog.db"
    return open_catalog(url, clock=SystemClock(), is_alive=is_alive)


def test_a_backup_that_is_being_pruned_is_left_alone(noise: Restoring) -> None:
    catalog = catalog_of(noise)
    holder = current_holder("guardian backup prune")
    lease = catalog.acquire(f"read:{noise.backup}", holder, timedelta(minutes=1))
    try:
        said = noise.refused(noise.new_name(), "--create", code=4)
    finally:
        catalog.release(lease)
        catalog.close()
    assert "is being pruned by guardian backup prune" in said


def test_what_a_sweep_removes_and_what_not(pg15: PostgresServer) -> None:
    connector = Connector("test", pg15.dsn("never"))
    token = "0123456789ab"
    strays = [f"guardian_restore_{token}", f"guardian_emptied_{token}"]
    kept = ["guardian_restore_mine", f"guardian_emptied_{token[::-1]}", f"mina_restored_{token}"]
    for name in (*strays, *kept):
        pg15.create_database(name)
    Database(pg15, kept[1]).execute("CREATE TABLE mine ()")
    Database(pg15, strays[0]).execute(
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
        f"ALTER DATABASE {strays[0]} IS_TEMPLATE true",
        f"ALTER DATABASE {strays[0]} SET default_transaction_read_only = on",
    )
    try:
        with (
            pg15.connect(strays[0]),  # a session that hangs on; it is nobody's any more
            pg15.connect(kept[0]) as elsewhere,
            side_database_name(elsewhere, PREFIX) as running,
            PostgresTarget(connector, "never", lambda *_: None) as target,
        ):
            pg15.create_database(running)
            target.sweep()
            with pg15.connect() as connection:
                rows = connection.execute(
                    "SELECT datname FROM pg_database WHERE datname ~ '^(guardian|mina)_'"
                ).fetchall()
            left = {name for (name,) in rows}
        assert left == {*kept, running}
    finally:
        for name in (*strays, *kept, running):
            discard_database(connector, "postgres", name, "test")
