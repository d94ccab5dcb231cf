"""Sentry's cron monitors: one for the daemon, and one for each scheduled job.

Sources: develop.sentry.dev on check-ins and docs.sentry.io on crons: a monitor is made by its first
check-in that carries a ``monitor_config``; intervals are whole minutes; a job that said
``in_progress`` and nothing more within ``max_runtime`` minutes has failed.
"""

from __future__ import annotations

import hashlib
import math
import re
import ssl
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from guardian import __version__
from guardian.adapters.delivery import DEADLINE_SECONDS, Delivery
from guardian.adapters.sentry_client import SentryClient
from guardian.adapters.veil import secrets_of
from guardian.backup.schedule import SHORTCUTS, IntervalSchedule, parse_schedule
from guardian.escalate.model import JobTiming

_SLUG_LIMIT = 50
_LONGEST_MINUTES = 40_320
"""What Sentry takes for a margin or a run: four weeks."""
_JOBS_MARGIN = timedelta(minutes=5)
_JOBS_LONGEST = timedelta(hours=6)
_SIMPLE_JOB = re.compile(r"[a-z0-9_]+ [a-z0-9_]+(/[a-z0-9_]+)?", re.ASCII)
"""``backup main/mina``: without a dash in it, each has a slug that no other one has."""
_NOT_IN_A_SLUG = re.compile(r"[^a-z0-9_]+")


class _Monitors:
    """Check-ins for the monitors of one project."""

    def __init__(
        self,
        name: str,
        dsn: str,
        monitor: str,
        *,
        environment: str = "production",
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.name = name
        self._monitor = monitor
        self._environment = environment
        self._delivery = Delivery(name, secrets_of(dsn), seconds=seconds)
        self._client = SentryClient(name, dsn, environment=environment, tls=tls, seconds=seconds)

    def close(self) -> None:
        """Let the SDK's client go. Nothing is queued in it."""
        self._client.close()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _check_in(self, slug: str, begun: str, status: str, **more: Any) -> None:
        event = {
            "type": "check_in",
            "check_in_id": begun,
            "monitor_slug": slug,
            "status": status,
            "environment": self._environment,
            "release": f"guardian@{__version__}",
            **more,
        }
        self._delivery.run(lambda: self._client.send(event))


class SentryHeartbeat(_Monitors):
    """A :class:`~guardian.escalate.ports.Heartbeat`: one monitor for the daemon itself."""

    def __init__(
        self,
        name: str,
        dsn: str,
        every: timedelta,
        *,
        monitor: str = "guardian",
        environment: str = "production",
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, dsn, monitor, environment=environment, tls=tls, seconds=seconds)
        self.every = every

    def start(self, text: str = "") -> None:
        """Say nothing: what is in progress would have to end, and we do not mean to."""

    def beat(self, *, ok: bool, text: str = "") -> None:  # noqa: ARG002 - Sentry takes no words
        """Check in, well or not."""
        value = _minutes(self.every)
        config = _config({"type": "interval", "value": value, "unit": "minute"}, margin=value + 1)
        status = "ok" if ok else "error"
        self._check_in(self._monitor, uuid.uuid4().hex, status, monitor_config=config)


class SentryJobs(_Monitors):
    """A :class:`~guardian.escalate.ports.JobMonitor`: ``<monitor>-<job>`` for each job."""

    def begin(self, job: str, timing: JobTiming) -> str:
        """Check in as being in progress; the monitor learns the schedule from it."""
        begun = uuid.uuid4().hex
        config = _config(
            _schedule(timing.schedule),
            margin=_minutes(_JOBS_MARGIN),
            longest=_minutes(timing.longest or _JOBS_LONGEST),
            timezone=timing.timezone,
        )
        self._check_in(self._slug(job), begun, "in_progress", monitor_config=config)
        return begun

    def end(self, job: str, begun: str, *, ok: bool, seconds: float) -> None:
        """Check in as done."""
        status = "ok" if ok else "error"
        self._check_in(self._slug(job), begun, status, duration=round(seconds, 3))

    def _slug(self, job: str) -> str:
        """What Sentry allows in a slug; two jobs never share one."""
        plain = _NOT_IN_A_SLUG.sub("-", job.lower()).strip("-")
        slug = f"{self._monitor}-{plain}"
        if len(slug) <= _SLUG_LIMIT and _SIMPLE_JOB.fullmatch(job):
            return slug
        digest = hashlib.sha256(job.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"{slug[: _SLUG_LIMIT - 9].rstrip('-')}-{digest}"


def _schedule(text: str) -> dict[str, Any]:
    schedule = parse_schedule(text)
    if not isinstance(schedule, IntervalSchedule):
        return {"type": "crontab", "value": SHORTCUTS.get(text, text)}
    return {"type": "interval", "value": _minutes(schedule.interval), "unit": "minute"}


def _config(
    schedule: Mapping[str, Any], *, margin: int, longest: int = 5, timezone: str = "UTC"
) -> dict[str, Any]:
    return {
        "schedule": dict(schedule),
        "checkin_margin": margin,
        "max_runtime": longest,
        "timezone": timezone,
        "failure_issue_threshold": 1,
        "recovery_threshold": 1,
    }


def _minutes(duration: timedelta) -> int:
    return min(max(math.ceil(duration / timedelta(minutes=1)), 1), _LONGEST_MINUTES)
