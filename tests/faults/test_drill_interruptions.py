"""Drills that are interrupted, killed, starved: nothing stays behind, and nobody is accused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.drilling import gone, scratch_databases, sessions_of_ours, verify_one
from support.gates import GATES, Place, Standing, at, command_line, ending, standing
from support.postgres import Database, PostgresServer, installation, running_server
from support.proxy import BreakableProxy
from support.rebuilding import s3_section
from support.restoring import wait_for
from support.s3 import RcloneS3
from support.site import Outcome, Site, descendants, snapshot_of

CHECK = {"name": "slow", "sql": "SELECT pg_sleep(600) IS NOT NULL"}
CHECKS = r"^SELECT pg_sleep\(600"


Interrupted = tuple[Outcome, list[int]]
"""How a drill ended, and the processes that it had."""


@dataclass
class Noise:
    """A backup whose drills can be made to stand still, and beside it a small one, in one site."""

    site: Site
    temporary: Path
    slow: str
    quick: str

    def with_checks(self, scratch: str = "embedded") -> Site:
        return replace(self.site, server=self._server(scratch, [CHECK]))

    def without(self, scratch: str = "embedded") -> Site:
        return replace(self.site, server=self._server(scratch, []))

    def _server(self, scratch: str, checks: list[Any]) -> dict[str, Any]:
        return {**self.site.server, "verify": {"scratch": scratch, "checks": checks, "jobs": 2}}

    def drilling(
        self, site: Site, step: str, scratch: PostgresServer | None = None
    ) -> AbstractContextManager[Standing]:
        """A drill of the slow backup that has come to this step, and goes no further."""
        words = ("verify", "--json", self.slow)
        if step == "starting":
            return self._starting(site, words)
        return standing(site, words, step, lambda: self.place(scratch))

    @contextmanager
    def _starting(self, site: Site, words: Sequence[str]) -> Iterator[Standing]:
        """One that makes its server; it goes on, as far as its checks."""
        it = Standing(site.start(*words), lambda: self.place(None))
        with ending(it.process):
            wait_for(lambda: any((path / "PG_VERSION").exists() for path in self._servers()))
            yield it

    def place(self, scratch: PostgresServer | None) -> Place | None:
        """Where a drill works: a throw-away server's folder is ours to look into."""
        if scratch is not None:
            return Place(scratch.dsn(), scratch.embedded.data_dir)
        return next((place_in(data) for data in self._servers()), None)

    def _servers(self) -> Iterator[Path]:
        data = self.temporary.glob("guardian-pg-*/data")
        return (path for path in data if "stray" not in str(path))

    def assert_nothing_stays(self, children: list[int], stored: dict[str, str]) -> None:
        assert gone(children) == []
        assert [path.name for path in self.temporary.iterdir()] == []
        assert snapshot_of(self.site.store) == stored


def place_in(data: Path) -> Place:
    """The throw-away server that has this folder."""
    return Place(f"host={data.parent}/socket port=5432 user=postgres dbname=postgres", data)


@pytest.fixture(scope="module")
def noise(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noise]:
    slow, quick = pg15.create_database(), pg15.create_database()
    slow.execute(GATES)
    quick.execute("CREATE TABLE one AS SELECT 1 AS id")
    site = Site(tmp_path_factory.mktemp("noise") / "site", pg15.dsn())
    site.server = {"databases": [slow.name, quick.name]}
    ids = {item["database"]: item["id"] for item in site.back_up().json}
    # Whoever the scratch server runs as must be able to go through its folder.
    with tempfile.TemporaryDirectory(prefix="drills-") as name:
        temporary = Path(name)
        temporary.chmod(0o711)
        site.environ["TMPDIR"] = name
        yield Noise(site, temporary, ids[slow.name], ids[quick.name])
    for database in (slow, quick):
        pg15.drop_database(database.name)


@pytest.fixture
def unchanged(noise: Noise) -> Iterator[dict[str, str]]:
    """What the store holds; tests that leave records of drills there are not for this."""
    assert list(noise.temporary.iterdir()) == []
    yield snapshot_of(noise.site.store)
    assert sessions_of_ours_on_source(noise) == []


def sessions_of_ours_on_source(noise: Noise) -> list[Any]:
    with psycopg.connect(noise.site.dsn) as connection:
        return connection.execute(
            "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'guardian%'"
        ).fetchall()


def interrupted(drilling: AbstractContextManager[Standing], number: signal.Signals) -> Interrupted:
    """Send this signal to a drill that has come to where it shall; what it and its like did."""
    with drilling as it:
        children = list(descendants(it.process.pid))
        it.process.send_signal(number)
        out, err = it.process.communicate(timeout=60)
    return Outcome(it.process.returncode, out, err), children


# --- Ctrl-C and SIGTERM -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("starting", signal.SIGINT),
        ("definitions", signal.SIGTERM),
        ("rows", signal.SIGINT),
        ("indexes", signal.SIGTERM),
        ("comparing", signal.SIGINT),
        (CHECKS, signal.SIGTERM),
    ],
)
def test_stopped_on_a_server_of_its_own(
    noise: Noise, unchanged: dict[str, str], step: str, number: signal.Signals
) -> None:
    outcome, children = interrupted(noise.drilling(noise.with_checks(), step), number)
    assert outcome.code == 130, outcome.err
    outcome.assert_clean()
    assert f"the drill of {noise.slow} was interrupted, nothing is left of it" in outcome.err
    assert outcome.json == []
    assert children
    noise.assert_nothing_stays(children, unchanged)


@pytest.mark.parametrize(("step", "number"), [("rows", signal.SIGTERM), ("indexes", signal.SIGINT)])
def test_stopped_on_a_given_server(
    noise: Noise,
    unchanged: dict[str, str],
    pg16: PostgresServer,
    step: str,
    number: signal.Signals,
) -> None:
    site = noise.with_checks(pg16.uri())
    outcome, children = interrupted(noise.drilling(site, step, pg16), number)
    assert outcome.code == 130, outcome.err
    outcome.assert_clean()
    assert scratch_databases(pg16) == []
    assert sessions_of_ours(pg16) == []
    noise.assert_nothing_stays(children, unchanged)


def test_after_all_that_the_drill_is_free_to_begin(noise: Noise) -> None:
    """No lease is left, nor a verdict."""
    listed = noise.site.run("backup", "show", noise.slow, "--json", check=True).json
    assert listed["proven"] is None
    drill = verify_one(noise.without(), noise.slow)
    assert drill["result"] == "proven"


# --- kill -9 --------------------------------------------------------------------------------------


def killed(drilling: AbstractContextManager[Standing]) -> list[int]:
    """Kill guardian itself when it is time; its children."""
    outcome, children = interrupted(drilling, signal.SIGKILL)
    assert outcome.code == -signal.SIGKILL
    return children


def test_kill_9_on_a_server_of_its_own_and_the_next_drill_cleans_up(noise: Noise) -> None:
    site = noise.with_checks()
    for step in ("starting", "definitions", "rows", "indexes", "comparing", CHECKS):
        children = killed(noise.drilling(site, step))
        assert gone(children) == [], step
        (stray,) = noise.temporary.iterdir()  # the one before it is gone already
        stray.rename(stray.with_name("guardian-pg-stray"))  # and does not look like the next
    assert verify_one(noise.without(), noise.quick)["result"] == "proven"
    assert [path.name for path in noise.temporary.iterdir()] == []


def test_kill_9_on_a_given_server_and_the_next_drill_cleans_up(
    noise: Noise, pg16: PostgresServer
) -> None:
    site = noise.with_checks(pg16.uri())
    for step in ("definitions", "rows", "indexes", CHECKS):
        children = killed(noise.drilling(site, step, pg16))
        assert gone(children) == [], step
        assert len(scratch_databases(pg16)) == 1, step  # that of the one before is gone already
    # A session may outlive its guardian (here one sleeps for minutes): it keeps nothing.
    place = noise.place(pg16)
    assert place is not None
    assert place.databases_where(CHECKS)
    assert verify_one(noise.without(pg16.uri()), noise.quick)["result"] == "proven"
    assert scratch_databases(pg16) == []
    assert sessions_of_ours(pg16) == []


def test_somebody_elses_session_keeps_a_stray_database(noise: Noise, pg16: PostgresServer) -> None:
    stray = Database(pg16, "guardian_drill_0123456789ab")
    alike = Database(pg16, "guardian_drill_of_mine")
    for database in (stray, alike):
        pg16.create_database(database.name)
    try:
        with stray.connect(application_name="psql"):
            verify_one(noise.without(pg16.uri()), noise.quick)
            assert set(scratch_databases(pg16)) == {stray.name, alike.name}
        verify_one(noise.without(pg16.uri()), noise.quick)
        assert scratch_databases(pg16) == [alike.name]
    finally:
        pg16.drop_database(stray.name)
        pg16.drop_database(alike.name)


# --- what a drill runs dies -----------------------------------------------------------------------


def drill_while(
    drilling: AbstractContextManager[Standing], then: Callable[[Standing], None]
) -> dict[str, Any]:
    """Do this to a drill that has come to where it shall; the drill."""
    with drilling as it:
        then(it)
        out, err = it.process.communicate(timeout=120)
    Outcome(it.process.returncode, out, err).assert_clean()
    (drill,) = json.loads(out)
    assert it.process.returncode == 3, out + err
    return dict(drill)


@pytest.mark.parametrize("step", ["definitions", "rows", "indexes", "comparing", CHECKS])
def test_a_throw_away_server_that_dies(noise: Noise, step: str) -> None:
    def kill_server(it: Standing) -> None:
        pid = it.place.data_dir / "postmaster.pid"
        os.kill(int(pid.read_text().split()[0]), signal.SIGKILL)

    drill = drill_while(noise.drilling(noise.with_checks(), step), kill_server)
    assert drill["result"] == "inconclusive"
    assert drill["differences"] == []
    assert re.search("went away|cannot be reached", drill["reason"]), drill["reason"]
    assert [path.name for path in noise.temporary.iterdir()] == []


@pytest.mark.parametrize("step", ["rows", CHECKS])
def test_a_given_server_that_dies(noise: Noise, step: str) -> None:
    with running_server(installation(16, from_wheel=True)) as server:
        pid = server.embedded.pid
        assert pid is not None

        def kill_server(_: Standing) -> None:
            os.kill(pid, signal.SIGKILL)

        site = noise.with_checks(server.uri())
        drill = drill_while(noise.drilling(site, step, server), kill_server)
    assert drill["result"] == "inconclusive"
    assert re.search("went away|cannot be reached", drill["reason"]), drill["reason"]


@pytest.mark.parametrize("step", ["rows", "indexes"])
def test_kill_9_of_pg_restore_alone(noise: Noise, step: str) -> None:
    """As when memory runs out: the host's fault, not the backup's."""

    def kill_tool(it: Standing) -> None:
        lines = {child: command_line(child) for child in descendants(it.process.pid)}
        tools = [child for child, line in lines.items() if line[0].endswith(b"/pg_restore")]
        assert tools
        for child in tools:
            os.kill(child, signal.SIGKILL)
        it.place.open()  # who waits for the server does not hear of it

    drill = drill_while(noise.drilling(noise.with_checks(), step), kill_tool)
    assert drill["result"] == "inconclusive"
    assert "pg_restore was killed by SIGKILL" in drill["reason"]


def test_a_given_server_that_hangs_is_waited_for_until_the_timeout(
    noise: Noise, pg16: PostgresServer
) -> None:
    with BreakableProxy("127.0.0.1", pg16.port) as proxy:
        address = pg16.uri(connect_timeout="3").replace(f":{pg16.port}/", f":{proxy.port}/")
        site = noise.without(address)
        site.server["verify"]["timeout"] = "6s"
        drill = drill_while(noise.drilling(site, "rows", pg16), lambda _: proxy.hang())
        assert drill["result"] == "inconclusive"
        assert drill["reason"] == "the drill took longer than 6s; raise verify.timeout"
    # Nothing could be dropped there; the next drill does.
    verify_one(noise.without(pg16.uri()), noise.quick)
    assert scratch_databases(pg16) == []
    assert sessions_of_ours(pg16) == []


@pytest.mark.parametrize(
    ("milliseconds", "step"), [(700, "definitions"), (1400, "rows"), (3000, "indexes"), (3000, "")]
)
def test_too_late_whatever_it_is_at(noise: Noise, milliseconds: int, step: str) -> None:
    """Stopped by a clock as by a person, but with a verdict."""
    site = noise.with_checks()  # where it stands for ever, if nowhere else
    site = replace(site, environ={**site.environ, **(at(step) if step else {})})
    site.server["verify"]["timeout"] = f"{milliseconds}ms"
    drill = verify_one(site, noise.slow, code=3)
    assert drill["result"] == "inconclusive"
    assert drill["reason"].startswith("the drill took longer than")
    assert [path.name for path in noise.temporary.iterdir()] == []


# --- a prune at the same time ---------------------------------------------------------------------


def test_a_backup_that_is_being_drilled_is_not_pruned(
    pg15: PostgresServer, noise: Noise, tmp_path: Path
) -> None:
    source = pg15.create_database()
    try:
        source.execute(GATES)
        site = Site(tmp_path / "site", source.dsn())
        old = site.back_up().result["id"]
        site.back_up()
        nothing = ("hourly", "daily", "weekly", "monthly", "yearly", "proven")
        policy = {"keep_last": 1, "keep_within": "1ms", **{f"keep_{name}": 0 for name in nothing}}
        check = {"name": "a while", "sql": "SELECT public.stay('checks', 1)"}
        site.server = {"retention": policy, "verify": {"checks": [check]}}
        there = replace(site, environ={**noise.site.environ, **at("checks")})
        it = Standing(there.start("verify", "--json", old), lambda: noise.place(None))
        with ending(it.process):
            it.comes_to(r"^SELECT public\.stay")
            pruned = {item["id"]: item for item in site.run("backup", "prune", "--json").json}
            assert pruned[old]["deleted"] is False
            with it.place.opened():
                out, err = it.process.communicate(timeout=120)
        assert it.process.returncode == 0, err
        assert json.loads(out)[0]["result"] == "proven"
        pruned = {item["id"]: item for item in site.run("backup", "prune", "--json").json}
        assert pruned[old]["deleted"] is True
        outcome = site.run("verify", "--json", old)
        assert outcome.code == 2
        assert list(site.store.rglob(f"*{old}*/*")) == [], "the drill left its record behind"
    finally:
        pg15.drop_database(source.name)


# --- the store ------------------------------------------------------------------------------------


@dataclass
class Remote:
    """A backup of 25 MB and more in a bucket behind a proxy."""

    site: Site
    proxy: BreakableProxy
    temporary: Path


@pytest.fixture(scope="module")
def _remote(
    large: Database, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Remote]:
    with (
        BreakableProxy("127.0.0.1", rclone_s3.port) as proxy,
        tempfile.TemporaryDirectory(prefix="drills-") as name,
    ):
        temporary = Path(name)
        temporary.chmod(0o711)
        site = Site(tmp_path_factory.mktemp("remote") / "site", large.dsn())
        bucket = rclone_s3.new_bucket("drills")
        section = s3_section(rclone_s3, bucket)
        site.stores = {"offsite": {**section, "endpoint_url": proxy.endpoint_url}}
        site.environ["TMPDIR"] = name
        assert site.back_up().result["stored_bytes"] > 25 << 20
        yield Remote(site, proxy, temporary)


@pytest.fixture
def remote(_remote: Remote) -> Iterator[Remote]:
    _remote.proxy.mend()
    yield _remote
    _remote.proxy.mend()
    assert [path.name for path in _remote.temporary.iterdir()] == []


@pytest.mark.parametrize("after", [3_000, 3_000_000, 20_000_000])
def test_a_store_that_dies_in_the_middle(remote: Remote, after: int) -> None:
    remote.proxy.cut_after(after, direction="down")
    process = remote.site.start("verify", "--json")
    out, err = process.communicate(timeout=240)
    Outcome(process.returncode, out, err).assert_clean()
    assert process.returncode == 3, out + err
    (drill,) = json.loads(out)
    assert drill["result"] == "inconclusive"
    assert "offsite" in drill["reason"]
    shown = remote.site.run("backup", "list", "--json", check=True).json
    assert shown[0]["proven"] is None


def test_a_store_that_stalls_is_waited_for_until_the_timeout(remote: Remote) -> None:
    site = replace(remote.site, server={"verify": {"timeout": "6s"}})
    remote.proxy.hang_after(5_000_000)
    process = site.start("verify", "--json")
    with ending(process):
        wait_for(lambda: not remote.proxy.flows)
        time.sleep(7)
        remote.proxy.mend()  # the verdict is written there
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    (drill,) = json.loads(out)
    assert drill["result"] == "inconclusive"
    assert drill["reason"] == "the drill took longer than 6s; raise verify.timeout"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_a_store_stalls(remote: Remote, number: signal.Signals) -> None:
    remote.proxy.hang_after(5_000_000)
    process = remote.site.start("verify", "--json")
    with ending(process):
        wait_for(lambda: not remote.proxy.flows)
        time.sleep(0.5)
        children = descendants(process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert gone(children) == []
    if number is signal.SIGINT:
        assert process.returncode == 130, out + err
    else:
        subprocess.run(["rm", "-rf", *remote.temporary.iterdir()], check=True)
