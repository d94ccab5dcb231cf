"""A crash as Sentry gets it: what failed and where, and none of the configuration's secrets."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from guardian.config import Config, load_config
from guardian.daemon.crashes import CrashReporter

CONFIG = """
encryption: {{passphrase_file: /nowhere}}
stores: {{local: {{kind: local, path: backups}}}}
servers:
  main: {{dsn: 'postgresql://ann:s3cr3t-word@db.example/mina'}}
escalation:
  channels:
    errors: {{kind: sentry, dsn: 'http://public-key@127.0.0.1:{port}/7', environment: staging}}
"""


class Receiver(ThreadingHTTPServer):
    """Takes envelopes, as Sentry's ingestion does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.bodies: list[bytes] = []
        self.came = threading.Event()

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [line for body in self.bodies for line in body.splitlines()]
        return [one for one in map(json.loads, filter(None, lines)) if "exception" in one]


class Taker(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.server.came.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def config(sentry: Receiver, tmp_path: Path) -> Config:
    file = tmp_path / "guardian.yaml"
    file.write_text(CONFIG.format(port=sentry.server_port))
    return load_config(file, {})


def fail(dsn: str) -> None:
    local = f"a variable with {dsn}"
    raise LookupError(f"no answer from {local}")


def test_it_says_what_and_where_and_no_secret(sentry: Receiver, config: Config) -> None:
    reporter = CrashReporter.of(config, "k3f9")
    with pytest.raises(LookupError) as caught:
        fail(config.servers["main"].dsn.get_secret_value())
    reporter.report("watch:main", caught.value)
    assert sentry.came.wait(20)
    reporter.close()
    (event,) = sentry.events
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "LookupError"
    assert exception["value"].startswith("no answer from a variable with ")
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["tags"] == {"job": "watch:main", "run": "k3f9"}
    assert event["environment"] == "staging"
    assert event["release"].startswith("guardian@")
    whole = b"".join(sentry.bodies)
    assert b"s3cr3t-word" not in whole
    assert b"a variable with post" not in whole, "no variables, no lines of source with them"


def test_many_crashes_come_one_by_one_and_the_end_waits_for_them(
    sentry: Receiver, config: Config
) -> None:
    reporter = CrashReporter.of(config, "k3f9")
    for number in range(5):
        reporter.report(f"job {number}", ValueError(f"crash {number}"))
    reporter.close()
    assert sorted(one["exception"]["values"][0]["value"] for one in sentry.events) == [
        f"crash {number}" for number in range(5)
    ]
