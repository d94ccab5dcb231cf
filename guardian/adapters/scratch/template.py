"""Fresh clusters kept as templates, for initdb costs a second and copying its result a tenth.

A template is what initdb made, never started, for one build of PostgreSQL, one user and one set of
arguments. It is an aid and nothing else: whatever is wrong with it, initdb is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from guardian.adapters.scratch.making import folder_in_the_making
from guardian.adapters.scratch.stepdown import plain_environment

_log = logging.getLogger(__name__)

_COPY_SECONDS = 60


class Templates:
    """A folder of templates, only for us."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, data: Path, key: str, initdb: Callable[[], None]) -> Path | None:
        """Put a fresh cluster into ``data``, by copying if that can be.

        ``key`` must tell builds, users and arguments apart. Returns the template that was copied,
        which the caller should :meth:`forget` when the server does not start from it.
        """
        template = self._folder / hashlib.sha256(key.encode()).hexdigest()[:24]
        if (template / "PG_VERSION").is_file() and _copy_anew(template, data):
            return template
        _empty(data)
        initdb()
        self._keep(data, template)
        return None

    def forget(self, template: Path) -> None:
        """It is no good."""
        shutil.rmtree(template, ignore_errors=True)

    def _keep(self, data: Path, template: Path) -> None:
        """Copy what initdb made; it is there as a whole or not at all."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_in_the_making(self._folder, "making-") as making:
                if _copy(data, making):
                    with contextlib.suppress(OSError):  # somebody was quicker
                        making.rename(template)
        except OSError as error:
            _log.info("no template is kept in %s: %s", self._folder, error)


def _copy(source: Path, target: Path) -> bool:
    """All within ``source`` into ``target``, with owners and modes."""
    try:
        done = subprocess.run(
            ["cp", "-a", f"{source}/.", str(target)],
            capture_output=True,
            timeout=_COPY_SECONDS,
            check=False,
            env=plain_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _copy_anew(source: Path, target: Path) -> bool:
    """As :func:`_copy`, into a new folder that is ours until all is there.

    We may be root, and ``cp`` follows the links that it finds in the target: who owns it could have
    put some there, and would be given the files behind them.
    """
    owner = target.stat()
    try:
        target.rmdir()  # only where it is empty; what it lies in is ours
        target.mkdir(mode=0o700)
    except OSError:
        return False
    if _copy(source, target):
        return True
    os.chown(target, owner.st_uid, owner.st_gid)
    return False


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
