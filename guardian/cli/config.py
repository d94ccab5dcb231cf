"""``guardian config check | show | schema``."""

from __future__ import annotations

import click

from guardian.cli.console import emit_json, json_option
from guardian.cli.main import AppContext
from guardian.errors import ConfigError


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@json_option
@click.pass_obj
def check(context: AppContext, as_json: bool) -> None:
    """Read and validate; every problem with its line (exit 2). No server is asked."""
    from guardian.config import InvalidConfigError
    from guardian.daemon.app import App
    from guardian.daemon.usable import refuse_unusable

    try:
        loaded = context.loaded
        refuse_unusable(App(loaded.config, command="guardian config check"))
    except ConfigError as error:
        if as_json:
            problems = error.problems if isinstance(error, InvalidConfigError) else (str(error),)
            emit_json({"valid": False, "problems": list(problems)})
        raise
    found = loaded.config
    if as_json:
        emit_json({"valid": True, "file": str(loaded.path), "problems": []})
        return
    counted = [
        f"{len(items)} {name if len(items) > 1 else name[:-1]}"
        for name, items in (
            ("servers", found.servers),
            ("stores", found.stores),
            ("channels", found.escalation.channels),
            ("probes", found.probes),
        )
        if items
    ]
    click.echo(f"{loaded.path}: ok, {', '.join(counted)}")


@config.command(short_help="The merged configuration, and where each value came from.")
@json_option
@click.pass_obj
def show(context: AppContext, as_json: bool) -> None:
    """The merged configuration, secrets masked, and where each value came from."""
    from guardian.config.show import origins, shown, shown_lines

    if as_json:
        emit_json({**shown(context.loaded), "origins": origins(context.loaded)})
        return
    for line in shown_lines(context.loaded):
        click.echo(line)


@config.command()
@click.option("--json", "as_json", is_flag=True, hidden=True)
def schema(as_json: bool) -> None:  # noqa: ARG001 - it is JSON in any case
    """The JSON Schema, for editors (yaml-language-server)."""
    from guardian.config.schema import json_schema

    emit_json(json_schema())
