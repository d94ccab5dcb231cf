"""Unexpected errors: told in a line without secrets, and to Sentry where a channel of it exists.

An error of ours (GuardianError) is written so that it holds no secret. One of a library may hold
anything: a DSN, a header. So its text passes a scrubber that knows every secret of the
configuration, and variables never leave the process.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, SecretStr

from guardian import __version__
from guardian.config import Config
from guardian.config.channels import SentryConfig

if TYPE_CHECKING:
    from sentry_sdk.client import Client

_log = logging.getLogger(__name__)
_SHORTEST = 4
"""Shorter ones would also be found where they are no secret."""
_FLUSH_SECONDS = 2.0
_PASSWORD = re.compile(r"password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)
_HIDDEN = "…"


class Scrubber:
    """Takes the secrets of one configuration out of any text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {one for one in secrets if len(one) >= _SHORTEST}
        known |= {quote(one, safe="") for one in known} | {unquote(one) for one in known}
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, value: Any) -> Any:
        """The same value; strings within it, at any depth, without secrets."""
        if isinstance(value, str):
            return _PASSWORD.sub(f"password={_HIDDEN}", self._pattern.sub(_HIDDEN, value))
        if isinstance(value, Mapping):
            return {self(key): self(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self(one) for one in value]
        return value


class CrashReporter:
    """Tells of unexpected errors. May be used from any thread; never raises."""

    def __init__(
        self, scrub: Scrubber, run_id: str, dsn: str | None = None, environment: str = ""
    ) -> None:
        self._scrub = scrub
        self._run_id = run_id
        self._dsn = dsn
        self._environment = environment
        self._lock = threading.Lock()
        self._client: Client | None = None

    @classmethod
    def of(cls, config: Config, run_id: str) -> Self:
        """As the configuration has it: the first channel of kind sentry hears of crashes."""
        scrub = Scrubber(secrets_of(config))
        for channel in config.escalation.channels.values():
            if isinstance(channel, SentryConfig):
                dsn = channel.dsn.get_secret_value()
                return cls(scrub, run_id, dsn, channel.environment)
        return cls(scrub, run_id)

    def report(self, where: str, error: BaseException) -> str:
        """Log it, send it; returns the line that tells of it."""
        line = self._line(error)
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s: internal error: %s", where, line)
        _log.debug("%s", self._scrub(frames).replace("\n", " | "))
        try:
            self._send(where, error)
        except Exception as failure:  # noqa: BLE001 - a crash must not become two
            _log.warning("Sentry could not be told: %s", type(failure).__name__)
        return line

    def close(self) -> None:
        """Send what is queued."""
        with self._lock:
            if self._client is not None:
                self._client.close(timeout=_FLUSH_SECONDS)
                self._client = None

    def _line(self, error: BaseException) -> str:
        """What, and where in our own code."""
        text = " ".join(str(self._scrub(str(error))).split())
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        own = [
            frame for frame in traceback.extract_tb(error.__traceback__)
            if "/guardian/" in frame.filename
        ]  # fmt: skip
        if not own:
            return said
        place = "guardian/" + own[-1].filename.rpartition("/guardian/")[2]
        return f"{said} ({place}:{own[-1].lineno})"

    def _send(self, where: str, error: BaseException) -> None:
        if self._dsn is None:
            return
        from sentry_sdk.utils import event_from_exception  # noqa: PLC0415 - 15 MB, seldom needed

        client = self._connected()
        event, hint = event_from_exception(error, client_options=client.options)
        event["level"] = "error"
        event["tags"] = {"job": where, "run": self._run_id}
        client.capture_event(event, hint)

    def _connected(self) -> Client:
        from sentry_sdk.client import Client  # noqa: PLC0415 - as above

        with self._lock:
            if self._client is None:
                self._client = Client(
                    dsn=self._dsn,
                    release=f"guardian@{__version__}",
                    environment=self._environment or None,
                    default_integrations=False,
                    include_local_variables=False,
                    include_source_context=False,
                    auto_enabling_integrations=False,
                    auto_session_tracking=False,
                    enable_backpressure_handling=False,
                    spotlight=False,
                    max_breadcrumbs=0,
                    before_send=lambda event, _hint: self._scrub(event),
                )
            return self._client


def secrets_of(config: BaseModel) -> Iterator[str]:
    """Every secret of a configuration, and the passwords within DSNs and addresses."""
    for value in _values(config):
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            yield text
            yield from _parts(text)


def _parts(text: str) -> Iterator[str]:
    """Passwords within a DSN, and what is secret in a web address or a header."""
    with suppress(psycopg.ProgrammingError):
        password = conninfo_to_dict(text).get("password")
        if password:
            yield str(password)
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return
    if password:
        yield password
    if parts.scheme in {"http", "https"}:  # a web hook's address is its secret
        path = parts.path.strip("/")
        yield from (path, path.partition("/")[2])
    scheme, blank, credential = text.partition(" ")
    if blank and scheme in {"Basic", "Bearer", "Token"}:
        yield credential


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _values(one)
    else:
        yield value
