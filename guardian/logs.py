"""Logs on stderr: lines for people, or JSON objects for collectors.

A traceback is written only when it was asked for; without, an exception is told in one line. What
comes from outside (names of objects, messages of servers) can neither break a line nor colour it.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

_NOISY = ("botocore", "boto3", "s3transfer", "urllib3", "httpx", "httpcore")
"""Libraries that log requests with their headers or addresses; that is not for our logs."""


def set_up_logging(
    level: int,
    *,
    style: Literal["text", "json"] = "text",
    tracebacks: bool = False,
    run_id: str = "",
) -> None:
    """Send the root logger's records from ``level`` up to stderr, and nowhere else.

    ``run_id`` is put into every line: which life of the daemon, and which task, it belongs to.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if style == "json" else TextFormatter
    handler.setFormatter(formatter(tracebacks=tracebacks, run_id=run_id))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """``2026-11-23T02:00:00.123Z WARNING guardian.backup [k3f9]: message``."""

    def __init__(self, *, tracebacks: bool = False, run_id: str = "") -> None:
        super().__init__()
        self._tracebacks = tracebacks
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback's below it where those are wanted."""
        name = f"{record.name} [{self._run_id}]" if self._run_id else record.name
        line = f"{_instant(record)} {record.levelname} {name}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._tracebacks:
            line += f" ({type(error).__name__}: {error})"
        lines = [one_line(line)]
        if record.exc_info and self._tracebacks:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


class JsonFormatter(TextFormatter):
    """An object a line: ``at, level, logger, message``, then ``run, error, traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line in any case."""
        document = {
            "at": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._run_id:
            document["run"] = self._run_id
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            document["error"] = f"{type(error).__name__}: {error}"
        if record.exc_info and self._tracebacks:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def one_line(text: str) -> str:
    """Text from outside as one line that a terminal only shows: no control characters."""
    folded = " ".join(text.split())
    if folded.isprintable():
        return folded
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in folded)


def _instant(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
