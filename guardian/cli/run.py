"""``guardian run``: the daemon, in the foreground, for systemd or a container."""

from __future__ import annotations

import os

import click

from guardian.cli.main import AppContext


@click.command()
@click.pass_obj
def run(context: AppContext) -> None:
    """Guard everything that the configuration names, until told to stop.

    SIGHUP reads the configuration again. SIGTERM stops: backups under way are cancelled and leave
    nothing behind. Of two on one catalog, the second stands by and takes over.
    """
    from guardian.adapters.clock import SystemClock
    from guardian.adapters.memory import share_one_arena
    from guardian.adapters.systemd import Notifier
    from guardian.config import load
    from guardian.daemon.service import Service

    share_one_arena()
    service = Service(
        lambda: load(context.config_path),
        clock=SystemClock(),
        notifier=Notifier.from_environment(os.environ),
        verbosity=context.verbosity,
    )
    raise click.exceptions.Exit(service.run())
