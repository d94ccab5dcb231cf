"""People are told of what a command has found, and the command's own result stands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from guardian.cli.main import say_error

if TYPE_CHECKING:
    from guardian.daemon.app import App
    from guardian.daemon.command_alarms import CommandAlarms

_log = logging.getLogger(__name__)


def tell_people(
    app: App, work: Callable[[CommandAlarms], object], *, a_person_waits: bool = False
) -> None:
    """Let ``work`` report, then deliver, within a bounded time. Raises nothing.

    ``a_person_waits``: nothing else is done by the command, so it takes seconds at most.

    A channel that fails, or a defect in here, is told on stderr and changes no exit code: the
    backup that was made is made.
    """
    try:
        from guardian.daemon.command_alarms import CommandAlarms

        with CommandAlarms(app) as alarms:
            try:
                work(alarms)
                alarms.deliver(to_a_person=a_person_waits)
            finally:
                for problem in alarms.problems:
                    say_error(problem)
    except KeyboardInterrupt:
        say_error("interrupted before everybody was told; the next run goes on")
    except Exception as error:  # noqa: BLE001 - see above
        _log.debug("alerts", exc_info=True)
        say_error(f"alerts: {type(error).__name__}: {error}")
