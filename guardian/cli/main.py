"""``guardian``: the group of commands, and the one place where errors become lines and exit codes.

Command modules are imported when they are called, so that ``guardian --help`` stays instant.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardian import __version__
from guardian.errors import ExitCode, GuardianError, InvalidConfigError, UsageError
from guardian.garbage import collect_less
from guardian.logs import one_line, set_up_logging

if TYPE_CHECKING:
    from guardian.config import Config, Loaded

COMMANDS = {
    "alerts": ("guardian.cli.alerts:alerts", "Test the ways in which people are reached."),
    "audit": ("guardian.cli.audit:audit", "Every kill, and every one that would have been."),
    "backup": ("guardian.cli.backup:backup", "Make, list, pin and prune backups."),
    "catalog": ("guardian.cli.catalog:catalog", "Make the catalog anew from the stores."),
    "config": ("guardian.cli.config:config", "Check and show the configuration."),
    "completion": ("guardian.cli.completion:completion", "Print the shell's completion script."),
    "demo": ("guardian.cli.demo:demo", "Show everything on a PostgreSQL of its own."),
    "diagnose": ("guardian.cli.diagnose:diagnose", "A server's checks in one report."),
    "doctor": ("guardian.cli.doctor:doctor", "Check all that backups depend on, with the mend."),
    "handoff": ("guardian.cli.handoff:handoff", "What the next shift has to know."),
    "incidents": ("guardian.cli.incidents:incidents", "What is wrong, who was told, who has it."),
    "init": ("guardian.cli.init:init", "Write a configuration and a passphrase file."),
    "replay": ("guardian.cli.audit:replay", "What the policies would have done to what was seen."),
    "run": ("guardian.cli.run:run", "Guard everything, until told to stop: the daemon."),
    "restore": ("guardian.cli.restore:restore", "Restore a backup into a database."),
    "kill": ("guardian.cli.kill:kill", "End one session, or its query: safely, audited."),
    "locks": ("guardian.cli.sessions:locks", "Who holds up whom, each root with its tree."),
    "silence": ("guardian.cli.silence:silence", "Maintenance windows: nobody is told."),
    "verify": ("guardian.cli.verify:verify", "Restore backups into a scratch server and compare."),
    "sessions": ("guardian.cli.sessions:sessions", "Sessions, with what the policies say of each."),
    "status": ("guardian.cli.status:status", "Proven backups and open incidents on one screen."),
}


class AppContext:
    """What every command gets: the global options, and the configuration when it is asked for."""

    def __init__(self, config_path: Path | None, verbosity: int) -> None:
        self.config_path = config_path
        self.verbosity = verbosity
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        """The configuration with origins. Raises ConfigError."""
        if self._loaded is None:
            from guardian.config import load

            self._loaded = load(self.config_path)
        return self._loaded

    @property
    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        return self.loaded.config


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports one when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click, which takes every broken pipe for that of stdout, and says nothing."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_is_gone():
                raise
            raise RuntimeError(f"a pipe to another program broke: {error}") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in --help, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the nearest name when there is none such."""
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="guardian %(version)s")
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: $GUARDIAN_CONFIG, ./guardian.yaml, /etc/guardian/guardian.yaml.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; tracebacks too.")
@click.pass_context
def cli(context: click.Context, config_path: Path | None, verbose: int) -> None:
    """Make sure that a PostgreSQL database can always be brought back."""
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    set_up_logging(level, tracebacks=verbose > 0)
    context.obj = AppContext(config_path, verbose)


def _leave_no_core() -> None:
    """Our memory holds secrets: no crash writes it anywhere, nor that of a program of ours.

    0 forbids files alone: where the kernel hands cores to a program (systemd-coredump, apport), it
    asks for no limit, but for one: 1 forbids that, too (core(5)), and is too small for a file.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with the contract's code."""
    collect_less()
    signal.signal(signal.SIGTERM, _terminate)
    _leave_no_core()
    words = list(sys.argv[1:] if arguments is None else arguments)
    verbose = any(word == "--verbose" or _is_short_verbose(word) for word in words)
    try:
        _require_text(words)
        # Not standalone, click returns what a command gave to Exit, and None otherwise.
        code = cli.main(args=words, prog_name="guardian", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # here every one becomes a line and an exit code
        if isinstance(error, SystemExit):
            raise
        if verbose and not isinstance(error, click.ClickException | click.Abort):
            traceback.print_exc()
        code = _told(error)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _require_text(words: Sequence[str]) -> None:
    """Python hands on bytes that are no UTF-8 as surrogates, which nobody can write down."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{word!a} is not UTF-8", mend="type it again") from error


def _told(error: BaseException) -> int:
    """Say what went wrong, a line each, and return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    if isinstance(error, click.UsageError):
        hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        say_error(error.format_message().rstrip(".") + hint)
        return ExitCode.USAGE
    if isinstance(error, click.ClickException):
        say_error(error.format_message())
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say_error("interrupted")
        return ExitCode.INTERRUPTED
    if isinstance(error, InvalidConfigError):
        for problem in error.problems:
            say_error(problem)
        return error.exit_code
    if isinstance(error, GuardianError):
        say_error(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return ExitCode.FAILED
    say_error(f"internal error: {type(error).__name__}: {error}; -v shows where")
    return ExitCode.FAILED


def _reader_is_gone() -> bool:
    """Whether whoever read our stdout (head, less) has gone; nothing more is written then."""
    watcher = select.poll()
    watcher.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always reported
    if not watcher.poll(0):
        return False
    # What is still in the buffer would be flushed, and complained about, at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def say_error(text: str) -> None:
    """One line on stderr."""
    line = f"guardian: {one_line(text)}"
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    click.echo(click.style(line, fg="red") if coloured else line, err=True)


def _terminate(number: int, frame: Any) -> None:  # noqa: ARG001
    """SIGTERM ends us as Ctrl-C does: through the same cleaning up."""
    raise KeyboardInterrupt


def _is_short_verbose(word: str) -> bool:
    return word.startswith("-v") and set(word[1:]) == {"v"}


if __name__ == "__main__":
    main()
