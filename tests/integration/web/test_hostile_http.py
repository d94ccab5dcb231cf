"""Whatever arrives at the port: an answer of ours or a closed door; no traceback, no hang."""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.web.conftest import TOKEN, Serve
from support.dashboard import World

from guardian.web import server as web_server
from guardian.web.application import create_app

EVIL = b"Host: evil.example\r\n"
HOST = b"Host: 127.0.0.1\r\n"
INNER = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"
RAW = {
    "two lengths": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n"
    b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "length and chunks": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "no such encoding": b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "encoding with a tab": b"POST /login HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk of 2^70": b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b"FFFFFFFFFFFFFFFFFF\r\n",
    "a chunk of -1": b"POST /login HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "length -1": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "length +5": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nabcde",
    "length 1e9": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\nx",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
    "a NUL": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X%d: x\r\n" % n for n in range(9000))
    + b"\r\n",
    "a long address": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of ours": b"GUARD / HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "another host first": b"GET / HTTP/1.1\r\n" + EVIL + HOST + b"\r\n",
    "another host last": b"GET / HTTP/1.1\r\n" + HOST + EVIL + b"\r\n",
    "an absolute address": b"GET http://evil.example/metrics HTTP/1.1\r\n" + EVIL + b"\r\n",
    "a host with a login": b"GET / HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\n\r\n",
    "a path upwards": b"GET /static/../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "no UTF-8": b"GET /%ff%fe?server=%ff%00&database=%c0%af HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + b"\0" * 40 + b"\r\n\r\n",
    "two at once": INNER + INNER,
    "half of a line": b"GET / HT",
    "nothing": b"",
}


@pytest.fixture
def port(serve: Serve) -> int:
    """Of a server that has a login."""
    return int(urlsplit(str(serve(TOKEN).base_url)).port or 0)


def said(port: int, raw: bytes) -> bytes:
    """All that comes back until we have said all and the server closes, or says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        try:
            one.sendall(raw)
            one.shutdown(socket.SHUT_WR)
            answer = b""
            while block := one.recv(65536):
                answer += block
        except TimeoutError:
            raise
        except OSError:  # the door was closed while we spoke
            return b""
        return answer


@pytest.mark.parametrize("what", RAW)
def test_odd_requests(port: int, what: str) -> None:
    answer = said(port, RAW[what])
    statuses = [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]
    assert all(status < 500 or status in {501, 505} for status in statuses), answer[:300]
    assert b"Traceback" not in answer
    assert b"guardian_server" not in answer, "nothing is told that wants the token"
    assert b"root:" not in answer
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200


def test_a_body_is_never_taken_for_the_next_request(port: int) -> None:
    """Whoever stands in front of us must not see fewer requests than we do."""
    answer = said(port, RAW["two lengths"])
    assert answer.count(b"HTTP/1.1 ") <= 1, answer[:500]


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"
TOLD_TWICE = {
    "length first": (b"1.1", LENGTH + CHUNKED),
    "length last": (b"1.1", CHUNKED + LENGTH),
    "length 0": (b"1.1", CHUNKED + b"Content-Length: 0\r\n"),
    "in capitals": (b"1.1", (LENGTH + CHUNKED).upper()),
    "with tabs": (b"1.1", b"Content-Length:\t5\t\r\nTransfer-Encoding:\tchunked\t\r\n"),
    "chunked twice": (b"1.1", CHUNKED + CHUNKED),
    "in an older version": (b"1.0", CHUNKED),
    "in an older version, with a length": (b"1.0", LENGTH + CHUNKED),
}


@pytest.mark.parametrize("what", TOLD_TWICE)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_body_whose_end_is_told_twice_is_refused(port: int, what: str, method: bytes) -> None:
    """On every path, and what follows on that connection is not heard."""
    version, headers = TOLD_TWICE[what]
    for path in (b"/health", b"/metrics", b"/", b"/login", b"/static/style.css", b"/nowhere"):
        line = method + b" " + path + b" HTTP/" + version + b"\r\n"
        answer = said(port, line + HOST + headers + b"\r\n0\r\n\r\n" + INNER)
        assert re.findall(rb"^HTTP/1\.[01] (\d{3})", answer, re.MULTILINE) == [b"400"], answer[:300]


def test_chunks_alone_are_read(port: int) -> None:
    raw = b"POST /login HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\na=b\r\n0\r\n\r\n"
    assert b"400 Bad Request" not in said(port, raw)[:30]


FRAMES = st.lists(
    st.sampled_from(
        [
            *(CHUNKED, LENGTH, b"Content-Length: 0\r\n", b"Content-Length: 99999999999\r\n"),
            *(b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
            *(b"Transfer-Encoding : chunked\r\n", b"Connection: close\r\n", EVIL, HOST),
            *(b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
        ]
    )
    | st.binary(max_size=20).map(lambda data: b"X: " + data + b"\r\n"),
    max_size=5,
).map(b"".join)
BODIES = st.sampled_from([b"", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"hello", INNER])
REQUESTS = st.tuples(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"x", b"", b"\xff"]),
    st.sampled_from([b"/", b"/login", b"/metrics", b"*", b"//", b"/%00", b""])
    | st.binary(max_size=10),
    st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"", b" http/1.1"]),
    FRAMES,
    BODIES,
).map(lambda one: b"%s %s%s\r\n%s\r\n%s" % one)


def test_anything_that_looks_like_a_request(port: int) -> None:
    """An answer or a closed door each time: no traceback, no hang (the socket waits 10 s)."""

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(REQUESTS | st.binary(max_size=60), min_size=1, max_size=3).map(b"".join))
    def ask(raw: bytes) -> None:
        answer = said(port, raw)
        statuses = [int(one) for one in re.findall(rb"^HTTP/1\.[01] (\d{3})", answer, re.MULTILINE)]
        assert all(status < 500 or status in {501, 505} for status in statuses), answer[:300]
        assert b"Traceback" not in answer
        assert b"guardian_server" not in answer, "nothing is told that wants the token"

    ask()
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200


def test_whoever_drips_is_shown_the_door(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps a connection busy, and would keep it for ever."""
    monkeypatch.setattr(web_server, "_SLOW_REQUEST_SECONDS", 0.5)
    client = serve()
    port = int(urlsplit(str(client.base_url)).port or 0)
    for beginning in (
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /login HTTP/1.1\r\nContent-Length: 9999\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=0.05) as one:
            one.sendall(beginning)
            assert dripped(one, 30.0), "it still listens"
    assert client.get("/health").status_code == 200


def dripped(one: socket.socket, seconds: float) -> bool:
    """Send a byte now and then; true as soon as the other side has had enough."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            one.sendall(b"x")
            if one.recv(65536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "main",
        "mina",
        "main/mina",
        "0",
        "-1",
        "1e309",
        "../..",
        "<script>",
        "\x1b[31m",
        "\0",
        "'",
    ]
)
VALUES = st.dictionaries(
    st.sampled_from(
        ["server", "database", "show", "page", "pid", "started", "next", "vital", "csrf", "by"]
    )
    | st.text(max_size=5),
    TEXTS,
    max_size=4,
)


@pytest.fixture
def routes(world: World) -> list[tuple[str, str]]:
    """Every method and path that the application knows."""
    app = create_app(world.sources, None, port=0, hosts=())
    return [
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


def test_any_question_to_any_page(serve: Serve, routes: list[tuple[str, str]]) -> None:
    client = serve()
    assert len(routes) > 20

    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(routes), TEXTS, VALUES, VALUES, TEXTS)
    def ask(route, inside, query, form, header) -> None:
        method, rule = route
        path = re.sub(r"<[^>]*>", lambda _: escaped(inside) or "x", rule)
        answer = client.request(
            method,
            path,
            params=query,
            data=form if method == "POST" else None,
            headers={"Accept": printable(header), "Referer": printable(header)},
        )
        assert answer.status_code < 500, (method, path, query, form)
        assert "Traceback" not in answer.text
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            assert "<script>" not in answer.text

    ask()


def escaped(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="", errors="replace")


def printable(text: str) -> str:
    return "".join(c for c in text if 32 <= ord(c) < 127).strip()
