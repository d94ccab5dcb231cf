"""The connection probe against real servers that let it in, or say no in each of their ways."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest
from support.ports import free_port
from support.postgres import TEST_SETTINGS, PostgresServer, Role, installation
from support.proxy import BreakableProxy

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres import probe as probe_module
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.probe import ConnectionProbe
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.watch.outage import ProbeCause, ProbeResult

FreshRole = Callable[..., Role]
PATIENT = timedelta(seconds=60)
BRIEF = timedelta(seconds=0.5)


def prober(dsn: str, timeout: timedelta = PATIENT, **options: str) -> ConnectionProbe:
    return ConnectionProbe(Connector("main", dsn), SystemClock(), timeout=timeout, **options)


def probed(dsn: str, timeout: timedelta = PATIENT, **options: str) -> ProbeResult:
    result = prober(dsn, timeout, **options).probe()
    assert result.ok or result.text.startswith("server main (")
    assert "\n" not in result.text
    return result


def test_a_server_that_answers(pg: PostgresServer) -> None:
    for tcp in (True, False):
        result = probed(pg.dsn(tcp=tcp))
        assert result.ok, result
        assert (result.text, result.mend, result.sqlstate) == ("", None, None)
        assert result.latency_seconds > 0


def test_it_leaves_nothing_open(pg15: PostgresServer) -> None:
    probe = prober(pg15.dsn(tcp=True))
    wrong = prober(pg15.dsn(tcp=True, password="wrong"))
    assert probe.probe().ok
    assert not wrong.probe().ok
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as cheap as can be
    for _ in range(5):
        probe.probe()
        wrong.probe()
        prober(pg15.dsn(tcp=True, password="wrong")).probe()  # which asks with a trace
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not [each.name for each in threading.enumerate() if each.name.startswith("probe")]


# --- what the server says -----------------------------------------------------------------------


def test_a_wrong_password(pg: PostgresServer) -> None:
    secret = secrets.token_hex(8)
    result = probed(pg.dsn(tcp=True, password=secret))
    assert (result.cause, result.sqlstate) == (ProbeCause.AUTHENTICATION, "28P01")
    assert secret not in result.text
    assert result.text.count("password authentication failed") == 1


def test_no_password_at_all(pg: PostgresServer) -> None:
    result = probed(pg.dsn(tcp=True, password=""))
    assert (result.cause, result.sqlstate) == (ProbeCause.AUTHENTICATION, None)


def test_a_role_that_may_not_log_in(pg: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg)
    with pg.connect() as connection:
        connection.execute(f"ALTER ROLE {role.name} NOLOGIN".encode())
    result = probed(pg.dsn(role=role, tcp=True))
    assert (result.cause, result.sqlstate) == (ProbeCause.AUTHENTICATION, "28000")


def test_no_such_database_and_one_that_takes_no_connections(pg: PostgresServer) -> None:
    for name, sqlstate in (("nowhere", "3D000"), ("template0", "55000")):
        result = probed(pg.dsn(tcp=True), database=name)
        assert (result.cause, result.sqlstate) == (ProbeCause.NO_DATABASE, sqlstate)


def test_a_role_with_a_misleading_name(pg: PostgresServer) -> None:
    result = probed(pg.dsn(tcp=True, user="SSL connection refused timed out"))
    assert result.cause is ProbeCause.AUTHENTICATION


def test_all_connections_are_taken(fresh_role: FreshRole, pg: PostgresServer) -> None:
    role = fresh_role(pg)
    with pg.connect() as connection:
        connection.execute(f"ALTER ROLE {role.name} CONNECTION LIMIT 1".encode())
    with pg.connect(role=role):
        result = probed(pg.dsn(role=role))
        assert (result.cause, result.sqlstate) == (ProbeCause.TOO_MANY_CONNECTIONS, "53300")
    with ExitStack() as held:
        fill(pg, held)
        full = probed(pg.dsn())
        assert (full.cause, full.sqlstate) == (ProbeCause.TOO_MANY_CONNECTIONS, "53300")
        assert "pools" in (full.mend or "")


def fill(pg: PostgresServer, held: ExitStack) -> None:
    """Take connections until there are none left."""
    for _ in range(200):
        try:
            held.enter_context(pg.connect())
        except psycopg.OperationalError as error:
            assert "too many clients" in str(error)  # noqa: PT017 - ends the loop
            return
    raise AssertionError("it takes ever more")


def test_a_server_that_speaks_another_language() -> None:
    """Its words are those of no list: the SQLSTATE must do, also from memory."""
    with foreign_server("28P01") as (port, visits):
        probe = prober(f"host=127.0.0.1 port={port} user=me password=x sslmode=disable")
        for _ in range(3):
            result = probe.probe()
            assert (result.cause, result.sqlstate) == (ProbeCause.AUTHENTICATION, "28P01")
            assert "Passwort-Authentifizierung" in result.text
        assert len(visits) == 4, "only the first is asked a second time, with a trace"
    for sqlstate, cause in (
        ("53300", ProbeCause.TOO_MANY_CONNECTIONS),
        ("57P03", ProbeCause.STARTING_UP),
        ("3D000", ProbeCause.NO_DATABASE),
        ("XX000", ProbeCause.UNKNOWN),
    ):
        with foreign_server(sqlstate) as (port, _):
            assert probed(f"host=127.0.0.1 port={port} sslmode=disable").cause is cause


@contextmanager
def foreign_server(sqlstate: str) -> Iterator[tuple[int, list[object]]]:
    """Says no in German to whoever comes. No locale but C is sure to be on a test host."""
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0MPasswort-Authentifizierung \u00fcbel\0\0".encode()
    answer = b"E" + (len(fields) + 4).to_bytes(4) + fields
    visits: list[object] = []
    with listener() as (server, port):

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, visitor = server.accept()
                    visits.append(visitor)
                    with client:
                        client.recv(65536)
                        client.sendall(answer)
                        client.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port, visits
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


# --- starting, recovering, stopping -------------------------------------------------------------


@pytest.fixture(scope="module", params=[15, 16, 18])
def mortal(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server to stop and start in odd ways."""
    bindir = installation(request.param, from_wheel=request.param != 15).bindir
    with EmbeddedServer(bindir, settings=TEST_SETTINGS) as server:
        yield server


def until(look: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that comes soon on its own."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come")
        time.sleep(0.02)


@contextmanager
def postmaster(server: EmbeddedServer, *settings: str) -> Iterator[None]:
    """The stopped server's data under a postmaster that need not become ready."""
    with (server.path / "second.log").open("wb") as log:
        process = server.runner.popen(
            [
                *(str(server.bindir / "postgres"), "-D", str(server.data_dir)),
                *("-p", str(server.port), "-c", "listen_addresses="),
                *("-c", f"unix_socket_directories={server.socket_dir}"),
                *(word for setting in settings for word in ("-c", setting)),
            ],
            output=log,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, 3)  # SIGQUIT, to it and what it runs
            process.wait(60)


@pytest.mark.parametrize(
    ("settings", "cause", "words"),
    [
        (("restore_command=sleep 600",), ProbeCause.STARTING_UP, "is starting up"),
        (("restore_command=false", "hot_standby=off"), ProbeCause.IN_RECOVERY, "Hot standby"),
    ],
)
def test_a_server_that_takes_no_queries_yet(
    mortal: EmbeddedServer, settings: tuple[str, ...], cause: ProbeCause, words: str
) -> None:
    dsn = mortal.dsn()
    mortal.stop()
    signal = mortal.data_dir / "standby.signal"
    signal.touch()
    mortal.runner.own(signal)
    try:
        with postmaster(mortal, *settings):
            until(lambda: probed(dsn).cause is cause)
            result = probed(dsn)
            assert (result.cause, result.sqlstate) == (cause, "57P03")
            assert words in result.text
    finally:
        signal.unlink()
        mortal.start()
    assert probed(dsn).ok


def test_a_server_that_is_being_stopped(mortal: EmbeddedServer) -> None:
    dsn = mortal.dsn()
    with psycopg.connect(dsn):
        assert mortal.pid is not None
        os.kill(mortal.pid, 15)  # a smart shutdown waits for the session above
        until(lambda: not probed(dsn).ok)
        result = probed(dsn)
        assert (result.cause, result.sqlstate) == (ProbeCause.SHUTTING_DOWN, "57P03")
    until(lambda: not mortal.is_running)
    assert probed(dsn).cause is ProbeCause.REFUSED
    mortal.stop()
    mortal.start()


# --- what is in between -------------------------------------------------------------------------


@contextmanager
def listener() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, int(server.getsockname()[1])


def test_nobody_listens() -> None:
    result = probed(f"host=127.0.0.1 port={free_port()} user=me")
    assert (result.cause, result.sqlstate) == (ProbeCause.REFUSED, None)
    assert "start the server" in (result.mend or "")


def test_no_socket(tmp_path) -> None:
    assert probed(f"host={tmp_path} user=me").cause is ProbeCause.REFUSED


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_server_that_accepts_and_never_answers(mode: str) -> None:
    with listener() as (_, port):
        result = probed(f"host=127.0.0.1 port={port} user=me sslmode={mode}", BRIEF)
    assert result.cause is ProbeCause.TIMEOUT
    assert result.text.endswith("it accepted the connection, and did not answer within 0.5s")
    assert result.latency_seconds >= 0.4


def test_a_connection_that_is_never_made() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with ExitStack() as held:  # fill the queue: what comes then is dropped, as by a firewall
            for _ in range(2):
                queued = held.enter_context(socket.socket())
                queued.setblocking(False)
                queued.connect_ex(("127.0.0.1", port))
            result = probed(f"host=127.0.0.1 port={port} user=me", BRIEF)
    assert result.cause is ProbeCause.TIMEOUT
    assert "no connection within 0.5s" in result.text


def test_a_server_that_falls_silent_after_the_login(pg15: PostgresServer) -> None:
    with BreakableProxy("127.0.0.1", pg15.port) as proxy:
        dsn = pg15.dsn(tcp=True, port=proxy.port, sslmode="disable")
        real = probe_module.ConnectionProbe._select

        def hang_first(connection: object, deadline: float) -> None:
            proxy.hang()
            real(connection, deadline)  # type: ignore[arg-type]

        probe = prober(dsn, timedelta(seconds=2))
        probe._select = hang_first  # type: ignore[method-assign]
        result = probe.probe()
    assert result.cause is ProbeCause.TIMEOUT
    assert "did not answer SELECT 1" in result.text


def test_one_that_hangs_up(pg15: PostgresServer) -> None:
    with BreakableProxy("127.0.0.1", pg15.port) as proxy:
        proxy.cut_after(20, refuse=False)
        result = probed(pg15.dsn(tcp=True, port=proxy.port, sslmode="disable"))
    assert (result.cause, result.sqlstate) == (ProbeCause.CLOSED, None)


def test_a_name_that_nobody_knows() -> None:
    result = probed("host=no-such-host.invalid user=me")
    assert result.cause is ProbeCause.DNS
    assert "no-such-host.invalid" in result.text


def test_a_name_service_that_hangs_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = threading.Event()

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        answer.wait(60)
        raise socket.gaierror("nothing came")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    probe = prober("host=slow.invalid user=me", BRIEF)
    for _ in range(3):
        result = probe.probe()
        assert result.cause is ProbeCause.DNS
        assert "was not resolved within 0.5s" in result.text
    assert asked == ["slow.invalid"]
    answer.set()
    monkeypatch.undo()
    until(lambda: "no-such" not in probe.probe().text and len(asked) == 1)


def test_a_dead_address_leaves_time_for_the_next(pg15: PostgresServer) -> None:
    with listener() as (_, port):
        both = pg15.dsn(tcp=True, host="127.0.0.1,127.0.0.1", port=f"{port},{pg15.port}")
        assert probed(both, timedelta(seconds=4)).ok


def test_of_two_addresses_the_one_that_answers_is_told(pg15: PostgresServer) -> None:
    ports = f"{pg15.port},{free_port()}"
    dsn = pg15.dsn(tcp=True, host="127.0.0.1,127.0.0.1", port=ports, password="wrong")
    assert probed(dsn).cause is ProbeCause.AUTHENTICATION


# --- TLS ----------------------------------------------------------------------------------------


def test_tls_where_there_is_none(pg16: PostgresServer) -> None:
    assert probed(pg16.dsn(tcp=True, sslmode="require")).cause is ProbeCause.TLS


def test_a_certificate_that_nobody_vouches_for(pg15: PostgresServer) -> None:
    root = pg15.embedded.data_dir / "server.crt"
    assert probed(pg15.dsn(tcp=True, sslmode="verify-full", sslrootcert=str(root))).ok
    unknown = probed(pg15.dsn(tcp=True, sslmode="verify-full", sslrootcert="system"))
    assert unknown.cause is ProbeCause.TLS
    other = probed(
        pg15.dsn(
            tcp=True,
            host="elsewhere.example",
            hostaddr="127.0.0.1",
            sslmode="verify-full",
            sslrootcert=str(root),
        )
    )
    assert other.cause is ProbeCause.TLS
    assert "elsewhere.example" in other.text
    missing = probed(pg15.dsn(tcp=True, sslmode="verify-ca", sslrootcert="/no/such/file"))
    assert missing.cause is ProbeCause.TLS


def test_a_server_that_wants_tls_and_we_do_not(pg15: PostgresServer) -> None:
    hba = pg15.embedded.data_dir / "pg_hba.conf"
    before = hba.read_text()
    rules = before.replace("host    all", "hostssl all")
    assert rules != before
    hba.write_text(rules)
    try:
        with pg15.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        dsn = pg15.dsn(tcp=True)
        until(lambda: not probed(pg15.dsn(tcp=True, sslmode="disable")).ok)
        refused = probed(pg15.dsn(tcp=True, sslmode="disable"))
        assert (refused.cause, refused.sqlstate) == (ProbeCause.TLS, "28000")
        assert probed(dsn).ok
    finally:
        hba.write_text(before)
        with pg15.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: probed(pg15.dsn(tcp=True, sslmode="disable")).ok)


def test_what_listens_there_is_no_postgresql() -> None:
    with listener() as (server, port):

        def speak() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        client.recv(65536)

        threading.Thread(target=speak, daemon=True).start()
        result = probed(f"host=127.0.0.1 port={port} user=me sslmode=disable")
        assert not result.ok
        assert result.cause is not ProbeCause.AUTHENTICATION
        server.shutdown(socket.SHUT_RDWR)
