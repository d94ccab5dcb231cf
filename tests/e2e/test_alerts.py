"""Alerts from end to end: the runbook's rule with cron alone, and the self-test of the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from support.daemon import Daemon
from support.home import NOWHERE
from support.listeners import crowd
from support.ports import free_port
from support.postgres import Database, PostgresServer
from support.site import PASSPHRASE, Site

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.config import load_config
from guardian.escalate.model import Occasion
from guardian.escalate.set_times import SELF_TEST_SENT


def test_two_failed_nights_reach_the_lead_and_a_good_one_tells_both(
    tmp_path: Path, pg16: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    database = fresh_database(pg16)
    database.execute("CREATE TABLE users (id int); INSERT INTO users VALUES (1)")
    site = Site(tmp_path / "site", database.dsn())
    with crowd("pager", "mail") as people:
        site.sections["escalation"] = people.section({"on-call": ["pager"], "lead": ["mail"]})

        site.passphrase.chmod(0o644)  # others may read it: gpg is not given it then
        first = site.back_up()
        assert (first.code, first.result["error"]["cause"]) == (1, "encryption")
        (alert,) = people.heard("pager")
        assert alert["kind"] == "alert"
        assert alert["title"].endswith(" failed: encryption failed")
        assert people.heard("mail") == []

        assert site.back_up().code == 1
        (escalated,) = people.heard("mail")
        assert "twice in a row" in escalated["title"]
        assert "2 times in a row" in escalated["why"]

        site.passphrase.chmod(0o600)
        good = site.back_up()
        assert (good.code, good.err) == (0, "")
        assert people.kinds("pager")[-1] == people.kinds("mail")[-1] == "resolved"
        (incident,) = site.run("incidents", "list", "--json", check=True).json
        assert (incident["state"], incident["occurrences"]) == ("resolved", 2)
        assert incident["people_told"] == ["on-call", "lead"]

        heard = len(people.heard("pager"))
        assert site.back_up().code == 0
        assert len(people.heard("pager")) == heard
        everything = [one.body for each in people.receivers.values() for one in each.requests]
        assert PASSPHRASE.encode() not in b"".join(everything)


def calm(site: Site, escalation: dict[str, object]) -> None:
    """Nothing runs but the ways to people."""
    never = {"schedule": None}
    site.server = {"backup": never, "verify": never, "outage": {"interval": "1h"}}
    site.sections["escalation"] = {**escalation, "digest": None, "recovery": {"*": "0s"}}
    site.sections["service"] = {"listen": f"127.0.0.1:{free_port()}"}


def opened(site: Site) -> SqlCatalog:
    site.write()
    url = load_config(site.config).catalog_url
    return open_catalog(url, clock=SystemClock(), is_alive=lambda _: None)


def test_the_daemon_tests_its_ways_to_people_and_tells_of_one_that_refuses(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", NOWHERE)
    with crowd("chat", "pager") as people:
        people.statuses["pager"] = 403
        section = people.section({"on-call": ["pager", "chat"]}, self_test="every 1s")
        calm(site, section)
        with Daemon(site) as daemon:
            daemon.ready()

            def alarms() -> list[str]:
                return [
                    one["title"]
                    for one in people.heard("chat")
                    if one["incident_kind"] == "channel.failing"
                ]

            daemon.until(alarms, "the other channel's word of the one that refuses")
            assert alarms()[0] == "Channel pager does not take messages"
            people.statuses.clear()
            daemon.until(lambda: "test" in people.kinds("pager"), "a test that it takes")
            daemon.until(lambda: "resolved" in people.kinds("chat"), "the word that it works again")
            assert daemon.end() == 0
        tests = [one for one in people.heard("chat") if one["kind"] == "test"]
        assert len({one["dedup_key"] for one in tests}) == len(tests), "each came once"
        assert "scheduled self-test" in tests[0]["title"]
        refused = {
            json.loads(one.body)["dedup_key"] for one in people.receivers["pager"].requests[:3]
        }
        assert refused <= {one["dedup_key"] for one in tests}
        assert [one["dedup_key"] for one in tests] == sorted(one["dedup_key"] for one in tests)


def _tells_its_role(daemon: Daemon) -> bool:
    return daemon.metric("guardian_active") is not None


def test_two_daemons_and_a_restart_send_one_self_test(tmp_path: Path) -> None:
    """It was missed while nobody ran; both of them see it due at their start."""
    sites = [Site(tmp_path / name, NOWHERE) for name in ("one", "two")]
    with crowd("chat", "pager") as people:
        for site in sites:
            calm(site, people.section({"on-call": ["chat"]}, self_test="every 30d"))
            site.sections["state_dir"] = str(tmp_path / "state")
        catalog = opened(sites[0])
        catalog.tell(Occasion(SELF_TEST_SENT, datetime.now(UTC) - timedelta(days=61), None))
        with Daemon(sites[0]) as one, Daemon(sites[1]) as two:
            one.ready()
            two.ready()
            one.until(lambda: people.kinds("chat") == ["test"], "the self-test")
            one.until(lambda: people.kinds("pager") == ["test"], "that of who has no person")
            for each in (one, two):
                each.until(partial(_tells_its_role, each), "that it listens")
            active, standby = (one, two) if one.metric("guardian_active") else (two, one)
            assert standby.metric("guardian_active") == 0
            active.kill()
            for job in ("alarms", "dispatch"):
                name = "guardian_job_runs_total"
                standby.until(partial(standby.metric, name, job=job), f"{job} after the take-over")
            assert catalog.outstanding() == 0
            assert standby.end() == 0
        assert people.kinds("chat") == people.kinds("pager") == ["test"]
        assert len(catalog.events(kind=SELF_TEST_SENT)) == 1
        catalog.close()
