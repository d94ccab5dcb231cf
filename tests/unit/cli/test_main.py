"""The one place where errors become lines and exit codes."""

import json
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

import click
import pytest

from guardian.cli import main as entry
from guardian.errors import (
    AlreadyRunningError,
    ConfigError,
    GuardianError,
    InconclusiveError,
    InterruptedRunError,
    InvalidConfigError,
    UsageError,
)
from guardian.logs import JsonFormatter, TextFormatter, one_line

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run ``guardian try`` with a body of the test's, and return exit code, stdout, stderr."""
    handler, root = signal.getsignal(signal.SIGTERM), logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def ran(body: Callable[[], object], *words: str) -> tuple[int, str, str]:
        module = types.ModuleType("guardian_command_of_a_test")
        module.command = click.command("try")(body)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(entry.COMMANDS, "try", (f"{module.__name__}:command", "Tries."))
        with pytest.raises(SystemExit) as caught:
            entry.main([*words, "try"])
        code = caught.value.code
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return int(code), out, err

    yield ran
    signal.signal(signal.SIGTERM, handler)
    root.handlers[:] = handlers
    root.setLevel(level)


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


ERRORS = [
    (GuardianError("store x is gone", mend="bring it back"), 1),
    (ConfigError("no configuration", mend="guardian init"), 2),
    (UsageError("no server 'x'"), 2),
    (InconclusiveError("extension missing"), 3),
    (AlreadyRunningError("backup of main/mina runs"), 4),
    (InterruptedRunError("stopped"), 130),
    (click.UsageError("no such option"), 2),
    (click.FileError("x", "no such file"), 1),
    (KeyboardInterrupt(), 130),
    (click.Abort(), 130),
    (RuntimeError("surprise"), 1),
    (BrokenPipeError(32, "a pipe to gpg, not stdout"), 1),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("words", [(), ("-v",), ("-vv",), ("--verbose",)])
def test_each_error_has_its_exit_code_and_its_line(run: Run, error, code, words) -> None:
    done, out, err = run(raising(error), *words)
    assert done == code
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("guardian: ")
    if not words:
        assert len(err.strip().splitlines()) == 1
        assert "Traceback" not in err


def test_a_traceback_with_v_only(run: Run) -> None:
    assert "internal error: RuntimeError: surprise; -v" in run(raising(RuntimeError("surprise")))[2]
    assert "Traceback" in run(raising(RuntimeError("surprise")), "-v")[2]


def test_all_problems_of_a_configuration(run: Run) -> None:
    error = InvalidConfigError(["g.yaml:1:1: a: wrong", "g.yaml:2:1: b: wrong"])
    assert run(raising(error))[::2] == (
        2,
        "guardian: g.yaml:1:1: a: wrong\nguardian: g.yaml:2:1: b: wrong\n",
    )


def test_hostile_names_do_not_reach_the_terminal(run: Run) -> None:
    err = run(raising(GuardianError("table \x1b[2J\x9b\u202e is gone")))[2]
    assert err == "guardian: table \\x1b[2J\\x9b\\u202e is gone\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_is_not_an_error(lines) -> None:
    """As ``guardian … | head`` has it."""
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "import sys, types, click; from guardian.cli import main\n"
        "module = sys.modules['m'] = types.ModuleType('m')\n"
        f"module.command = click.command()(lambda: [click.echo('x') for _ in range({lines})])\n"
        "main.COMMANDS['try'] = ('m:command', 'Tries.')\n"
        "main.main(['try'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_success(run: Run) -> None:
    assert run(lambda: click.echo("done")) == (0, "done\n", "")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_choose_its_code(run: Run, code) -> None:
    assert run(raising(click.exceptions.Exit(code)))[0] == code


def test_sigterm_is_an_interruption(run: Run) -> None:
    def body() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    code, _, err = run(body)
    assert (code, err.strip()) == (130, "guardian: interrupted")


def test_no_colour_where_nobody_looks(run: Run) -> None:
    assert "\x1b" not in run(raising(GuardianError("x")))[2]


def record(message: str, *, error: Exception | None = None) -> logging.LogRecord:
    made = logging.LogRecord("guardian.x", logging.WARNING, "f", 1, message, (), None)
    made.created = 1_795_312_800.5
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def test_text_logs_are_lines() -> None:
    line = TextFormatter().format(record("a\nb \x1b[31m", error=ValueError("c")))
    assert line == "2026-11-22T02:00:00.500Z WARNING guardian.x: a b \\x1b[31m (ValueError: c)"


def test_json_logs_are_objects() -> None:
    found = json.loads(JsonFormatter().format(record("a\nb", error=ValueError("c"))))
    assert found == {
        "at": "2026-11-22T02:00:00.500Z",
        "level": "warning",
        "logger": "guardian.x",
        "message": "a\nb",
        "error": "ValueError: c",
    }


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_tracebacks_in_logs_are_asked_for(formatter) -> None:
    with pytest.raises(ValueError, match="c") as caught:
        int("c")
    made = record("x", error=caught.value)
    assert "Traceback" in formatter(tracebacks=True).format(made)
    assert "Traceback" not in formatter().format(made)


def test_one_line() -> None:
    assert one_line("  a\n\tb  ") == "a b"
    assert one_line("\N{DOG FACE} é") == "\N{DOG FACE} é"


@pytest.mark.parametrize("words", [[], ["backup"], ["incidents"]])
def test_a_group_alone_shows_what_there_is(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        entry.main(words)
    out, err = capfd.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert "\nCommands:\n" in err
    assert all(len(line) <= 80 for line in err.splitlines())


@pytest.mark.parametrize("name", sorted(entry.COMMANDS))
def test_no_help_of_a_command_is_cut_short(name: str) -> None:
    """A sentence that has no room in the list of a group ends in three dots."""
    command = entry.cli.get_command(click.Context(entry.cli), name)
    assert command is not None
    context = click.Context(command, info_name=f"guardian {name}", terminal_width=80)
    if isinstance(command, click.Group):
        assert "..." not in command.get_help(context).replace("]...", "")


def test_a_number_is_called_a_number(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        entry.main(["kill", "abc"])
    assert caught.value.code == 2
    assert "'abc' is not a valid number" in capfd.readouterr().err
