"""Throw-away servers: they start, stop and vanish, whatever happens to who made them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from support.identity import in_a_child
from support.postgres import installation

from guardian.adapters.postgres.tools import Installation
from guardian.adapters.scratch import cage as caging
from guardian.adapters.scratch.cluster import SCRATCH_SETTINGS, ClusterOptions
from guardian.adapters.scratch.embedded import EmbeddedServer, Shutdown
from guardian.adapters.scratch.folder import ScratchFolder, sweep_strays
from guardian.adapters.scratch.stepdown import choose_runner, reachable_bindir
from guardian.adapters.scratch.watchdog import Watchdog
from guardian.errors import DiskFullError, ScratchError

WAIT_SECONDS = 60.0


@pytest.fixture(params=[15, 16, 18])
def each(request: pytest.FixtureRequest) -> Installation:
    return installation(request.param, from_wheel=request.param != 15)


@pytest.fixture
def newest() -> Installation:
    return installation(18, from_wheel=True)


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that every user can go through; pytest's own is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="guardian-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def ask(server: EmbeddedServer, query: str):
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def await_death(pid: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} still lives"
        time.sleep(0.05)


# --- start and stop -----------------------------------------------------------------------------


def test_every_major_starts_answers_and_leaves_nothing(each, room):
    with EmbeddedServer(each.bindir, directory=room) as server:
        pid = server.pid
        assert server.major == each.major
        assert ask(server, "SHOW server_version").startswith(each.version)
        assert ask(server, "SELECT current_user") == "postgres"
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW fsync") == "off"
        assert ask(server, "SHOW data_checksums") == "off"

    assert pid is not None
    await_death(pid)
    assert list(room.iterdir()) == []


def test_it_stops_keeps_its_data_and_starts_again_at_the_same_port(newest, room):
    with EmbeddedServer(newest.bindir, directory=room, tcp=True) as server:
        port = server.port
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        server.stop()
        assert not server.is_running
        assert server.pid is None
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.dsn())
        server.stop()  # again: fine
        server.start()
        assert server.port == port
        assert ask(server, "SELECT n FROM kept") == 42


@pytest.mark.parametrize("how", list(Shutdown))
def test_it_stops_under_connected_and_busy_clients(newest, room, how):
    with EmbeddedServer(newest.bindir, directory=room) as server:
        waiting = psycopg.connect(server.dsn())
        waiting.execute("CREATE TABLE open_transaction (x int)")
        busy = psycopg.connect(server.dsn())
        busy.pgconn.send_query(b"SELECT pg_sleep(600)")

        server.stop(how)

        with pytest.raises(psycopg.OperationalError):
            waiting.execute("SELECT 1")
        waiting.close()
        busy.close()
        server.start()
        assert ask(server, "SELECT to_regclass('open_transaction')") is None


def test_an_error_in_the_block_leaves_nothing_either(newest, room):
    with pytest.raises(KeyboardInterrupt), EmbeddedServer(newest.bindir, directory=room):
        raise KeyboardInterrupt

    assert list(room.iterdir()) == []


def test_several_at_once_do_not_meet(newest, room):
    with (
        EmbeddedServer(newest.bindir, directory=room, tcp=True) as one,
        EmbeddedServer(newest.bindir, directory=room, tcp=True) as other,
        EmbeddedServer(newest.bindir, directory=room) as third,
    ):
        assert len({server.socket_dir for server in (one, other, third)}) == 3
        assert one.port != other.port
        assert len({ask(server, "SELECT system_identifier FROM pg_control_system()")
                    for server in (one, other, third)}) == 3  # fmt: skip


def test_a_port_that_is_taken_meanwhile_is_given_up_for_another(newest, room, monkeypatch):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        ports = iter([taken, free])
        monkeypatch.setattr("guardian.adapters.scratch.embedded._free_port", lambda: next(ports))

        with EmbeddedServer(newest.bindir, directory=room, tcp=True) as server:
            assert server.port == free


# --- who gets in --------------------------------------------------------------------------------


def test_it_listens_on_the_socket_only_unless_asked(newest, room):
    with EmbeddedServer(newest.bindir, directory=room) as server:
        assert ask(server, "SHOW listen_addresses") == ""


def test_over_tcp_it_wants_a_password(newest, room):
    with EmbeddedServer(newest.bindir, directory=room, tcp=True) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE ROLE mina LOGIN PASSWORD 'right'")
        tcp = f"host=127.0.0.1 port={server.port} user=mina dbname=postgres"
        psycopg.connect(f"{tcp} password=right").close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{tcp} password=wrong")


@pytest.mark.needs_root
def test_another_user_of_this_host_cannot_reach_it(newest, room):
    with EmbeddedServer(newest.bindir, directory=room) as server:
        assert server.runner.name == "postgres"
        other = pwd.getpwnam("nobody")
        done = subprocess.run(
            [newest.tool("psql"), "-XAtqc", "SELECT 1", server.dsn()],
            user=other.pw_uid, group=other.pw_gid, extra_groups=[], cwd="/",
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "Permission denied" in done.stderr
        assert server.log_path.stat().st_mode & 0o077 == 0


def test_secrets_in_our_environment_do_not_reach_it(newest, room, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0ur-s3cret")
    with EmbeddedServer(newest.bindir, directory=room) as server:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        assert str(server.pid) in children
        for pid in children:
            assert b"0ur-s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()


def try_to_replace_its_socket(room: Path) -> None:
    """By what comes with adminpack: the server's process renames and removes what it can."""
    bindir = installation(15, from_wheel=False).bindir
    with EmbeddedServer(bindir, directory=room, caged=True) as server:
        folder = server.socket_dir
        socket_path, new = folder / f".s.PGSQL.{server.port}", folder / "new"
        tries = [
            f"SELECT pg_file_rename('{socket_path}', '{server.data_dir}/away')",
            f"SELECT pg_file_unlink('{socket_path}')",
            f"SELECT lo_export(lo_from_bytea(0, 'x'), '{new}')",
            f"SELECT pg_file_rename('{server.data_dir}/PG_VERSION', '{new}')",
        ]
        before = sorted(folder.iterdir())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION adminpack")
            for statement in tries:
                with contextlib.suppress(psycopg.Error):
                    connection.execute(statement.encode())
        assert socket_path.is_socket()
        assert sorted(folder.iterdir()) == before
        server.stop()
        server.start()
        assert ask(server, "SHOW unix_socket_directories") == str(folder)
    assert list(room.iterdir()) == []


def test_a_caged_server_cannot_put_another_socket_in_the_place_of_its_own(room):
    """We would go where it leads: to another server, as its superuser."""
    try_to_replace_its_socket(room)


@pytest.mark.needs_root
def test_nor_can_that_of_an_ordinary_user(room, monkeypatch):
    """To whom the folder belongs."""
    script = room.parent / f"{room.name}-cage.py"
    shutil.copy(caging.SCRIPT, script)
    try:
        monkeypatch.setattr(caging, "SCRIPT", str(script))
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # ours may be root's alone
        in_a_child("nobody", lambda: try_to_replace_its_socket(room))
    finally:
        script.unlink()


# --- how it is made -----------------------------------------------------------------------------


def test_encoding_checksums_and_settings_as_wanted(each, room):
    cluster = ClusterOptions(encoding="LATIN1", locale="C", data_checksums=True, superuser="o b")
    settings = {**SCRATCH_SETTINGS, "application_name": r"it's \n"}
    with EmbeddedServer(each.bindir, directory=room, cluster=cluster, settings=settings) as server:
        assert ask(server, "SHOW server_encoding") == "LATIN1"
        assert ask(server, "SHOW data_checksums") == "on"
        assert ask(server, "SHOW application_name") == r"it's \n"
        assert ask(server, "SELECT current_user") == "o b"


def test_icu_where_the_build_has_it_and_a_plain_word_where_not(room):
    icu = ClusterOptions(provider="icu", provider_locale="und")
    debians = installation(15, from_wheel=False)
    with EmbeddedServer(debians.bindir, directory=room, cluster=icu) as server:
        provider = "SELECT datlocprovider::text FROM pg_database WHERE datname = 'postgres'"
        assert ask(server, provider) == "i"

    wheels = installation(16, from_wheel=True)
    with (
        pytest.raises(ScratchError, match=r"ICU is not supported.*PostgreSQL's own packages"),
        EmbeddedServer(wheels.bindir, directory=room, cluster=icu),
    ):
        pass
    assert list(room.iterdir()) == []


def test_a_locale_that_this_host_lacks_is_named(newest, room):
    cluster = ClusterOptions(locale="xx_YY.utf8")
    with (
        pytest.raises(ScratchError, match=r"xx_YY\.utf8.*locale -a"),
        EmbeddedServer(newest.bindir, directory=room, cluster=cluster),
    ):
        pass
    assert list(room.iterdir()) == []


def test_a_server_that_will_not_start_shows_its_log(newest, room):
    settings = {"shared_buffers": "a lot"}
    with (
        pytest.raises(ScratchError, match='invalid value for parameter "shared_buffers"'),
        EmbeddedServer(newest.bindir, directory=room, settings=settings),
    ):
        pass
    assert list(room.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_made(newest, room):
    with (
        pytest.raises(DiskFullError, match=r"needs 1.00 PiB in .*free"),
        EmbeddedServer(newest.bindir, directory=room, needed_bytes=1 << 50),
    ):
        pass
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("planted", ["link", "hard link", "pipe"])
def test_settings_are_written_to_what_initdb_made_and_nothing_else(newest, room, planted):
    victim = room / "victim"
    victim.write_text("root's own")
    folder = room / "servers"
    folder.mkdir()
    server = EmbeddedServer(newest.bindir, directory=folder)
    server.create()
    try:
        config = server.data_dir / "postgresql.conf"
        config.unlink()
        if planted == "link":
            server.runner.own(victim)  # also what is that user's, of another server
            config.symlink_to(victim)
        elif planted == "hard link":
            config.hardlink_to(victim)
        else:
            os.mkfifo(config)
        with pytest.raises(ScratchError, match=r"postgresql\.conf"):
            server.configure({"work_mem": "1MB"})
    finally:
        server.destroy()
    assert victim.read_text() == "root's own"


def test_a_copied_cluster_is_its_users_and_starts(newest, room):
    for _ in range(2):
        with EmbeddedServer(newest.bindir, directory=room, templates=room / "kept") as server:
            assert server.data_dir.stat().st_uid == server.runner.uid
            assert server.data_dir.stat().st_mode & 0o777 == 0o700
            assert ask(server, "SELECT 1") == 1
    assert len(list((room / "kept").iterdir())) == 1


# --- where it lies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["long-" + "x" * 120, "with a space", "a,comma", 'quo\'te "double"', "ünïcödé-🐘"]
)
def test_any_folder_will_do(newest, room, name):
    folder = room / name
    folder.mkdir()
    with EmbeddedServer(newest.bindir, directory=folder) as server:
        assert server.data_dir.is_relative_to(folder)
        assert ask(server, "SELECT 1") == 1
        socket_dir = server.socket_dir

    assert list(folder.iterdir()) == []
    assert not socket_dir.exists()


@pytest.mark.needs_root
def test_a_folder_that_the_servers_user_cannot_enter_is_refused_with_the_mend(newest, room):
    closed = room / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(ScratchError, match=r"closed: .*chmod o\+x"),
        EmbeddedServer(newest.bindir, directory=closed),
    ):
        pass
    assert list(closed.iterdir()) == []


def test_a_folder_that_is_missing_is_named(newest, room):
    with (
        pytest.raises(ScratchError, match="nowhere"),
        EmbeddedServer(newest.bindir, directory=room / "nowhere"),
    ):
        pass


# --- programs that the server's user cannot reach -------------------------------------------------


@pytest.fixture
def hidden(room: Path, newest: Installation) -> Path:
    """The wheel's programs below a folder that only root can enter."""
    closed = room / "root's own"
    closed.mkdir(mode=0o700)
    package = newest.bindir.parent.parent
    for part in (newest.bindir.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.relative_to(package.parent), symlinks=True)
    return closed / package.name / newest.bindir.parent.name / "bin"


@pytest.fixture
def cache(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIRECTORY", str(room / "cache"))
    return room / "cache"


@pytest.mark.needs_root
def test_unreachable_programs_are_copied_once(hidden, cache, room):
    old = os.umask(0o077)
    try:
        with EmbeddedServer(hidden, directory=room) as server:
            assert ask(server, "SELECT 1") == 1
            assert server.bindir.is_relative_to(cache)
        (copy,) = cache.iterdir()
        state = copy.stat()
        assert reachable_bindir(hidden, choose_runner()) == server.bindir
    finally:
        os.umask(old)

    assert copy.stat().st_ino == state.st_ino
    assert [path for path in (copy, *copy.rglob("*")) if path.lstat().st_uid] == []
    assert [p for p in copy.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022] == []


@pytest.mark.needs_root
def test_upgraded_programs_are_copied_anew(hidden, cache):
    first = reachable_bindir(hidden, choose_runner())
    os.utime(hidden / "postgres", (1, 1))

    assert reachable_bindir(hidden, choose_runner()) != first
    assert len(list(cache.iterdir())) == 2


@pytest.mark.needs_root
def test_a_cache_that_others_could_write_to_is_refused(hidden, cache):
    cache.mkdir()
    cache.chmod(0o777)

    with pytest.raises(ScratchError, match=r"written to by others.*CACHE_DIRECTORY"):
        reachable_bindir(hidden, choose_runner())

    cache.rmdir()
    cache.symlink_to(hidden.parent)
    with pytest.raises(ScratchError, match="not a folder"):
        reachable_bindir(hidden, choose_runner())


@pytest.mark.needs_root
def test_a_planted_copy_is_refused(hidden, cache):
    reachable_bindir(hidden, choose_runner())
    (planted,) = cache.iterdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(planted, nobody.pw_uid, nobody.pw_gid)

    with pytest.raises(ScratchError, match="written to by others"):
        reachable_bindir(hidden, choose_runner())


@pytest.mark.needs_root
def test_programs_that_are_not_in_one_place_are_not_copied(cache, room):
    closed = room / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)

    with pytest.raises(ScratchError, match=r"user postgres.*chmod o\+rx"):
        reachable_bindir(closed / "bin", choose_runner())


# --- not as root ----------------------------------------------------------------------------------


@pytest.mark.needs_root
def test_an_ordinary_user_runs_it_as_themselves(each, room):
    def whole_life() -> None:
        with EmbeddedServer(each.bindir, directory=room, tcp=True) as server:
            assert not server.runner.steps_down
            assert ask(server, "SELECT 1") == 1
            assert server.path.stat().st_uid == os.geteuid() != 0
            assert sweep_strays(room) == ()
        assert list(room.iterdir()) == []

    in_a_child("nobody", whole_life)


@pytest.mark.needs_root
def test_an_ordinary_user_leaves_others_folders_alone(newest, room):
    with EmbeddedServer(newest.bindir, directory=room) as server:
        in_a_child("nobody", lambda: [].extend(sweep_strays(room)))  # type: ignore[arg-type]
        assert ask(server, "SELECT 1") == 1


# --- when its maker is killed ---------------------------------------------------------------------

ABANDON = """
import sys, time
from pathlib import Path
from guardian.adapters.scratch.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), directory=Path(sys.argv[2]))
server.create()
server.start()
print(server.pid, server._watchdog._process.pid, server.socket_dir, flush=True)
time.sleep(600)
"""


@pytest.fixture
def abandoned(newest: Installation, room: Path) -> Iterator[Callable[..., tuple[int, Path]]]:
    """Kills a process that has made a server; returns the postmaster and its socket's folder."""
    makers: list[subprocess.Popen[str]] = []

    def abandon(directory: Path, *, with_watchdog: bool = False) -> tuple[int, Path]:
        maker = subprocess.Popen(
            [sys.executable, "-c", ABANDON, newest.bindir, directory],
            stdout=subprocess.PIPE,
            text=True,
        )
        makers.append(maker)
        assert maker.stdout is not None
        pid, watchdog, socket_dir = maker.stdout.readline().strip().split(" ", 2)
        if with_watchdog:
            os.kill(int(watchdog), signal.SIGKILL)
        maker.kill()
        maker.wait()
        maker.stdout.close()
        return int(pid), Path(socket_dir)

    yield abandon
    for maker in makers:
        maker.kill()
        maker.wait()


def test_the_server_dies_with_its_maker_and_the_next_run_removes_the_rest(abandoned, room):
    pid, _ = abandoned(room)
    await_death(pid)
    (folder,) = room.iterdir()

    assert sweep_strays(room) == (folder,)
    assert list(room.iterdir()) == []


def test_the_next_run_stops_a_server_that_nobody_watched(abandoned, room):
    deep = room / ("d" * 100)
    deep.mkdir()
    pid, socket_dir = abandoned(deep, with_watchdog=True)
    assert Path(f"/proc/{pid}").exists()
    assert socket_dir.exists()

    assert len(sweep_strays(deep)) == 1

    await_death(pid)
    assert list(deep.iterdir()) == []
    assert not socket_dir.exists()


def test_a_live_server_is_no_stray(newest, room):
    with EmbeddedServer(newest.bindir, directory=room) as server:
        assert sweep_strays(room) == ()
        assert ask(server, "SELECT 1") == 1
        server.stop()
        assert sweep_strays(room) == ()  # stopped, but its maker lives
        server.start()


def test_a_folder_in_the_making_is_left_until_it_is_old(room):
    folder = room / "guardian-pg-new"
    folder.mkdir()
    (folder / "guardian-scratch.json").write_text('{"pid":')
    assert sweep_strays(room) == ()

    os.utime(folder, (1, 1))
    assert sweep_strays(room) == (folder,)
    assert not folder.exists()


def test_what_only_bears_our_name_is_left_alone(room):
    precious = room / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    os.utime(precious, (1, 1))
    (room / "guardian-pg-link").symlink_to(precious)
    (room / "guardian-pg-file").write_text("x")
    (room / "other").mkdir()

    assert sweep_strays(room) == ()
    assert (precious / "file").exists()
    assert len(list(room.iterdir())) == 4


DEEP = 1500


def nest(folder: Path) -> None:
    """Folders within folders, deeper than a path may be long, or a function may call itself."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("x", dir_fd=handle)
        inner = os.open("x", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)


def remove_nested(folder: Path) -> None:
    subprocess.run(["rm", "-rf", "--", folder], check=True)


def test_folders_nested_without_end_are_removed(room, request):
    request.addfinalizer(lambda: remove_nested(room / "servers"))
    (room / "servers").mkdir()
    folder = ScratchFolder(room / "servers", choose_runner())
    nest(folder.data)
    folder.remove()
    assert not folder.path.exists()


def test_a_stray_with_folders_nested_without_end_is_removed(room, request):
    stray = room / "guardian-pg-deep"
    request.addfinalizer(lambda: remove_nested(stray))
    (stray / "data").mkdir(parents=True)
    nest(stray / "data")
    os.utime(stray, (1, 1))
    assert sweep_strays(room) == (stray,)
    assert not stray.exists()


def test_a_socket_folder_that_was_closed_is_removed_with_the_rest(room):
    """As a caged server's is, also where we are not root and may not pass its mode by."""

    def leave_and_sweep() -> None:
        stray = room / "guardian-pg-closed"
        (stray / "socket").mkdir(parents=True)
        (stray / "socket" / ".s.PGSQL.5432").touch()
        (stray / "socket").chmod(0o500)
        os.utime(stray, (1, 1))
        assert sweep_strays(room) == (stray,)
        assert not stray.exists()

    if os.geteuid() == 0:
        in_a_child("nobody", leave_and_sweep)
    else:
        leave_and_sweep()


def test_a_pipe_in_the_place_of_the_pid_file_keeps_no_sweep_waiting(room):
    stray = room / "guardian-pg-pipe"
    (stray / "data").mkdir(parents=True)
    pid_file = stray / "data" / "postmaster.pid"
    os.mkfifo(pid_file)
    os.utime(stray, (1, 1))
    swept: list[tuple[Path, ...]] = []
    sweep = threading.Thread(target=lambda: swept.append(sweep_strays(room)), daemon=True)
    sweep.start()
    sweep.join(10)
    if sweep.is_alive():  # let it go on
        os.close(os.open(pid_file, os.O_WRONLY | os.O_NONBLOCK))
        sweep.join(WAIT_SECONDS)
        pytest.fail("the sweep waited for somebody to write")
    assert swept == [(stray,)]
    assert not stray.exists()


def test_a_pipe_in_the_place_of_the_pid_file_keeps_no_watchdog_waiting(room):
    data = room / "data"
    data.mkdir()
    os.mkfifo(data / "postmaster.pid")
    watchdog = Watchdog(choose_runner(), data)
    process = watchdog._process
    assert process.stdin is not None
    try:
        process.stdin.close()  # as if we were gone
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def test_large_files_are_removed_with_the_rest_and_links_not_followed(room):
    outside = room / "outside"
    outside.mkdir()
    kept = outside / "16384"
    folder = ScratchFolder(room, choose_runner())
    base = folder.data / "base"
    base.mkdir()
    for file in (kept, outside / "16385", base / "1", base / "2", base / "3"):
        with file.open("wb") as stream:
            stream.truncate(80 << 20)
    (base / "4").symlink_to(kept)
    (base / "5").symlink_to(outside)
    folder.remove()
    assert not folder.path.exists()
    assert {one.name for one in outside.iterdir()} == {"16384", "16385"}
