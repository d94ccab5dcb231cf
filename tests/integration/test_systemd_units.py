"""The units as systemd itself reads them: no mistake in them, and nothing that need not be open."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_systemd

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ["guardian.service", "guardian-backup.service"]
TYPE_OF_253 = "Failed to parse service type, ignoring: notify-reload"


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", [*SERVICES, "guardian-backup.timer"])
def test_it_says_what_systemd_understands(name: str, tmp_path: Path) -> None:
    for unit in UNITS.iterdir():  # a timer needs its service beside it
        text = unit.read_text()
        # Neither the user nor the program need be on this host.
        text = re.sub(r"^User=.*$", "User=root", text, flags=re.MULTILINE)
        text = text.replace("/opt/guardian/bin/guardian", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    done = analyzed("verify", "--man=no", tmp_path / name)
    problems = [line for line in done.stderr.splitlines() if TYPE_OF_253 not in line]
    assert (done.returncode, problems) == (0, [])


@pytest.mark.parametrize("name", SERVICES)
def test_its_exposure_is_at_most_two(name: str) -> None:
    done = analyzed("security", "--offline=yes", "--threshold=20", UNITS / name)
    assert done.returncode == 0, done.stdout[-200:]
    assert f"Overall exposure level for {name}: " in done.stdout


def test_the_daemon_is_told_what_it_needs() -> None:
    text = (UNITS / "guardian.service").read_text()
    for line in (
        "Type=notify-reload",
        "Restart=always",
        "WatchdogSec=2min",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "StateDirectory=guardian",
    ):
        assert f"\n{line}\n" in text
    assert "\nLoadCredential=" in text
