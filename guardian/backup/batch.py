"""Several databases in turn: one that fails never keeps the others from being backed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from guardian.backup.manifest import new_backup_id
from guardian.backup.run import BackupResult
from guardian.errors import AlreadyRunningError, Cause, ExitCode, GuardianError
from guardian.model import DatabaseRef, RunStatus

WHOLE_SERVER = "*"


def back_up_all(
    targets: Sequence[tuple[str, str | None]],
    *,
    databases: Callable[[str], Sequence[str]],
    run: Callable[[DatabaseRef], BackupResult],
    now: Callable[[], datetime],
    token: Callable[[], str],
) -> Iterator[BackupResult]:
    """Back up each target; ``databases`` tells what a whole server has.

    What a result cannot be got from at all (a server that does not even list its databases, work
    that another process is at) becomes a failed result, too.

    Raises:
        InterruptedRunError: a person stopped us; the rest is not begun.
    """

    def failed(ref: DatabaseRef, error: GuardianError) -> BackupResult:
        at = now()
        return BackupResult(
            id=new_backup_id(at, token()),
            ref=ref,
            status=RunStatus.FAILED,
            started_at=at,
            finished_at=at,
            outcomes=(),
            error=error,
        )

    for server, database in targets:
        try:
            names = [database] if database is not None else list(databases(server))
        except GuardianError as error:
            if error.cause is Cause.INTERRUPTED:
                raise
            yield failed(DatabaseRef(server, WHOLE_SERVER), error)
            continue
        for name in names:
            ref = DatabaseRef(server, name)
            try:
                yield run(ref)
            except AlreadyRunningError as error:
                yield failed(ref, error)
            except GuardianError as error:
                if error.cause is Cause.INTERRUPTED:
                    raise
                yield failed(ref, error)


def exit_code(results: Sequence[BackupResult]) -> ExitCode:
    """0 when all is well in every store; 4 when the only trouble is that others are at it."""
    errors = [result.error for result in results if result.error is not None]
    if not errors:
        return ExitCode.DONE
    if all(isinstance(error, AlreadyRunningError) for error in errors):
        return ExitCode.LOCKED
    return ExitCode.FAILED
