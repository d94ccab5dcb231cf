"""``guardian completion``: completion scripts for the shells that click knows."""

from __future__ import annotations

import click

from guardian.errors import GuardianError

_HINTS = {
    "bash": '# put into ~/.bashrc:  eval "$(guardian completion bash)"',
    "zsh": '# put into ~/.zshrc:  eval "$(guardian completion zsh)"',
    "fish": "# guardian completion fish > ~/.config/fish/completions/guardian.fish",
}


def complete_servers(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[str]:
    """The configured servers that begin so: for ``shell_complete=`` of an argument.

    Who presses Tab wants no error: without a configuration that loads there are no proposals.
    """
    from guardian.config import load_config

    try:
        config = load_config(context.find_root().params.get("config_path"))
    except GuardianError:
        return []
    return [name for name in config.servers if name.startswith(incomplete)]


@click.command()
@click.argument("shell", type=click.Choice(list(_HINTS)))
def completion(shell: str) -> None:
    """Print the completion script for bash, zsh or fish."""
    from click.shell_completion import get_completion_class

    from guardian.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    script = found(cli, {}, "guardian", "_GUARDIAN_COMPLETE")
    # click's own source() asks bash for its version by running it; the template needs no such.
    click.echo(_HINTS[shell])
    click.echo(script.source_template % script.source_vars())
