"""The real ``guardian run``, with systemd's end of its notification socket in our hands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families
from support.site import Site, descendants

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import is_alive
from guardian.config import load_config


def until(found: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """What ``found`` gives as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.05)
    return value


class Daemon:
    """One life of the daemon. Leaving the ``with`` block kills it, should it still live."""

    def __init__(self, site: Site, name: str = "daemon", *, watchdog_seconds: int = 2) -> None:
        site.write()
        self.site = site
        self.log_file = site.root / f"{name}.log"
        self.said: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = site.root / f"{name}.notify"
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        environ = {
            **site.environment,
            "NOTIFY_SOCKET": str(address),
            "WATCHDOG_USEC": str(watchdog_seconds * 1_000_000),
        }
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                site.command("run"), env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.catalog: SqlCatalog | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        if self.catalog is not None:
            self.catalog.close()
        self._socket.close()
        if kind is not None:
            print(self.log)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def heard(self, word: str) -> list[dict[str, str]]:
        """The notifications with such a word: ``READY``, ``WATCHDOG``."""
        return [one for one in self.said if word in one]

    @property
    def status(self) -> str:
        """The latest line for ``systemctl status``."""
        return next((one["STATUS"] for one in reversed(self.said) if "STATUS" in one), "")

    def until(self, found: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
        """As the function, and the daemon must live meanwhile."""

        def look() -> Any:
            assert self.process.poll() is None, f"it ended: {self.log}"
            return found()

        return until(look, f"{what}\n{self.log}", seconds)

    def ready(self) -> Self:
        """Wait for the first READY=1, and open its catalog beside it."""
        self.until(lambda: self.heard("READY"), "READY=1")
        url = load_config(self.site.config).catalog_url
        self.catalog = open_catalog(url, clock=SystemClock(), is_alive=is_alive, create=False)
        return self

    def events(self, kind: str) -> list[str]:
        """What it recorded of one kind, newest first."""
        assert self.catalog is not None
        return [one.message for one in self.catalog.events(kind=kind)]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of what it serves at ``service.listen``."""
        listen = load_config(self.site.config).service.listen
        try:
            with urllib.request.urlopen(f"http://{listen}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:  # nobody listens yet
            return 0, ""

    def metric(self, name: str, **labels: str) -> float | None:
        """A value as Prometheus would scrape it; None where there is none."""
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal, wait for the exit, and return its status."""
        self.send(number)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started, as a power cut would."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(30)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "their death")

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            self.said.append(dict(line.split("=", 1) for line in data.decode().splitlines()))
