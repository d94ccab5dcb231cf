"""How a throw-away cluster is made and tuned: arguments of initdb, settings of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

PLAIN_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",  # so that messages can be told apart
        "logging_collector": "off",  # the log is our file beside the data
        "shared_buffers": "64MB",
    }
)
"""A server as a person would run it, for the demo: durable, small, speaking English."""

SCRATCH_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        **PLAIN_SETTINGS,
        "fsync": "off",  # nobody will ever want this data back after a crash
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "wal_level": "minimal",  # a table made and filled in one transaction writes no log
        "max_wal_senders": "0",
        "archive_mode": "off",
        "jit": "off",  # it compiles for seconds what runs for milliseconds
        "autovacuum": "off",  # it would only compete with the restore
        "max_wal_size": "1GB",
        "checkpoint_timeout": "1h",
        "shared_buffers": "128MB",
        "maintenance_work_mem": "128MB",
        "log_min_error_statement": "panic",  # keep the restored data's text out of the log
    }
)
"""For data that will be thrown away: no durability, quick bulk loading."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How initdb makes the cluster. The defaults suit data whose origin does not matter.

    ``locale`` None takes the first of C.UTF-8 (from the system, or from 17 on built in) and C that
    this host has. ``provider_locale`` is the ICU locale, or the built-in one. Without TLS or a
    password the superuser is known only on the socket; TCP asks for SCRAM.
    """

    encoding: str = "UTF8"
    locale: str | None = None
    collate: str | None = None
    ctype: str | None = None
    provider: Literal["libc", "icu", "builtin"] = "libc"
    provider_locale: str | None = None
    data_checksums: bool = False
    superuser: str = "postgres"

    def arguments(self, major: int) -> list[list[str]]:
        """Arguments for initdb of that major: alternatives, to be tried in this order."""
        common = [
            f"--encoding={self.encoding}",
            f"--username={self.superuser}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            *([f"--lc-collate={self.collate}"] if self.collate else []),
            *([f"--lc-ctype={self.ctype}"] if self.ctype else []),
        ]
        if self.data_checksums:
            common.append("--data-checksums")
        elif major >= 18:  # on by default since then
            common.append("--no-data-checksums")
        if self.locale is not None or self.provider != "libc" or self.collate or self.ctype:
            wanted = self._provider(major, self.provider, self.provider_locale)
            return [[*common, *wanted, f"--locale={self.locale or 'C'}"]]
        libc = self._provider(major, "libc", None)
        choices = [[*common, *libc, "--locale=C.UTF-8"], [*common, *libc, "--locale=C"]]
        if major >= 17:
            choices.insert(1, [*common, *self._provider(major, "builtin", "C.UTF-8"), "--locale=C"])
        return choices

    @staticmethod
    def _provider(major: int, provider: str, locale: str | None) -> list[str]:
        if major < 15:  # knows libc only: the option came with 15
            return []
        return [
            f"--locale-provider={provider}",
            *([f"--{provider}-locale={locale}"] if locale and provider != "libc" else []),
        ]


def quoted(value: str) -> str:
    """A value for postgresql.conf, where quotes and backslashes are written twice."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
