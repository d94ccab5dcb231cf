"""The tour's second half: a night with the daemon awake.

A transaction is forgotten, a lock holds everybody up, the server goes away. Nobody but the daemon
does anything about it; what is told here is what the other side saw.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import psycopg

from guardian.demo.stage import APPLICATION_ROLE, DATABASE, PEOPLE, Say, Stage
from guardian.errors import GuardianError

_START_SECONDS = 60.0
_EVENT_SECONDS = 60.0
_STOP_SECONDS = 30.0
_CLIMB = {"on-call": ("alert",), "lead": ("escalation",), "cto": ("escalation",)}


@contextmanager
def daemon(place: Stage) -> Iterator[None]:
    """``guardian run``, until the block is left.

    Raises:
        GuardianError: it does not start, or does not call itself healthy.
    """
    log = place.root / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            place.command("run"), env={**place.environ}, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_healthy(place):
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise GuardianError("guardian run does not come up: " + " / ".join(last))
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()


def _is_healthy(place: Stage) -> bool:
    try:
        return httpx.get(f"{place.dashboard}/health", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def forgotten_transaction(place: Stage) -> str:
    """Leave a transaction open and wait; returns what its client hears when it comes back.

    Raises:
        GuardianError: nobody ended it.
    """
    with _client(place, "checkout") as client:
        client.execute("BEGIN")
        client.execute("SELECT count(*) FROM users")
        _wait(lambda: _is_gone(place, client), "the forgotten transaction was not ended")
        return _next_word(client)


def lock_storm(place: Stage, while_waiting: Callable[[], None]) -> tuple[int, str]:
    """Let one session lock a row that two others want.

    Returns how many of those got it in the end, and what the first one heard. ``while_waiting`` is
    called while they wait.

    Raises:
        GuardianError: the root was not ended, or the others did not get their turn.
    """
    heard: list[str] = []
    through: list[int] = []

    def hold() -> None:
        with _client(place, "nightly-report") as client:
            try:
                client.execute("BEGIN")
                client.execute(_TOUCH)
                locked.set()
                client.execute("SELECT pg_sleep(120)")
            except psycopg.Error as error:
                heard.append(_words(error))
            locked.set()

    def want() -> None:
        with suppress(psycopg.Error), _client(place, "web") as client:
            client.execute(_TOUCH)
            through.append(1)

    locked = threading.Event()
    threads = [threading.Thread(target=hold, daemon=True)]
    threads[0].start()
    locked.wait(_EVENT_SECONDS)
    threads += [threading.Thread(target=want, daemon=True) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    _wait(lambda: _waiting(place) == 2, "nobody waits for the lock")
    while_waiting()
    for thread in threads:
        thread.join(_EVENT_SECONDS)
    if len(through) != 2 or not heard:
        raise GuardianError("the lock's root was not ended")
    return len(through), heard[0]


def outage(place: Stage, say: Say) -> None:
    """Stop the server, watch the incident climb to the last rung, start it again.

    Raises:
        GuardianError: somebody did not hear of it, or of its end.
    """
    place.server.stop()
    say("The server is gone. Nobody answers the phone, so the incident climbs")
    for person in PEOPLE:
        if place.phones.wait(person, _CLIMB[person], _EVENT_SECONDS) is None:
            raise GuardianError(f"{person} was not told that the server is down")
    place.run_guardian("incidents", "list")
    place.server.start()
    say("The server is back: whoever was told hears of that, too")
    for person in PEOPLE:
        if place.phones.wait(person, ("resolved",), _EVENT_SECONDS) is None:
            raise GuardianError(f"{person} was not told that the server is back")


_TOUCH = "UPDATE users SET updated_at = updated_at WHERE id = (SELECT min(id) FROM users)"


def _client(place: Stage, application: str) -> psycopg.Connection:
    """A session of the application: no superuser, which policies leave alone."""
    dsn = place.server.dsn(DATABASE, user=APPLICATION_ROLE)
    return psycopg.connect(dsn, application_name=application, autocommit=True)


def _ask(place: Stage, query: str) -> int:
    with psycopg.connect(place.server.dsn("postgres"), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _is_gone(place: Stage, client: psycopg.Connection) -> bool:
    pid = client.info.backend_pid
    return _ask(place, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0  # nosec B608 # noqa: S608 - a number


def _waiting(place: Stage) -> int:
    return _ask(
        place,
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'web' AND wait_event_type = 'Lock'",
    )


def _next_word(client: psycopg.Connection) -> str:
    try:
        client.execute("SELECT 1")
    except psycopg.Error as error:
        return _words(error)
    raise GuardianError("the forgotten transaction was not ended")


def _words(error: psycopg.Error) -> str:
    return f"{error.sqlstate or ''} {str(error).splitlines()[0]}".strip()


def _wait(done: Callable[[], bool], or_else: str) -> None:
    deadline = time.monotonic() + _EVENT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise GuardianError(or_else)
        time.sleep(0.1)
