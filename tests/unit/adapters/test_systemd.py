from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.adapters.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end, as a path and in Linux's abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        if request.param == "path":
            address = str(tmp_path / "notify")
            far.bind(address)
        else:
            address = f"@guardian-test-{os.getpid()}-{tmp_path.name}"
            far.bind("\0" + address[1:])
        far.settimeout(5)
        yield far, address


def heard(far: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in far.recv(4096).decode().splitlines())


def test_the_words_as_systemd_wants_them(manager: tuple[socket.socket, str]) -> None:
    far, address = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready("guards 1 server")
    assert heard(far) == {"READY": "1", "STATUS": "guards 1 server"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    found = heard(far)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert found["RELOADING"] == "1"
    assert before <= int(found["MONOTONIC_USEC"]) <= after
    notifier.alive()
    assert heard(far) == {"WATCHDOG": "1"}
    notifier.stopping("on SIGTERM\nREADY=1")
    assert heard(far) == {"STOPPING": "1", "STATUS": "on SIGTERM READY=1"}


def test_a_status_is_sent_when_it_changes(manager: tuple[socket.socket, str]) -> None:
    far, address = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    for text in ("one", "one", "two"):
        notifier.status(text)
    assert [heard(far)["STATUS"] for _ in range(2)] == ["one", "two"]
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(4096)


def test_children_do_not_speak_for_us() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/root"}
    Notifier.from_environment(environ)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("environ", "every"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_how_often_the_watchdog_wants_to_hear_from_us(
    environ: dict[str, str], every: float | None
) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": "/x", **environ}).watchdog_every == every


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        notifier = Notifier.from_environment({**environ, "WATCHDOG_USEC": "1000000"})
        notifier.ready("x")
        notifier.alive()
        assert notifier.watchdog_every is None
    Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


def test_a_manager_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(str(tmp_path / "notify"))
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(1000):
            notifier.alive()
