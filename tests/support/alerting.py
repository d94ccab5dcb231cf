"""Real processes that raise an alert over HTTP, and die where they are told to.

A nursery is one process with everything imported; each of its children is a fork that goes from a
condition to its delivery, and ends itself with SIGKILL at the step that it is given.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from guardian.adapters.catalog import documents
from guardian.adapters.catalog.catalog import open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import is_alive
from guardian.errors import DeliveryError
from guardian.escalate.dispatch import Dispatcher
from guardian.escalate.engine import Escalator
from guardian.escalate.model import Condition, Incident, Message, Observation, Receipt, Severity
from guardian.escalate.pacing import Pace
from guardian.escalate.rules import EscalationRules

SCOPE = "backups:main"
KEY = "backup.failed:main/mina"


# --- the other side ---


@dataclass(frozen=True)
class Heard:
    """One message that arrived, whatever was answered."""

    path: str
    dedup_key: str
    number: int
    kind: str
    title: str
    items: list[str]


class Receiver:
    """An HTTP server that keeps what it gets. ``answers`` are statuses for the next requests."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: dict[str, deque[int]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                waiting = receiver.answers.get(self.path)
                status = waiting.popleft() if waiting else 202
                if status < 400:
                    receiver.heard.append(Heard(self.path, **body))
                with contextlib.suppress(OSError):  # who asked may be dead by now
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: Any) -> None:
                """Who asked was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# --- this side, in the child ---


class Steps:
    """Counts the steps, and dies at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.taken: list[str] = []
        self._die_at = die_at
        self._lock = threading.Lock()

    def step(self, name: str) -> None:
        with self._lock:
            self.taken.append(name)
            if len(self.taken) - 1 == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


class Stumbling:
    """A catalog, with a step before and after each time that it is written to."""

    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in {"apply", "settle", "save_channel_health"}:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._steps.step(f"before {name}")
            done = found(*args, **kwargs)
            self._steps.step(f"after {name}")
            return done

        return call


class HttpChannel:
    """A channel that posts JSON to the receiver, with a step while the answer is on its way."""

    groups = True

    def __init__(self, name: str, port: int, steps: Steps) -> None:
        self.name = name
        self._port = port
        self._steps = steps

    def send(self, message: Message, memo: str | None = None) -> Receipt:
        self._steps.step(f"before send {self.name}")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            body = {
                "dedup_key": message.dedup_key,
                "number": message.number,
                "kind": message.kind.value,
                "title": message.title,
                "items": list(message.items),
            }
            connection.request("POST", f"/{self.name}", json.dumps(body))
            self._steps.step(f"sent {self.name}")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"{self.name}: {type(error).__name__}") from error
        finally:
            connection.close()
        self._steps.step(f"answered {self.name}")
        if status >= 400:
            raise DeliveryError(f"{self.name}: {status}", permanent=status in {400, 404, 410})
        return Receipt(str(status), memo=f"{self.name} thread")

    def close(self) -> None:
        """Nothing to close."""


def condition(number: int | None = None, count: int = 1) -> Condition:
    key = KEY if number is None else f"probe.web:{number}"
    return Condition(
        key=key,
        kind=key.partition(":")[0],
        severity=Severity.P1,
        title=f"{key} is wrong",
        occurrence=f"the {count}th",
        count=count,
    )


@dataclass
class Guard:
    """An escalator and a dispatcher over a catalog file, as a daemon has them."""

    url: str
    port: int
    die_at: int | None = None
    busy: float = 10.0

    def __post_init__(self) -> None:
        self.steps = Steps(self.die_at)
        self.clock = SystemClock()
        self._catalog = open_catalog(
            self.url,
            clock=self.clock,
            is_alive=is_alive,
            busy_timeout=timedelta(seconds=self.busy),
        )
        self.catalog: Any = Stumbling(self._catalog, self.steps)
        rules = EscalationRules(
            people={"on-call": ("pager", "chat"), "lead": ("mail",)},
            startup_settle=timedelta(0),
            settle=(("*", timedelta(0)),),
            recovery=(("*", timedelta(0)),),
        )
        channels = {
            name: HttpChannel(name, self.port, self.steps) for name in ("pager", "chat", "mail")
        }
        self.dispatcher = Dispatcher(
            channels,
            self.catalog,
            self.clock,
            rules,
            pace=Pace(first_pause=0.05, longest_pause=0.1, storm_every=0.2),
        )
        self.escalator = Escalator(self.catalog, self.clock, rules, courier=self.dispatcher)

    def observe(self, *conditions: Condition) -> None:
        self.escalator.observe(Observation(SCOPE, self.clock.now(), conditions))

    def deliver(self, until: Callable[[], bool] | None = None, seconds: float = 60.0) -> None:
        """Run the dispatcher until nothing is to be done, or until that holds."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            report = self.dispatcher.run_once(5)
            if until is not None:
                if until():
                    return
            elif not (report.outstanding or report.unwritten or report.in_the_air):
                return
            self.dispatcher.wait(0.02)
        raise AssertionError("it took too long")

    def close(self) -> None:
        self.dispatcher.close()
        self._catalog.close()


def alert(url: str, port: int, die_at: int | None, conditions: int, *, over: bool) -> list[str]:
    """From a condition to its delivery, and to its end; returns the steps that it took."""
    guard = Guard(url, port, die_at)
    wrong = [condition(number) for number in range(conditions)] or [condition()]
    guard.observe(*wrong)
    guard.deliver()
    if over:
        guard.observe()
        guard.deliver()
    guard.close()
    return guard.steps.taken


# --- processes ---


def _serve() -> None:
    """Fork a child for each line of orders, and tell how it ended."""
    logging.disable()
    for kind in (Incident, Message):  # what takes long the first time, so that children have it
        documents.record_of(kind, "{}")
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 1
            try:
                os.write(writing, json.dumps(alert(**order)).encode())
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        done = {"status": os.waitstatus_to_exitcode(status), "steps": json.loads(said or "null")}
        print(json.dumps(done), flush=True)


class Nursery:
    """The process that forks; one order at a time."""

    def __init__(self) -> None:
        folder = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": f"{folder.parent}:{folder.parent.parent}"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from support.alerting import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def alert(
        self,
        url: str,
        port: int,
        die_at: int | None = None,
        conditions: int = 0,
        *,
        over: bool = False,
    ) -> list[str] | None:
        """Let a child do it; its steps, or None when it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "url": url,
            "port": port,
            "die_at": die_at,
            "conditions": conditions,
            "over": over,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        done = json.loads(self._process.stdout.readline())
        assert done["status"] in {0, -signal.SIGKILL}, done
        steps: list[str] | None = done["steps"]
        return steps

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can be written to, as on a full disk or over a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
