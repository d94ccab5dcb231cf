"""Who has only cron: commands report, people hear over real HTTP, and exit codes stay."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.home import NOWHERE
from support.listeners import Crowd, crowd
from support.postgres import Database, PostgresServer
from support.receivers import Manner, closed_port
from support.site import PASSPHRASE, Outcome, Site

from guardian.adapters.catalog import catalog
from guardian.adapters.channels.webhook import Webhook
from guardian.adapters.process import current_holder
from guardian.config import load
from guardian.daemon import command_alarms
from guardian.daemon.app import App
from guardian.daemon.tenure import LEASE
from guardian.escalate.model import Message, Receipt

PEOPLE = {"on-call": ["pager"], "lead": ["mail"]}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, and wait less long for channels that fail."""
    monkeypatch.setattr(command_alarms, "SECONDS", 5.0)
    monkeypatch.setattr(command_alarms, "SEND_TIMEOUT", 0.5)
    monkeypatch.setattr(command_alarms, "HAND_OVER_AFTER", timedelta(seconds=1))


@pytest.fixture
def people() -> Iterator[Crowd]:
    with crowd("pager", "mail") as made:
        yield made


@pytest.fixture
def site(
    tmp_path: Path, pg16: PostgresServer, fresh_database: Callable[..., Database], people: Crowd
) -> Site:
    database = fresh_database(pg16)
    database.execute("CREATE TABLE users (id int); INSERT INTO users VALUES (1)")
    made = Site(tmp_path / "site", database.dsn(), {"backup": {"proof": "counts"}})
    made.sections["escalation"] = people.section(PEOPLE)
    return made


def break_key(site: Site) -> None:
    """Others may read the passphrase: gpg is not given it then."""
    site.passphrase.chmod(0o644)


def mend_key(site: Site) -> None:
    site.passphrase.chmod(0o600)


def back_up(site: Site, code: int) -> Outcome:
    done = site.run_here("backup", "now", "--json")
    done.assert_clean()
    assert done.code == code, done.err
    return done


def incidents(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.run_here("incidents", "list", "--json").json
    return found


def opened(site: Site) -> App:
    site.write()
    return App(load(site.config).config)


# --- failed nights ---


def test_the_alert_says_what_an_engineer_would_look_up(site: Site, people: Crowd) -> None:
    break_key(site)
    back_up(site, 1)
    text = people.receivers["pager"].requests[0].body.decode()
    for check in ("disk space", "last tries", "connecting now", "key"):
        assert f'"{check}"' in text
    assert "chmod 600" in text
    assert "guardian backup now main/" in text
    assert PASSPHRASE not in text


def test_nights_on_which_the_server_did_not_even_list_its_databases_count(
    tmp_path: Path, people: Crowd
) -> None:
    site = Site(tmp_path / "site", NOWHERE, {"databases": ["*"]})
    site.sections["escalation"] = people.section(PEOPLE)
    back_up(site, 1)
    assert people.heard("mail") == []
    back_up(site, 1)
    assert [one["title"] for one in people.heard("mail")] == [
        "Backup of main/* failed twice in a row: the server could not be reached"
    ]


def test_without_channels_incidents_are_kept_and_nothing_is_said(site: Site) -> None:
    del site.sections["escalation"]
    break_key(site)
    done = back_up(site, 1)
    assert "channel" not in done.err
    assert [one["kind"] for one in incidents(site)] == ["backup.failed"]


def test_what_has_left_the_configuration_is_ended_by_the_next_command(
    site: Site, people: Crowd
) -> None:
    site.sections["servers"] = {
        "gone": {"dsn": NOWHERE, "databases": ["x"], "backup": {"attempts": 1}}
    }
    back_up_all = site.run_here("backup", "now", "--json")
    assert back_up_all.code == 1
    assert people.kinds("pager") == ["alert"]
    del site.sections["servers"]
    back_up(site, 0)
    assert people.kinds("pager") == ["alert", "resolved"]
    assert "it is not watched any more" in people.heard("pager")[1]["why"]


# --- channels that fail ---


def test_a_channel_that_refuses_is_told_and_handed_over_and_the_exit_code_stays(
    site: Site, people: Crowd
) -> None:
    people.statuses["pager"] = 404
    break_key(site)
    done = back_up(site, 1)
    assert "channel pager does not take messages" in done.err
    assert [one["incident_kind"] for one in people.heard("mail")][:1] == ["backup.failed"]
    mend_key(site)
    good = back_up(site, 0)
    assert "channel pager" in good.err


def test_channels_none_of_which_can_be_made_are_an_incident_and_cost_no_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of it, so it stands where people look: in the list, and on stderr."""
    channels = {"phone": {"kind": "apprise", "url": "json://127.0.0.1:1/"}}
    people = {"on-call": ["phone"]}
    site.sections["escalation"] = {
        "channels": channels,
        "people": people,
        "ladder": {"P1": {"0m": ["on-call"]}},
    }
    break_key(site)
    with monkeypatch.context() as without_apprise:
        without_apprise.setattr(command_alarms, "SECONDS", 60.0)
        without_apprise.setattr("guardian.daemon.channels.find_spec", lambda _: None)
        began = time.monotonic()
        done = back_up(site, 1)
    assert time.monotonic() - began < 50
    assert "channel phone cannot be used: " in done.err
    assert sorted(one["kind"] for one in incidents(site)) == ["backup.failed", "channel.failing"]
    mend_key(site)
    back_up(site, 0)
    states = {one["kind"]: one["state"] for one in incidents(site)}
    assert states["channel.failing"] in {"recovering", "resolved"}


@pytest.mark.parametrize("manner", [Manner.HANG, Manner.RESET])
def test_a_channel_that_hangs_or_resets_costs_bounded_time_and_the_next_rung_has_it(
    site: Site, people: Crowd, manner: Manner
) -> None:
    people.receivers["pager"].manner = manner
    break_key(site)
    began = time.monotonic()
    done = back_up(site, 1)
    assert time.monotonic() - began < 60
    assert "channel pager does not take messages" in done.err
    assert done.result["error"]["cause"] == "encryption"
    assert people.heard("mail")[0]["incident_kind"] == "backup.failed"


def test_a_channel_that_nobody_listens_at_spoils_no_good_backup(site: Site) -> None:
    hook = {"kind": "webhook", "url": f"http://127.0.0.1:{closed_port()}/"}
    site.sections["escalation"] = {"channels": {"hook": hook}}
    break_key(site)
    assert "channel hook does not take messages" in back_up(site, 1).err
    mend_key(site)
    assert back_up(site, 0).result["status"] == "succeeded"


# --- who delivers ---


@pytest.mark.parametrize(("lease", "sent"), [(LEASE, False), ("backup:other", True)])
def test_while_a_daemon_lives_it_is_the_one_that_delivers(
    site: Site, people: Crowd, lease: str, sent: bool
) -> None:
    break_key(site)
    with opened(site) as app:
        app.catalog.acquire(lease, current_holder("guardian run"), timedelta(minutes=5))
        back_up(site, 1)
        assert bool(people.heard("pager")) is sent
        assert app.catalog.outstanding() == (0 if sent else 1)


def test_a_daemon_that_died_keeps_nobody_from_delivering(site: Site, people: Crowd) -> None:
    break_key(site)
    with opened(site) as app:
        dead = dataclasses.replace(current_holder("guardian run"), pid_started="1")
        for lease in (LEASE, command_alarms.DISPATCH):
            app.catalog.acquire(lease, dead, timedelta(minutes=5))
        back_up(site, 1)
    assert people.kinds("pager") == ["alert"]


def test_what_one_command_could_not_send_the_next_one_does(site: Site, people: Crowd) -> None:
    site.sections["escalation"] = people.section({"on-call": ["pager"]})
    people.statuses["pager"] = 503
    break_key(site)
    assert "not every alert has got through" in back_up(site, 1).err
    people.statuses.clear()
    people.receivers["pager"].requests.clear()
    mend_key(site)
    back_up(site, 0)
    heard = [one for one in people.heard("pager") if one["incident_kind"] == "backup.failed"]
    assert heard[0]["kind"] == "alert"
    assert heard[-1]["kind"] == "resolved"


# --- the catalog is away ---


def test_a_damaged_catalog_is_told_to_people_although_nothing_can_be_written(
    site: Site, people: Crowd
) -> None:
    site.write()
    state = site.root / "state"
    state.mkdir(mode=0o700)
    (state / "catalog.db").write_bytes(b"this is no catalog at all" * 400)
    done = back_up(site, 1)
    assert "alerts cannot be written down" in done.err
    (alert,) = people.heard("pager")
    assert alert["incident_kind"] == "backup.failed"
    assert "catalog" in people.receivers["pager"].requests[0].body.decode()


def test_a_catalog_that_is_locked_keeps_no_alert_from_leaving(
    site: Site, people: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(site, 0)
    impatient = partial(catalog.open_catalog, busy_timeout=timedelta(seconds=0.2))
    monkeypatch.setattr(catalog, "open_catalog", impatient)
    with closing(sqlite3.connect(site.root / "state" / "catalog.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        done = back_up(site, 1)
    assert "alerts cannot be written down" in done.err
    (alert,) = people.heard("pager")
    assert alert["title"].startswith("Backup of main/")
    assert "locked" in people.receivers["pager"].requests[0].body.decode()
    back_up(site, 0)


# --- drills ---


def test_a_bad_backup_wakes_everybody_and_a_good_one_ends_it(site: Site, people: Crowd) -> None:
    first = back_up(site, 0).result
    part = next(site.store.glob(f"*/*/{first['id']}/database.dump*"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.chmod(0o600)
    part.write_bytes(data)
    assert site.run_here("verify", "--json").code == 1
    assert people.kinds("pager") == people.kinds("mail") == ["alert"]
    (incident,) = incidents(site)
    assert (incident["kind"], incident["severity"]) == ("verify.unrestorable", "P0")
    back_up(site, 0)
    assert people.kinds("mail") == ["alert"]
    assert site.run_here("verify", "--json").code == 0
    assert people.kinds("pager") == people.kinds("mail") == ["alert", "resolved"]


# --- people answer ---


def test_an_acknowledgement_reaches_those_who_were_told(site: Site, people: Crowd) -> None:
    break_key(site)
    back_up(site, 1)
    (incident,) = incidents(site)
    site.run_here("incidents", "ack", incident["id"])
    assert people.kinds("pager") == ["alert", "acknowledged"]
    site.run_here("incidents", "resolve", incident["id"])
    assert people.kinds("pager") == ["alert", "acknowledged", "resolved"]
    back_up(site, 1)
    assert people.kinds("pager")[-1] == "alert"


# --- alerts test ---


def test_each_channel_says_what_came_back(site: Site, people: Crowd) -> None:
    done = site.run_here("alerts", "test", "--json")
    assert done.code == 0, done.err
    assert [(one["channel"], one["kind"], one["ok"]) for one in done.json] == [
        ("pager", "webhook", True),
        ("mail", "webhook", True),
    ]
    assert "200" in done.json[0]["detail"]
    assert people.kinds("pager") == people.kinds("mail") == ["test"]
    text = site.run_here("alerts", "test", "mail").out
    assert text.startswith("ok      mail (webhook)  ")
    assert people.kinds("pager") == ["test"]


def test_one_channel_that_fails_fails_the_test_and_no_other(site: Site, people: Crowd) -> None:
    people.statuses["pager"] = 403
    done = site.run_here("alerts", "test")
    done.assert_clean()
    assert done.code == 1
    failed, fine = done.out.splitlines()
    assert failed.startswith("FAILED  pager (webhook)  ")
    assert "403" in failed
    assert fine.startswith("ok      mail (webhook)  ")
    document = site.run_here("alerts", "test", "--json").json
    assert [one["ok"] for one in document] == [False, True]
    assert "403" in document[0]["error"]


def test_a_channel_that_breaks_is_a_line_of_its_own(
    site: Site, people: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Webhook.send

    def breaks(channel: Webhook, message: Message) -> Receipt:
        if channel.name == "pager":
            raise ValueError("canary")
        return send(channel, message)

    monkeypatch.setattr(Webhook, "send", breaks)
    done = site.run_here("alerts", "test")
    done.assert_clean()
    assert done.code == 1
    failed, fine = done.out.splitlines()
    assert failed == "FAILED  pager (webhook)  channel pager broke (ValueError)"
    assert fine.startswith("ok      mail (webhook)  ")
    assert (done.err, people.kinds("mail")) == ("", ["test"])


def test_a_test_that_succeeds_ends_a_channels_failing(site: Site, people: Crowd) -> None:
    people.statuses["pager"] = 500
    break_key(site)
    back_up(site, 1)
    people.statuses.clear()
    assert site.run_here("alerts", "test", "pager").code == 0
    with opened(site) as app:
        health = {one.channel: one for one in app.catalog.channel_health()}
    assert health["pager"].failing_since is None


def test_an_unknown_channel_and_none_at_all_are_usage_errors(site: Site) -> None:
    unknown = site.run_here("alerts", "test", "fax")
    assert (unknown.code, "configured: pager, mail" in unknown.err) == (2, True)
    del site.sections["escalation"]
    none = site.run_here("alerts", "test")
    assert (none.code, "escalation.channels" in none.err) == (2, True)
