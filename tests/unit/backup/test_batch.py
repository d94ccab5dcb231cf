from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from guardian.backup.batch import back_up_all, exit_code
from guardian.backup.run import BackupResult
from guardian.errors import (
    AlreadyRunningError,
    Cause,
    ConnectionFailedError,
    DumpError,
    ExitCode,
    GuardianError,
    InterruptedRunError,
)
from guardian.model import BackupId, DatabaseRef, RunStatus

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
BUSY = AlreadyRunningError("main/b is being backed up by pid 7")


def done(ref: DatabaseRef, error: GuardianError | None = None) -> BackupResult:
    return BackupResult(
        id=BackupId("20261123T020000Z-000000"),
        ref=ref,
        status=RunStatus.FAILED if error else RunStatus.SUCCEEDED,
        started_at=NOW,
        finished_at=NOW,
        outcomes=(),
        error=error,
    )


class World:
    """Databases of servers, and errors that backing one up, or listing them, meets."""

    def __init__(self, **errors: GuardianError) -> None:
        self.errors = errors
        self.begun: list[str] = []

    def databases(self, server: str) -> Sequence[str]:
        if server in self.errors:
            raise self.errors[server]
        return ["a", "b", "c"]

    def run(self, ref: DatabaseRef) -> BackupResult:
        self.begun.append(str(ref))
        if ref.database in self.errors:
            raise self.errors[ref.database]
        return done(ref)

    def back_up(self, *targets: tuple[str, str | None]) -> list[BackupResult]:
        batch = back_up_all(
            targets,
            databases=self.databases,
            run=self.run,
            now=lambda: NOW,
            token=lambda: "7f3a9c",
        )
        return list(batch)


def test_whole_servers_and_single_databases_in_the_order_asked() -> None:
    world = World()
    results = world.back_up(("side", "z"), ("main", None))
    assert [str(result.ref) for result in results] == ["side/z", "main/a", "main/b", "main/c"]
    assert exit_code(results) is ExitCode.DONE


@pytest.mark.parametrize("error", [DumpError("broken"), BUSY, ConnectionFailedError("gone")])
def test_one_that_fails_leaves_the_rest(error: GuardianError) -> None:
    world = World(b=error)
    results = world.back_up(("main", None))
    assert [result.error for result in results] == [None, error, None]
    failed = results[1]
    assert (failed.id, failed.status) == ("20261123T020000Z-7f3a9c", RunStatus.FAILED)
    assert (failed.started_at, failed.finished_at, failed.outcomes) == (NOW, NOW, ())


def test_a_server_that_lists_nothing_is_one_failure_and_leaves_the_other_servers() -> None:
    world = World(down=ConnectionFailedError("server down"))
    results = world.back_up(("down", None), ("main", "a"))
    assert [str(result.ref) for result in results] == ["down/*", "main/a"]
    assert exit_code(results) is ExitCode.FAILED


@pytest.mark.parametrize(
    "error", [InterruptedRunError("Ctrl-C"), DumpError("killed", cause=Cause.INTERRUPTED)]
)
@pytest.mark.parametrize("place", ["b", "main"])
def test_an_interruption_begins_nothing_more(error: GuardianError, place: str) -> None:
    world = World(**{place: error})
    with pytest.raises(GuardianError) as raised:
        world.back_up(("main", None), ("side", "z"))
    assert raised.value is error
    assert world.begun == (["main/a", "main/b"] if place == "b" else [])


def test_each_result_is_given_as_it_comes() -> None:
    world = World()
    batch = back_up_all(
        [("main", None)], databases=world.databases, run=world.run, now=lambda: NOW, token=str
    )
    next(batch)
    assert world.begun == ["main/a"]


def test_a_defect_is_not_taken_for_a_failed_backup() -> None:
    def run(ref: DatabaseRef) -> BackupResult:
        raise ZeroDivisionError

    batch = back_up_all([("m", "a")], databases=list, run=run, now=lambda: NOW, token=str)
    with pytest.raises(ZeroDivisionError):
        list(batch)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], ExitCode.DONE),
        ([None], ExitCode.DONE),
        ([None, BUSY], ExitCode.LOCKED),
        ([BUSY, DumpError("x")], ExitCode.FAILED),
        ([DumpError("x"), None], ExitCode.FAILED),
    ],
)
def test_exit_codes(errors: list[GuardianError | None], code: ExitCode) -> None:
    assert exit_code([done(DatabaseRef("main", "a"), error) for error in errors]) is code
