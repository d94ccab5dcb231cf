"""Somebody takes an incident in a browser, and the others hear of it: all parts are real."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from support.daemon import Daemon
from support.home import NOWHERE
from support.listeners import Crowd, crowd
from support.ports import free_port
from support.receivers import closed_port
from support.site import Site

pytestmark = pytest.mark.needs_chromium

TOKEN = "a token of thirty-two characters"


def of_the_probe(heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in heard if one["incident_kind"] == "probe.shop"]


def taken(people: Crowd, channel: str) -> list[dict[str, Any]]:
    return [one for one in of_the_probe(people.heard(channel)) if one["kind"] == "acknowledged"]


def test_an_incident_is_taken_in_a_browser_and_those_who_were_told_hear_who_has_it(
    browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    token = tmp_path / "token"
    token.write_text(TOKEN)
    never: dict[str, Any] = {"schedule": None}
    server = {"backup": never, "verify": never, "outage": {"interval": "1h"}}
    site = Site(tmp_path / "site", NOWHERE, server)
    with crowd("pager", "mail") as people:
        site.sections = {
            "service": {"listen": f"127.0.0.1:{port}", "token_file": str(token)},
            "probes": [
                {
                    "name": "shop",
                    "kind": "tcp",
                    "address": f"127.0.0.1:{closed_port()}",
                    "interval": "200ms",
                    "failures": 1,
                }
            ],
            "escalation": people.section(
                {"on-call": ["pager"], "lead": ["mail"]},
                ladder={"P1": {"0m": ["on-call"], "5s": ["lead"]}},
                settle={"*": "0s"},
                startup_settle="1s",
                remind_every={},
            ),
        }
        with Daemon(site) as daemon:
            daemon.ready()
            (alert,) = daemon.until(lambda: of_the_probe(people.heard("pager")), "the alert")
            daemon.until(lambda: of_the_probe(people.heard("mail")), "the climb to the lead")
            daemon.until(lambda: daemon.get("/health")[0] == 200, "the dashboard")

            with browser.new_context(base_url=f"http://127.0.0.1:{port}") as context:
                page = context.new_page()
                page.set_default_timeout(20_000)
                page.goto(f"/incidents/{alert['incident']}")
                page.get_by_label("Token").fill(TOKEN)
                page.get_by_label("Your name").fill("Ada Lovelace")
                page.get_by_role("button", name="Log in").click()
                expect(page.get_by_role("heading", level=1)).to_contain_text("shop")
                page.get_by_role("button", name="Acknowledge").click()
                expect(page.locator("main")).to_contain_text("Ada Lovelace")

            for channel in ("pager", "mail"):
                (heard,) = daemon.until(partial(taken, people, channel), f"{channel} hears")
                assert "Ada Lovelace" in heard["why"]
                assert heard["dedup_key"] == alert["dedup_key"]
            (incident,) = site.run("incidents", "list", "--json", check=True).json
            assert incident["state"] == "acknowledged"
            assert daemon.end() == 0
