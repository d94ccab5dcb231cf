"""A command on a terminal of a given size: what it writes there, and what a person types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from rich.cells import cell_len

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9])")


class Terminal:
    """Runs one command. ``text`` is all that it has written so far, escape sequences and all."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        kept = {key: value for key, value in environ.items() if key not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"TERM": "xterm-256color", **kept},
            close_fds=True,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""
        self._bytes = b""

    def await_text(self, ready: str | Callable[[str], bool], seconds: float = 60) -> str:
        """Read until something is there."""
        is_there = (lambda text: ready in text) if isinstance(ready, str) else ready
        deadline = time.monotonic() + seconds
        while not is_there(self.text):
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not come: {ready!r} in …{self.text[-2000:]!r}")
            if not self._read(0.2):
                raise EOFError(f"it ended before: {ready!r} in …{self.text[-2000:]!r}")
        return self.text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def interrupt_question(self) -> int:
        """Ctrl-C at a question, once more where nothing comes of it; the exit code.

        Between writing the question and reading the answer Python hears of no signal. No person is
        so quick; we are.
        """
        for _ in range(30):
            self.interrupt()
            until = time.monotonic() + 2
            while self._read(0.2):
                if time.monotonic() > until:
                    break
            else:
                return self.process.wait(10)
        raise TimeoutError("it does not end")

    def finish(self, seconds: float = 60) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < deadline, "it does not end"
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Whether more may come."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        data = b""
        with contextlib.suppress(OSError):  # Linux: the other side has closed it
            data = os.read(self._master, 65536)
        self._bytes += data
        self.text = self._bytes.decode("utf-8", "replace")
        return bool(data)


def plain(text: str) -> str:
    """Without escape sequences; a frame of a screen begins a new line."""
    return _ESCAPES.sub("", text.replace("\x1b[H", "\n"))


def too_wide(text: str, columns: int = 80) -> list[str]:
    """Lines that would be folded."""
    return [line for line in plain(text).splitlines() if cell_len(line) > columns]
