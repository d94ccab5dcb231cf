"""The runbook's rule, with cron alone: two failed nights reach the lead, a good one tells both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.listeners import crowd
from support.postgres import Database, PostgresServer
from support.site import PASSPHRASE, Site


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
