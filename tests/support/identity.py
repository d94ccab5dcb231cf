"""Do something as another user of this host. Needs root."""

from __future__ import annotations

import os
import pwd
import traceback
import warnings
from collections.abc import Callable


def in_a_child(user: str, action: Callable[[], None]) -> None:
    """Run ``action`` as another user, in a fork: the interpreter itself may be root's alone."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        child = os.fork()
    if child == 0:
        status = 1
        try:
            entry = pwd.getpwnam(user)
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            action()
            status = 0
        except BaseException:  # noqa: BLE001 - it is told to the parent, who fails
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
