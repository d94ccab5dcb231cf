"""The cage of throw-away servers: what a program in it, and a superuser, cannot do."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.postgres import PostgresServer, installation

from guardian.adapters.scratch import cage as caging
from guardian.adapters.scratch.cage import SYSTEM, Cage, missing
from guardian.adapters.scratch.embedded import EmbeddedServer

PYTHON = str(Path(sys.executable).resolve())
SECRET = "a secret of this host"
TRIES = """
import json, os, resource, socket, subprocess, sys, ctypes
given = json.loads(sys.argv[1])
def tried(what):
    try:
        return repr(what())
    except PermissionError:
        return "refused"
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return error.strerror
def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        return one.connect(address)
def sent(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        return one.sendto(b"forged", address)
def opened(use, path=None):
    one = os.open(path or given["inside"] + "/newer", os.O_RDONLY)
    try:
        return use(one)
    finally:
        os.close(one)
libc = ctypes.CDLL(None, use_errno=True)
def traced():
    if libc.ptrace(16, given["pid"], 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
print(json.dumps({
    "write inside": tried(lambda: open(given["inside"] + "/new", "w").write("x")),
    "rename inside": tried(lambda: os.rename(given["inside"] + "/new", given["inside"] + "/newer")),
    "write outside": tried(lambda: open(given["outside"] + "/new", "w").write("x")),
    "remove outside": tried(lambda: os.unlink(given["secret"])),
    "truncate outside": tried(lambda: os.truncate(given["secret"], 0)),
    "read a secret": tried(lambda: open(given["secret"]).read()),
    "list a folder": tried(lambda: os.listdir(given["outside"])),
    "environment of others": tried(lambda: open("/proc/%d/environ" % given["pid"]).read()),
    "its own environment": sorted(os.environ),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "shared memory": tried(lambda: os.listdir("/dev/shm")),
    "a shell": tried(lambda: subprocess.run(["/bin/sh", "-c", "true"])),
    "a program": tried(lambda: subprocess.run(["/bin/true"])),
    "itself again": tried(lambda: subprocess.run([sys.executable, "-c", "1"]).returncode),
    "ipv4": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", given["port"]))),
    "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "ipv6": tried(lambda: socket.socket(socket.AF_INET6)),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "a local socket": tried(lambda: connect(socket.AF_UNIX, given["socket"])),
    "an abstract socket": tried(lambda: connect(socket.AF_UNIX, "\\0" + given["abstract"])),
    "signal": tried(lambda: os.kill(given["pid"], 0)),
    "ptrace": tried(traced),
    "owner": tried(lambda: os.chown(given["secret"], -1, -1)),
    "times": tried(lambda: os.utime(given["secret"], (0, 0))),
    "attributes": tried(lambda: os.setxattr(given["secret"], "user.x", b"1")),
    "a datagram": tried(lambda: sent(given["datagrams"])),
    "a pair": tried(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "modes": [
        tried(lambda: os.chmod(given["secret"], 0o640)),
        tried(lambda: opened(lambda one: os.fchmod(one, 0o640))),
        tried(lambda: opened(lambda one: os.chmod("newer", 0o640, dir_fd=one), given["inside"])),
    ],
    "streams": [libc.socket(1, 1 | flags, 0) > 0 for flags in (0, 0x80000, 0x800, 0x80800)],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "uid": os.getuid(),
}))
"""


OLDER_KERNEL = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("cage", {script!r})
cage = sys.modules["cage"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cage)
cage._landlock_version = lambda: -1
if sys.argv[1] == "--try":
    sys.exit(not cage.try_the_view())
cage.main(sys.argv[1], sys.argv[2:])
"""
"""The script as it is, where the kernel says that it has no Landlock."""


@pytest.fixture(params=["landlock", "namespaces"], autouse=True)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This kernel, and one that has no Landlock."""
    if request.param == "namespaces":
        script = tmp_path / "cage.py"
        script.write_text(OLDER_KERNEL.format(script=caging.SCRIPT))
        monkeypatch.setattr(caging, "SCRIPT", str(script))
        monkeypatch.setattr(caging, "_landlock_version", lambda: -1)
    return str(request.param)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Sockets of this host that wait for somebody."""
    path, name = str(tmp_path / "s"), f"guardian-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        local.bind(path)
        Path(path).chmod(0o777)
        local.listen()
        abstract.bind("\0" + name)
        abstract.listen()
        datagrams.bind(f"{path}-datagrams")
        Path(f"{path}-datagrams").chmod(0o777)
        yield {
            "port": tcp.getsockname()[1],
            "socket": path,
            "abstract": name,
            "datagrams": f"{path}-datagrams",
        }


def caged(cage: Cage, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cage.around([PYTHON, "-I", "-S", "-c", *words]),
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_this_kernel_has_all_that_a_cage_is_made_of() -> None:
    """Where it does not, the tests below would show nothing."""
    assert missing() is None


def test_a_program_reaches_nothing_of_the_host(
    tmp_path: Path, listener: dict[str, Any], kernel: str
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        folder.chmod(0o777)
    secret = outside / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o666)
    given = {
        **listener,
        "inside": str(inside),
        "outside": str(outside),
        "secret": str(secret),
        "pid": os.getpid(),
    }
    # As whoever we are, for Landlock also root: it is the cage alone that keeps it from anything.
    ours = os.getuid()
    uid = 65534 if kernel == "namespaces" and ours == 0 else None
    cage = Cage((str(inside),), (*SYSTEM, str(Path(sys.base_prefix))), uid=uid, gid=uid)
    done = caged(cage, TRIES, json.dumps(given))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("write inside") == "1"
    assert found.pop("rename inside") == "None"
    assert found.pop("itself again") == ("0" if kernel == "landlock" else "refused")
    assert found.pop("core") == [0, 0]
    assert found.pop("modes") == ["None"] * 3  # a success, and not done
    assert (inside / "newer").stat().st_mode & 0o777 != 0o640
    assert found.pop("streams") == [True] * 4
    assert found.pop("uid") == (uid or ours)
    assert found.pop("its own environment") in (["PATH"], ["LC_CTYPE", "PATH"])
    new = kernel == "landlock" and _kernel() >= (6, 12)
    assert found.pop("signal") in {"refused"} | (set() if new else {"None"})
    if kernel == "namespaces":
        by_view = ("write outside", "remove outside", "truncate outside", "read a secret")
        for name in (*by_view, "list a folder", "environment of others", "shadow"):
            assert found.pop(name) == "not there", name
        assert found.pop("shared memory") in {"refused", "not there"}  # we may lie in it
    assert set(found.values()) == {"refused"}, found
    assert secret.read_text() == SECRET
    state = secret.stat()
    assert state.st_mode & 0o777 == 0o666
    assert state.st_mtime > 1
    assert sorted(outside.iterdir()) == [secret]


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


MEMORY = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
at = libc.shmat(int(sys.argv[1]), None, 0)
print("out of reach" if at == ctypes.c_void_p(-1).value else ctypes.string_at(at).decode())
"""


@pytest.mark.needs_root
def test_memory_of_another_server_of_the_same_user_is_out_of_reach() -> None:
    """System V's, which every server of PostgreSQL has some of."""
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(0, 4096, 0o1600)
    assert number >= 0
    try:
        ctypes.memmove(libc.shmat(number, None, 0), SECRET.encode() + b"\0", len(SECRET) + 1)
        words = [PYTHON, "-I", "-S", "-c", MEMORY, str(number)]
        free = subprocess.run(words, capture_output=True, text=True, check=True)
        assert free.stdout.strip() == SECRET
        done = caged(Cage((), (*SYSTEM, str(Path(sys.base_prefix)))), MEMORY, str(number))
        assert done.stdout.strip() == "out of reach", done.stderr
    finally:
        libc.shmctl(number, 0, None)


def test_where_namespaces_are_forbidden_too_it_still_runs_no_program(kernel: str) -> None:
    """And says so: files are in reach then."""
    if kernel == "namespaces":
        script = Path(caging.SCRIPT)
        script.write_text(script.read_text().replace("cage.try_the_view()", "False"))
        assert "without a cage for files" in (missing() or "")
    given = {"inside": "/nowhere", "outside": "/", "secret": "/nowhere", "pid": os.getpid()}
    given |= {"port": 1, "socket": "/nowhere", "abstract": "nobody", "datagrams": "/nowhere"}
    cage = Cage((), (*SYSTEM, str(Path(sys.base_prefix))))
    done = caged(cage, TRIES, json.dumps(given))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("a shell", "a program", "ipv4", "a local socket", "ptrace"):
        assert found[name] == "refused", name
    assert (found["list a folder"] != "refused") == (kernel == "namespaces")


def test_what_cannot_be_entered_starts_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        Cage((str(tmp_path),), SYSTEM).around(["/nowhere/postgres", "--version"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("/nowhere/postgres cannot be started in a cage: ")
    assert "Traceback" not in done.stderr


@pytest.fixture(params=[15, 16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    one = installation(request.param, from_wheel=request.param != 15)
    with EmbeddedServer(one.bindir, caged=True) as made:
        yield made


def test_a_superuser_is_none_on_the_host(
    server: EmbeddedServer, pg15: PostgresServer, tmp_path: Path
) -> None:
    """Every way out that PostgreSQL has fails, and all that a restore needs works."""
    target = Path("/tmp") / f"guardian-cage-{os.getpid()}"
    readable = tmp_path / "secret"
    readable.write_text(SECRET)
    readable.chmod(0o644)
    guardian = f"/proc/{os.getpid()}"
    tries = [
        f"COPY (SELECT 1) TO PROGRAM 'touch {target}'",
        "COPY (SELECT 1) TO PROGRAM '/bin/true'",
        "CREATE TABLE taken (line text); COPY taken FROM PROGRAM 'id'",
        f"COPY (SELECT 1) TO '{target}'",
        f"SELECT lo_export(lo_import('{server.data_dir}/PG_VERSION'), '{target}')",
        f"SELECT pg_read_file('{readable}')",
        f"SELECT lo_import('{readable}')",
        f"SELECT pg_read_file('{guardian}/environ')",
        f"SELECT pg_read_file('{guardian}/cmdline')",
        "SELECT pg_read_file('/etc/shadow')",
        "SELECT pg_ls_dir('/root')",
        "SELECT pg_ls_dir('/tmp')",
        "SELECT pg_ls_dir('/dev/shm')",
        "SELECT pg_ls_dir('/proc')",
        "LOAD '/proc/self/exe'",
    ]
    if server.major == 15:  # with contrib
        where = f"host={pg15.socket_dir} port={pg15.port} user={pg15.superuser.name}"
        tcp = pg15.dsn(tcp=True).replace("'", "''")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION dblink")
        tries += [f"SELECT dblink_connect('{where}')", f"SELECT dblink_connect('{tcp}')"]
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for statement in tries:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement.encode())
            assert SECRET not in str(caught.value)
        connection.execute("ALTER SYSTEM SET archive_command = 'touch /tmp/x'")  # harmless
        connection.execute(
            "CREATE TABLE big AS SELECT g, md5(g::text) m FROM generate_series(1, 100000) g"
        )
        connection.execute("SET max_parallel_maintenance_workers = 2")
        connection.execute("SET min_parallel_table_scan_size = 0")
        connection.execute("CREATE INDEX ON big (m)")
        assert connection.execute(
            "SELECT to_char(timestamptz '2026-07-01 12:00Z' AT TIME ZONE 'Europe/Berlin', 'HH24')"
        ).fetchone() == ("14",)
        assert connection.execute("SELECT to_tsvector('english', 'cats')").fetchone() == (
            "'cat':1",
        )
    assert not target.exists()


def test_a_server_is_caged_from_its_first_moment() -> None:
    one = installation(15, from_wheel=False)
    with EmbeddedServer(one.bindir, caged=True) as server:
        folder = server.path
        assert server.pid is not None
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        running = Path(f"/proc/{server.pid}/exe").readlink()
        assert running == (one.bindir / "postgres").resolve()
    assert not folder.exists()
