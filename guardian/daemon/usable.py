"""Whether a configuration of the right shape can be used: DSNs, passwords, heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardian.daemon.channels import make_heartbeat

if TYPE_CHECKING:
    from guardian.daemon.app import App


def refuse_unusable(app: App) -> None:
    """Make what a daemon makes as it begins; nothing is opened, nobody is asked.

    Raises:
        ConfigError: libpq refuses a DSN, a password has several lines, a heartbeat cannot be made.
    """
    for name in app.config.servers:
        app.watcher(name).close()
    for number, section in enumerate(app.config.heartbeat, start=1):
        make_heartbeat(f"heartbeat {number}", section).close()
