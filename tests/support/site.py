"""Where the real command line runs: a configuration, a passphrase, stores, a state folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

PASSPHRASE = "correct horse: battery \\ staple"


@dataclass
class Outcome:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def result(self) -> dict[str, Any]:
        """The only result of ``backup now --json``."""
        (result,) = self.json
        return dict(result)

    def assert_clean(self) -> None:
        """Errors are lines: no traceback, no secret."""
        assert "Traceback" not in self.err, self.err
        assert "internal error" not in self.err, self.err
        assert PASSPHRASE not in self.out + self.err


@dataclass
class Site:
    """Writes guardian.yaml and runs guardian there."""

    root: Path
    dsn: str
    server: dict[str, Any] = field(default_factory=dict)
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)
    encryption: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    """More of the configuration: ``escalation``, ``probes``, other ``servers``."""

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True, parents=True)
        self.passphrase.touch(0o600)
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.stores = self.stores or {"local": {"kind": "local", "path": str(self.store)}}
        self.encryption = self.encryption or {"passphrase_file": str(self.passphrase)}

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def passphrase(self) -> Path:
        return self.root / "passphrase"

    @property
    def config(self) -> Path:
        return self.root / "guardian.yaml"

    def write(self) -> None:
        document = {
            "state_dir": str(self.root / "state"),
            "encryption": self.encryption,
            "stores": self.stores,
            "servers": {"main": {"dsn": self.dsn, **self.server}},
        }
        document["servers"] |= self.sections.get("servers", {})
        document |= {key: one for key, one in self.sections.items() if key != "servers"}
        self.config.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "guardian", "--config", str(self.config), *words]

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "NO_COLOR": "1", **self.environ}

    def run(
        self, *words: str, check: bool = False, preexec: Callable[[], None] | None = None
    ) -> Outcome:
        self.write()
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            preexec_fn=preexec,
        )
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        if check:
            assert outcome.code == 0, outcome.err
        return outcome

    def run_here(self, *words: str) -> Outcome:
        """The same command in this process: a second less, most of which is imports."""
        from guardian.cli.main import main

        self.write()
        out, err = io.StringIO(), io.StringIO()
        code: object = 0
        ended = signal.getsignal(signal.SIGTERM)
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_COLOR", "1")
            for name, value in self.environ.items():
                patch.setenv(name, value)
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    main(["--config", str(self.config), *words])
            except SystemExit as ending:
                code = ending.code
            finally:
                signal.signal(signal.SIGTERM, ended)
                root.handlers[:] = handlers
                root.setLevel(level)
        return Outcome(int(str(code or 0)), out.getvalue(), err.getvalue())

    def run_quickly(self, *words: str) -> Outcome:
        """In this process where that is the same, else in one of its own."""
        alone = threading.current_thread() is threading.main_thread()
        # A process that runs knows its folder for temporary files, and its modules, already.
        if alone and self.environ.keys().isdisjoint({"PYTHONPATH", "TMPDIR"}):
            return self.run_here(*words)
        return self.run(*words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        self.write()
        return subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def back_up(self, *words: str) -> Outcome:
        outcome = self.run_quickly("backup", "now", "--json", *words)
        outcome.assert_clean()
        return outcome

    def listed(self) -> list[str]:
        """Ids that the catalog lists, and that the store itself holds; they must agree."""
        listed = self.run_quickly("backup", "list", "--json")
        assert listed.code == 0, listed.err
        from_catalog = [item["id"] for item in listed.json]
        for name in self.stores:
            outcome = self.run_quickly("backup", "list", "--json", "--store", name)
            if outcome.code == 0:
                assert {item["id"] for item in outcome.json} <= set(from_catalog)
        return from_catalog


def snapshot_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def interrupt_when(
    process: subprocess.Popen[str], ready: Callable[[], bool], number: signal.Signals
) -> Outcome:
    """Send a signal as soon as ``ready`` says so; wait for the end."""
    deadline = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before the signal"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return Outcome(process.returncode, out, err)


def descendants(pid: int) -> Sequence[int]:
    """Live processes below ``pid``."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:  # which grows meanwhile
        found += children.get(one, [])
    return found[1:]
