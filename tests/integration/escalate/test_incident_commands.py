"""incidents, silence, handoff and status as people call them, on a real catalog."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.home import NOWHERE
from support.incidents import condition
from support.site import Outcome, Site
from support.terminal import Terminal

from guardian.config import load
from guardian.daemon import command_alarms
from guardian.daemon.alarms import make_escalator
from guardian.daemon.app import App
from guardian.daemon.doctor import look_at_channels
from guardian.escalate.model import ChannelHealth, Condition, Fact, Observation, Severity

FAILED = "backup.failed:main/mina"
DOWN = "server.down:spare"
CONTRACT = {
    "type": "object",
    "required": [
        "id", "key", "kind", "server", "database", "severity", "state", "title", "opened_at",
        "updated_at", "resolved_at", "escalated_to", "occurrences",
    ],
    "properties": {
        "severity": {"enum": ["P0", "P1", "P2", "P3"]},
        "state": {"enum": ["pending", "firing", "acknowledged", "recovering", "resolved"]},
        "opened_at": {"type": "string", "pattern": r"^\d{4}-.*Z$"},
        "resolved_at": {"type": ["string", "null"]},
        "occurrences": {"type": "integer", "minimum": 1},
    },
}  # fmt: skip
"""The contract's fields of ``incidents list``."""


class Desk:
    """A site whose people are on-call, then lead, and what its sensors see."""

    def __init__(self, site: Site) -> None:
        self.site = site
        hook = {"kind": "webhook", "url": "http://127.0.0.1:1/"}
        site.sections["escalation"] = {
            "channels": {"hook": hook},
            "people": {"on-call": ["hook"], "lead": ["hook"]},
        }
        site.write()

    def observe(self, scope: str, *conditions: Condition) -> None:
        with App(load(self.site.config).config) as app:
            make_escalator(app).observe(Observation(scope, app.clock.now(), conditions))

    def run(self, *words: str, code: int = 0) -> Outcome:
        done = self.site.run_here(*words)
        done.assert_clean()
        assert done.code == code, done.err
        return done

    def listed(self) -> list[dict[str, Any]]:
        """Without what the channel, at which nobody listens, adds on a slow machine."""
        found: list[dict[str, Any]] = self.run("incidents", "list", "--json").json
        return [one for one in found if one["kind"] != "channel.failing"]

    def only(self) -> dict[str, Any]:
        (one,) = self.listed()
        return one

    def shown(self, incident: str) -> dict[str, Any]:
        return dict(self.run("incidents", "show", incident, "--json").json)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Its commands wait less long for the channel at which nobody listens."""
    monkeypatch.setattr(command_alarms, "PERSON_SECONDS", 0.5)
    return Desk(Site(tmp_path / "site", NOWHERE))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder to stand in."""
    folder = tmp_path / "project"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def failed(count: int = 1, **more: Any) -> Condition:
    at = datetime.now(UTC) - timedelta(hours=2)
    return condition(
        FAILED,
        title=f"Backup of main/mina failed {count} times in a row: a disk is full",
        since=at,
        count=count,
        occurrence=f"run {count}",
        **more,
    )


# --- list and show ---


def test_nothing_is_wrong(desk: Desk) -> None:
    assert desk.listed() == []
    assert desk.run("incidents", "list").out == "no incidents\n"
    assert desk.run("silence", "list").out == "no silences\n"
    assert desk.run("silence", "list", "--json").json == []


def test_the_list_has_the_contracts_fields(desk: Desk) -> None:
    desk.observe("backups:main", failed())
    one = desk.only()
    jsonschema.validate(one, CONTRACT)
    assert one["key"] == FAILED
    assert (one["kind"], one["server"], one["database"]) == ("backup.failed", "main", "mina")
    assert (one["severity"], one["state"], one["occurrences"]) == ("P1", "firing", 1)
    assert one["escalated_to"] == "on-call"
    assert one["next"]["people"] == ["lead"]
    desk.observe("backups:main")
    resolved = desk.only()
    jsonschema.validate(resolved, CONTRACT)
    assert resolved["state"] == "resolved"
    assert resolved["resolved_at"] is not None
    assert desk.run("incidents", "list", "--json", "--open").json == []


def test_what_is_open_is_listed_however_much_came_after_it(desk: Desk) -> None:
    desk.observe("outage:spare", condition(DOWN, server="spare"))
    for number in range(3):
        desk.observe("backups:main", failed(number + 1))
        desk.observe("backups:main")
        desk.run("incidents", "list", "--json")
    found = desk.run("incidents", "list", "--json", "--limit", "1").json
    assert DOWN in [one["key"] for one in found]
    open_ones = desk.run("incidents", "list", "--json", "--open").json
    assert [one["key"] for one in open_ones] == [DOWN]


def test_show_tells_all_of_one(desk: Desk) -> None:
    checks = (Fact("disk space", "/backups: 100% full"), Fact("last tries", "one\n  two"))
    desk.observe("backups:main", failed(2, checks=checks))
    one = desk.shown(desk.only()["id"][:4])
    assert one["checks"][1] == {"name": "last tries", "value": "one\n  two"}
    assert [each["kind"] for each in one["timeline"]][:3] == ["opened", "fired", "told"]
    assert [(each["channel"], each["standing"]) for each in one["messages"]] == [
        ("hook", "waiting")
    ]
    text = desk.run("incidents", "show", one["id"]).out
    for heading in ("IMPACT", "EVIDENCE", "QUICK CHECKS", "TO DO", "TIMELINE", "MESSAGE"):
        assert f"\n{heading}" in text
    assert "guardian backup now main/mina" in text


@pytest.mark.parametrize("words", [("show", "zzz"), ("ack", "zzz"), ("report", "zzz")])
def test_an_unknown_incident_is_a_usage_error(desk: Desk, words: tuple[str, ...]) -> None:
    done = desk.run("incidents", *words, code=2)
    assert "no incident" in done.err
    assert "zzz" in done.err


def test_a_beginning_that_fits_several_is_refused(desk: Desk) -> None:
    desk.observe("backups:main", *[condition(f"backup.failed:main/d{n}") for n in range(40)])
    starts = [one["id"][0] for one in desk.listed()]
    twice = next(one for one in starts if starts.count(one) > 1)
    assert "write more of it" in desk.run("incidents", "show", twice, code=2).err


HOSTILE = "evil \x1b[2J\x07 [red]x[/] \u202e " + "界" * 50


def lines_of(text: str) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip("\r") for line in text.splitlines()]


@pytest.mark.parametrize("words", [("list",), ("show", "{id}")])
def test_screens_fit_80_columns_and_obey_nobody_else(desk: Desk, words: tuple[str, ...]) -> None:
    from rich.cells import cell_len

    desk.observe(
        "backups:main",
        failed(2, impact=HOSTILE, evidence=(Fact(HOSTILE[:20], HOSTILE),), mend=(HOSTILE,)),
        condition("backup.failed:main/" + "x" * 63, title=HOSTILE),
    )
    incident = next(one["id"] for one in desk.listed() if one["key"] == FAILED)
    command = desk.site.command("incidents", *(word.format(id=incident) for word in words))
    terminal = Terminal(command, desk.site.environment)
    assert terminal.finish() == 0
    assert "\x1b[2J" not in terminal.text
    assert "\x07" not in terminal.text
    for line in lines_of(terminal.text):
        assert cell_len(line) <= 80, line


# --- ack, resolve, note ---


def test_ack_stops_the_climb_and_resolve_ends_it(desk: Desk) -> None:
    desk.observe("backups:main", failed())
    incident = desk.only()["id"]
    acked = desk.run("incidents", "ack", incident, "--for", "30m", "--json").json
    assert acked["state"] == "acknowledged"
    assert acked["acknowledged_by"]
    assert desk.only()["next"] is None
    assert re.search("has it for another (30|29)m", desk.run("incidents", "list").out)
    assert "is resolved" in desk.run("incidents", "resolve", incident).out
    assert desk.only()["state"] == "resolved"
    refused = desk.run("incidents", "ack", incident, code=2)
    assert "is resolved" in refused.err
    desk.observe("backups:main", failed())  # the very failure that a person has resolved
    assert desk.only()["state"] == "resolved"


def test_a_note_is_in_the_timeline(desk: Desk) -> None:
    desk.observe("backups:main", failed())
    incident = desk.only()["id"]
    desk.run("incidents", "note", incident, "moved the backups to a new disk")
    last = desk.shown(incident)["timeline"][-1]
    assert (last["kind"], last["text"]) == ("note", "moved the backups to a new disk")
    assert "needs words" in desk.run("incidents", "note", incident, " ", code=2).err


# --- report ---


def test_the_report_is_written_where_the_runbook_has_it(desk: Desk, elsewhere: Path) -> None:
    desk.observe("backups:main", failed(2))
    incident = desk.only()["id"]
    desk.run("incidents", "note", incident, "made room")
    path = desk.run("incidents", "report", incident).out.strip()
    assert path == f"docs/incidents/{datetime.now(UTC):%Y-%m-%d}-backup-failed-main-mina.md"
    text = (elsewhere / path).read_text()
    assert text.startswith("# Incident Report: Backup of main/mina failed 2 times in a row")
    assert "made room" in text
    assert text.count("**[to fill in: ") > 8


def test_what_people_wrote_into_a_report_is_not_lost(desk: Desk, elsewhere: Path) -> None:
    desk.observe("backups:main", failed())
    incident = desk.only()["id"]
    path = elsewhere / desk.run("incidents", "report", incident).out.strip()
    path.write_text(path.read_text() + "found the cause")
    refused = desk.run("incidents", "report", incident, code=2)
    assert "--replace" in refused.err
    assert "found the cause" in path.read_text()
    done = desk.run("incidents", "report", incident, "--replace", "--json").json
    assert done["path"] == str(path.relative_to(elsewhere))
    assert done["markdown"] == path.read_text()
    assert "found the cause" not in path.read_text()


def test_two_incidents_of_one_key_on_a_day_have_two_reports(desk: Desk, elsewhere: Path) -> None:
    desk.site.sections["escalation"]["reopen_within"] = "0s"
    desk.site.write()
    paths = set()
    for count in (1, 2):
        desk.observe("backups:main", failed(count))
        desk.observe("backups:main")
        incident = desk.listed()[0]["id"]
        paths.add(desk.run("incidents", "report", incident).out.strip())
    assert len(desk.listed()) == 2
    assert len(paths) == 2


def test_a_folder_that_cannot_be_written_is_said(desk: Desk, elsewhere: Path) -> None:
    desk.observe("backups:main", failed())
    (elsewhere / "docs").write_text("no folder")
    done = desk.run("incidents", "report", desk.only()["id"], code=1)
    assert "docs/incidents" in done.err
    assert "--folder" in done.err


# --- silence ---


def test_a_silence_keeps_everybody_untold_until_it_is_removed(desk: Desk) -> None:
    made = desk.run(
        "silence", "add", "--for", "2h", "--match", "kind=backup.*", "server=main",
        "--reason", "new disks", "--json",
    ).json  # fmt: skip
    assert made["match"] == {"kind": "backup.*", "server": "main"}
    assert made["active"] is True
    desk.observe("backups:main", failed())
    held = desk.only()
    assert (held["state"], held["people_told"]) == ("firing", [])
    assert "nobody was told" in desk.run("incidents", "list").out
    listed = desk.run("silence", "list").out
    assert "kind=backup.* server=main" in listed
    assert "new disks" in listed
    assert "has ended" in desk.run("silence", "remove", made["id"][:5]).out
    assert desk.run("silence", "list", "--json").json == []
    assert [one["active"] for one in desk.run("silence", "list", "--all", "--json").json] == [False]
    desk.observe("backups:main", failed())
    assert desk.only()["people_told"] == ["on-call"]


def test_a_window_that_begins_later_silences_nothing_yet(desk: Desk) -> None:
    desk.run("silence", "add", "--for", "1h", "--in", "2h", "--reason", "upgrade")
    desk.observe("backups:main", failed())
    assert desk.only()["people_told"] == ["on-call"]
    assert re.search(r"in (2h|1h 59m), for 1h", desk.run("silence", "list").out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "soon", "--reason", "x"), "is not a duration"),
        (("--for", "0s", "--reason", "x"), "above zero"),
        (("--for", "2h"), "--reason"),
        (("--reason", "x"), "--for"),
        (("--for", "2h", "--reason", "x", "--match", "kind"), "is not KEY=GLOB"),
        (("--for", "2h", "--reason", "x", "--match", "kinds=x"), "kinds"),
        (("--for", "2h", "--reason", "x", "--match", "severity=p0"), "write one of P0, P1, P2, P3"),
        (("--for", "9999999d", "--reason", "x"), "too long"),
        (("--for", "2h", "--in", "9999999d", "--reason", "x"), "too long"),
        (("--for", "2h", "--reason", "x", "server=main"), "write --match before it"),
        (("--for", "2h", "--reason", "x", "--match", "kind=a", "kind=b"), "twice"),
    ],
)
def test_silences_that_make_no_sense(desk: Desk, words: tuple[str, ...], said: str) -> None:
    assert said in desk.run("silence", "add", *words, code=2).err
    assert desk.run("silence", "list", "--all", "--json").json == []


# --- handoff, status ---


def test_the_handoff_has_the_same_facts_on_screen_and_as_json(desk: Desk) -> None:
    desk.site.server["backup"] = {"schedule": "0 2 * * *"}
    desk.site.write()
    desk.observe("backups:main", failed())
    desk.observe("outage:spare", condition(DOWN, server="spare", severity=Severity.P0))
    desk.observe("outage:spare")
    desk.run("silence", "add", "--for", "2h", "--match", "server=dev", "--reason", "new disks")
    text = desk.run("handoff").out
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
        "Active incidents",
        "Watch items",
        "Recent changes (the last 1d)",
        "Known issues",
        "Planned work",
    ]
    found = desk.run("handoff", "--json").json
    assert [one["key"] for one in found["active"]] == [DOWN, FAILED]
    assert [one["state"] for one in found["active"]] == ["recovering", "firing"]
    assert [one["reason"] for one in found["silences"]] == ["new disks"]
    assert next(one["what"] for one in found["planned"]).startswith("backup of main/mina, then")
    assert "main/mina: there is no backup" in found["watch"]
    for one in found["active"]:
        assert one["id"] in text
    for line in found["watch"]:
        assert line in text


def test_the_handoff_looks_back_as_far_as_it_is_told(desk: Desk) -> None:
    assert "the last 8h" in desk.run("handoff", "--since", "8h").out
    assert "--since" in desk.run("handoff", "--since", "99999d", code=2).err
    assert "--since" in desk.run("handoff", "--since", "0s", code=2).err


def test_what_is_told_at_set_times_is_planned(desk: Desk) -> None:
    desk.site.sections["escalation"] |= {"digest": None, "self_test": None}
    assert desk.run("status", "--json").json["planned"] == []
    assert "self-test" not in desk.run("status").out
    desk.site.sections["escalation"] |= {"digest": "every 7d", "self_test": "every 14d"}
    planned = desk.run("status", "--json").json["planned"]
    assert [one["what"] for one in planned] == ["digest to on-call", "self-test of hook"]
    now = datetime.now(UTC)
    for one, days in zip(planned, (7, 14), strict=True):
        at = datetime.fromisoformat(one["at"])
        assert now < at <= now + timedelta(days=days)
        assert at.timestamp() % (days * 86400) == 0
    assert re.search(r"^self-test of hook: in \d+d", desk.run("status").out, re.MULTILINE)
    handoff = desk.run("handoff", "--json").json["planned"]
    assert [one for one in handoff if one in planned] == planned


def test_the_doctor_says_a_word_of_channels_and_of_their_self_test(desk: Desk) -> None:
    def checks() -> list[tuple[str, str, str]]:
        desk.site.write()
        with App(load(desk.site.config).config) as app:
            return [(one.name, one.verdict.value, one.found) for one in look_at_channels(app)]

    off = 'hook; no self-test is scheduled (escalation.self_test: "every 7d")'
    assert checks() == [("channels", "ok", off)]
    desk.site.sections["escalation"]["self_test"] = "0 9 1 1 *"
    ((_, verdict, found),) = checks()
    assert (verdict, found[:21]) == ("ok", "hook; self-test at 20")
    with App(load(desk.site.config).config) as app:
        failing = ChannelHealth("hook", app.clock.now(), 3, None, "it hung up")
        app.catalog.save_channel_health(failing)
    (sick, _) = checks()
    assert sick[:2] == ("channel hook", "warning")
    assert sick[2].endswith("it hung up")
    del desk.site.sections["escalation"]
    ((_, verdict, found),) = checks()
    assert (verdict, found.startswith("none: nobody is told")) == ("ok", True)


def test_status_shows_open_incidents(desk: Desk) -> None:
    assert "SEV" not in desk.run("status").out
    desk.observe("backups:main", failed())
    text = desk.run("status").out
    assert "main/mina" in text
    assert re.search(r"P1 +firing +2h +Backup of main/mina failed", text)
    (one,) = desk.run("status", "--json").json["incidents"]
    jsonschema.validate(one, CONTRACT)
    desk.observe("backups:main")
    assert desk.run("status", "--json").json["incidents"] == []


def test_json_is_one_document_and_nothing_else(desk: Desk) -> None:
    desk.observe("backups:main", failed())
    incident = desk.only()["id"]
    commands: list[tuple[str, ...]] = [
        ("incidents", "list"),
        ("incidents", "show", incident),
        ("incidents", "note", incident, "x"),
        ("incidents", "ack", incident),
        ("incidents", "resolve", incident),
        ("silence", "add", "--for", "1h", "--reason", "x"),
        ("silence", "list"),
        ("handoff",),
        ("status",),
    ]
    for words in commands:
        done = desk.run(*words, "--json")
        json.loads(done.out)  # what the dead channel makes us say goes to stderr
