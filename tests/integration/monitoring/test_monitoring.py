"""Prometheus' rules and Grafana's dashboard: they load, alarm when they should, and ask for numbers
that there are.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guardian.daemon.metrics import Metrics
from guardian.daemon.state import ConfigNow, Memory, Role, Snapshot

CONFIG = Path(__file__).parents[3] / "config"
RULES = CONFIG / "prometheus" / "guardian.rules.yaml"
DASHBOARD = CONFIG / "grafana" / "guardian.json"
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
_NAME = re.compile(r"guardian_[a-z_]+")


def exposed() -> set[str]:
    """Every name that /metrics tells of, also without a value."""
    memory = Memory(Role.ACTIVE, "run", "0.1.0", NOW, ConfigNow("guardian.yaml", NOW))
    text, _ = Metrics(lambda: Snapshot(NOW, memory)).render("")
    names = set(re.findall(r"^# TYPE (\w+)", text.decode(), re.MULTILINE))
    return names | {f"{name}_total" for name in names}


def promtool(*words: str) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_promtool
def test_the_rules_and_the_scrape_job_load():
    promtool("check", "rules", RULES.name)
    promtool("check", "config", "prometheus.yaml")


@pytest.mark.needs_promtool
def test_the_rules_alarm_when_they_should_and_not_in_a_calm_night():
    promtool("test", "rules", "guardian.rules.test.yaml")


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_only_numbers_that_there_are_are_asked_for(file: Path):
    asked = set(_NAME.findall(file.read_text()))
    assert len(asked) > 10
    assert asked <= exposed()


def test_the_dashboards_panels_do_not_overlap_and_say_what_they_show():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        assert all(one["expr"] for one in panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)
