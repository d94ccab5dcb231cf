"""HTTP and TCP probes against real sockets that answer, lie, hang, drip and hang up."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ports import free_port

from guardian.adapters.clock import SystemClock
from guardian.adapters.probing import HttpProbe, TcpProbe, difference_of
from guardian.watch.outage import ProbeCause, ProbeResult

PATIENT = timedelta(seconds=60)
BRIEF = timedelta(seconds=0.5)
HEALTHY = {"status": "healthy"}


class Site:
    """A web server whose pages are functions; it remembers what it was asked with."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers)))
                with contextlib.suppress(OSError):
                    site.pages[self.path.partition("?")[0]](self)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: object) -> None:
                pass  # a client that does not like our certificate

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.port = int(self.server.server_address[1])

    def url(self, path: str, login: str = "") -> str:
        return f"{self.scheme}://{login}127.0.0.1:{self.port}{path}"

    def page(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.pages[path] = answer


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    site = Site(tls)
    thread = threading.Thread(target=site.server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join(10)
        site.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as one:
        yield one


def http(url: str, timeout: timedelta = PATIENT, **options: object) -> ProbeResult:
    result = HttpProbe("web", url, SystemClock(), timeout=timeout, **options).probe()  # type: ignore[arg-type]
    assert result.ok or result.text.startswith("probe web (http")
    assert "\n" not in result.text
    return result


def tcp(address: str, timeout: timedelta = PATIENT) -> ProbeResult:
    return TcpProbe("cache", address, SystemClock(), timeout=timeout).probe()


# --- HTTP ---------------------------------------------------------------------------------------


def test_a_healthy_site(site: Site) -> None:
    site.page("/health", body=json.dumps({**HEALTHY, "version": 7}).encode())
    result = http(site.url("/health"), expect_json=HEALTHY)
    assert result.ok, result
    assert result.latency_seconds > 0
    assert site.asked[0][1]["User-Agent"].startswith("guardian/")
    assert http(site.url("/health")).ok


@pytest.mark.parametrize("status", [500, 503, 404, 204])
def test_a_status_that_is_not_the_right_one(site: Site, status: int) -> None:
    site.page("/health", status)
    result = http(site.url("/health"))
    assert result.cause is ProbeCause.WRONG_ANSWER
    assert result.text.endswith(f"answered {status}, expected 200")
    assert http(site.url("/health"), expect_status=status).ok


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"status": "degraded"}', 'status is "degraded", expected "healthy"'),
        (b'{"state": "healthy"}', "its answer has no status"),
        (b'["healthy"]', 'its answer is ["healthy"], expected {"status": "healthy"}'),
        (b"<html>", "its answer is no JSON"),
        (b"\xff\xfe", "its answer is no JSON"),
        (b"", "its answer is no JSON"),
        (b"[" * 2000000, "its answer is longer than 1 MiB"),
    ],
)
def test_json_that_is_not_the_right_one(site: Site, body: bytes, words: str) -> None:
    site.page("/health", body=body)
    result = http(site.url("/health"), expect_json=HEALTHY)
    assert result.cause is ProbeCause.WRONG_ANSWER
    assert result.text.endswith(words)


def test_json_nested_too_deep_is_wrong_and_no_crash(site: Site) -> None:
    site.page("/health", body=b"[" * 500_000)
    result = http(site.url("/health"), expect_json=HEALTHY)
    assert result.cause is ProbeCause.WRONG_ANSWER


def test_redirects_are_followed_unless_one_is_right(site: Site) -> None:
    site.page("/old", 302, Location="/health")
    site.page("/health", body=b"{}")
    site.page("/round", 301, Location="/round")
    site.page("/lost", 302, Location="ftp://example/x")
    site.page("/broken", 302, Location="http://[::1/x")
    assert http(site.url("/old")).ok
    assert http(site.url("/old"), expect_status=302).ok
    assert "more than 5 redirects" in http(site.url("/round")).text
    for path in ("/lost", "/broken"):
        result = http(site.url(path))
        assert (result.cause, result.ok) == (ProbeCause.WRONG_ANSWER, False)
        assert "no web address" in result.text


def test_headers_go_to_nobody_else(site: Site) -> None:
    with serving() as other:
        site.page("/here", 302, Location="/health")
        site.page("/away", 302, Location=other.url("/theirs"))
        site.page("/health")
        other.page("/theirs")
        secrets = {"X-Token": "s3cret", "Authorization": "Bearer s3cret"}
        assert http(site.url("/here"), headers=secrets).ok
        assert [asked["X-Token"] for _, asked in site.asked] == ["s3cret", "s3cret"]
        assert http(site.url("/away"), headers=secrets).ok
        assert "s3cret" not in repr(other.asked)


@pytest.mark.parametrize("value", ["s3cret\r\nX: y", "s3cret\0"])
def test_an_impossible_header_is_not_quoted(site: Site, value: str) -> None:
    site.page("/health")
    result = http(site.url("/health"), headers={"X-Token": value})
    assert result.cause is ProbeCause.UNKNOWN
    assert "s3cret" not in result.text


def test_nothing_secret_of_the_address_is_shown(site: Site) -> None:
    site.page("/health", 500)
    result = http(site.url("/health?token=s3cret", login="me:s3cret@"))
    assert "s3cret" not in result.text
    assert f"http://127.0.0.1:{site.port}/health)" in result.text
    assert site.asked[0][1]["Authorization"].startswith("Basic ")


def test_a_site_that_thinks_too_long(site: Site) -> None:
    go_on = threading.Event()

    def think(request: BaseHTTPRequestHandler) -> None:
        go_on.wait(60)

    site.pages["/health"] = think
    result = http(site.url("/health"), BRIEF)
    go_on.set()
    assert result.cause is ProbeCause.TIMEOUT
    assert result.text.endswith("no answer within 0.5s")


def test_a_site_that_drips(site: Site) -> None:
    """Each byte comes within the timeout; all of them do not."""
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not stop.wait(0.1):
            request.wfile.write(b" ")

    site.pages["/health"] = drip
    assert http(site.url("/health"), BRIEF, expect_json=HEALTHY).cause is ProbeCause.TIMEOUT
    deadline = time.monotonic() + 30
    while any(each.name == "probe web" for each in threading.enumerate()):
        assert time.monotonic() < deadline, "the try goes on for ever"
        time.sleep(0.05)
    stop.set()


def test_a_site_that_hangs_up(site: Site) -> None:
    site.pages["/health"] = lambda request: request.connection.shutdown(socket.SHUT_RDWR)
    assert http(site.url("/health")).cause is ProbeCause.CLOSED

    def cut(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"{")

    site.pages["/half"] = cut
    assert http(site.url("/half"), expect_json=HEALTHY).cause is ProbeCause.CLOSED


def test_nobody_listens() -> None:
    assert http(f"http://127.0.0.1:{free_port()}/").cause is ProbeCause.REFUSED
    assert tcp(f"127.0.0.1:{free_port()}").cause is ProbeCause.REFUSED


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example"])
def test_a_name_that_nobody_knows(host: str) -> None:
    assert http(f"http://{host}/").cause is ProbeCause.DNS
    assert tcp(f"{host}:80").cause is ProbeCause.DNS


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key, for 127.0.0.1."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=here",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ),
            *("-out", chain, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


def test_a_certificate_that_nobody_vouches_for(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context) as site:
        site.page("/health")
        result = http(site.url("/health"))
        assert result.cause is ProbeCause.TLS
        assert "self-signed certificate" in result.text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert http(site.url("/health")).ok


def test_tls_where_there_is_none(site: Site) -> None:
    site.page("/health")
    result = http(site.url("/health").replace("http:", "https:"))
    assert result.cause is ProbeCause.TLS


# --- TCP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_accepts(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = tcp(f"{host}:{server.getsockname()[1]}")
    assert result.ok, result


def test_an_address_of_version_6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert tcp(f"[::1]:{server.getsockname()[1]}").ok


def test_an_address_that_drops_what_comes() -> None:
    with socket.socket() as full, ExitStack() as held:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # fill the queue
            queued = held.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(full.getsockname())
        result = tcp(f"127.0.0.1:{full.getsockname()[1]}", BRIEF)
        assert result.cause is ProbeCause.TIMEOUT
        assert result.text == (
            f"probe cache (127.0.0.1:{full.getsockname()[1]}): no answer within 0.5s"
        )
        assert http(f"http://127.0.0.1:{full.getsockname()[1]}/", BRIEF).cause is (
            ProbeCause.TIMEOUT
        )


def test_a_name_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), []

    def hang(*arguments: object, **more: object) -> list[object]:
        asked.append(arguments)
        answer.wait(60)
        raise socket.gaierror("nothing came")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    probes = [
        TcpProbe("cache", "slow.invalid:1", SystemClock(), timeout=BRIEF),
        HttpProbe("web", "http://slow.invalid/", SystemClock(), timeout=BRIEF),
    ]
    for probe in probes:
        assert probe.probe().cause is ProbeCause.TIMEOUT
        assert probe.probe().cause is ProbeCause.TIMEOUT
    assert len(asked) == 2
    answer.set()


# --- comparing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ({}, {"a": 1}, None),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b is 2, expected 1"),
        ({"a": {"b": 1}}, {"a": 1}, 'a is 1, expected {"b": 1}'),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, "a is [1, 2, 3], expected [1, 2]"),
        ({"a": True}, {"a": 1}, "a is 1, expected true"),
        ({"a": 0}, {"a": False}, "a is false, expected 0"),
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": None}, {}, "its answer has no a"),
        ({"a": None}, {"a": None}, None),
        ({"a": 1}, {"a": "x" * 200}, 'a is "' + "x" * 79 + "…, expected 1"),
    ],
)
def test_differences(expected: object, found: object, difference: str | None) -> None:
    assert difference_of(expected, found) == difference


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(value=json_values, more=st.dictionaries(st.text(max_size=3), json_values))
def test_an_answer_has_all_of_itself_and_may_have_more(value: object, more: dict) -> None:
    assert difference_of(value, value) is None
    if isinstance(value, dict):
        assert difference_of(value, {**more, **value}) is None
        assert (difference_of({**value, **more}, value) is None) == all(
            key in value and difference_of(each, value[key]) is None for key, each in more.items()
        )
