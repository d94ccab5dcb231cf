"""With JavaScript pages keep themselves up to date, and leave alone what their reader does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from e2e.dashboard.conftest import Open
from playwright.sync_api import Page, expect
from support.dashboard import NOW, World

from guardian.escalate.model import IncidentId
from guardian.watch.model import Observation
from guardian.web.server import WebServer

pytestmark = pytest.mark.needs_chromium


def speed_up(page: Page) -> None:
    """Let the page's own timers run as fast as they may; nothing waits for real seconds."""
    page.clock.install()


def next_look(page: Page, seconds: int = 16) -> None:
    """Let so much of the page's time pass at once; a request that runs would lapse after 10 s."""
    page.clock.run_for(seconds * 1000)


def test_a_page_follows_what_happens(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/")
    expect(page.locator("#open-count")).to_contain_text("3")
    world.desk.resolve(IncidentId("p7xq41md"), "ada")
    world.watch.known = [one for one in world.watch.known if one.name != "staging"]
    next_look(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("2 of 12 databases need attention")
    expect(page.locator("#open-count")).to_contain_text("2")
    expect(page.locator("#said")).to_contain_text("2 of 12 databases need attention")
    expect(page.get_by_role("link", name="Server staging")).to_have_count(0)


def test_sessions_come_and_go(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/sessions?server=main")
    expect(page.locator(".locks")).to_be_visible()
    look = world.watch.looks["main"]
    fewer = tuple(one for one in look.observation.sessions if one.pid != 21_044)
    world.watch.looks["main"] = replace(
        look, observation=Observation("main", NOW, fewer), at=NOW + timedelta(seconds=3)
    )
    next_look(page, 4)
    expect(page.locator(".locks")).to_have_count(0)
    expect(page.get_by_role("link", name="21044")).to_have_count(0)
    expect(page.get_by_role("link", name="21312")).to_be_visible()


def test_what_the_reader_does_stays(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/vitals")
    page.get_by_text("What to do").first.click()
    mend = page.get_by_text("guardian locks shows the root")
    expect(mend).to_be_visible()
    page.get_by_role("link", name="Longest query").focus()
    page.evaluate("document.getElementById('main').firstElementChild.dataset.mine = 'yes'")
    old = world.watch.readings["main"]
    world.watch.readings["main"] = replace(old, at=NOW - timedelta(seconds=61))
    next_look(page)
    expect(page.get_by_text("1m ago")).to_be_visible()
    expect(mend).to_be_visible()
    expect(page.get_by_role("link", name="Longest query")).to_be_focused()


def test_a_form_that_is_being_filled_in_is_left_alone(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/incidents/k3f9w2ap")
    page.get_by_label("Note").fill("half a sent")
    world.desk.acknowledge(IncidentId("k3f9w2ap"), "grace")
    next_look(page, 6)
    expect(page.get_by_text("grace has it")).to_be_visible()
    expect(page.get_by_label("Note")).to_have_value("half a sent")


def test_it_can_be_paused(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/")
    button = page.get_by_role("button", name="Live")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
    world.desk.resolve(IncidentId("p7xq41md"), "ada")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    next_look(page, 120)
    assert asked == []
    page.get_by_role("button", name="Paused").click()
    expect(page.locator("#open-count")).to_contain_text("2")


def test_a_server_that_is_gone_is_told_and_so_is_its_return(browser, world: World):
    server = WebServer("127.0.0.1:0", None, world.sources)
    server.start()
    page = browser.new_page()
    speed_up(page)
    page.goto(server.address)
    server.stop()
    for _ in range(3):
        with page.expect_event("requestfailed"):
            next_look(page, 61)
    expect(page.get_by_role("button", name="No answer")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("what is shown is old")
    again = WebServer(f"127.0.0.1:{server.port}", None, world.sources)
    again.start()
    next_look(page, 61)
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    page.close()
    again.stop()


def test_times_grow_older_by_themselves(open_page: Open):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/database?server=main&database=mina")
    expect(page.get_by_text("1h 12m ago").first).to_be_visible()
    next_look(page, 120)
    expect(page.get_by_text("1h 14m ago").first).to_be_visible()


def test_charts_answer_to_the_pointer(open_page: Open):
    page = open_page("/database?server=main&database=mina")
    chart = page.locator("[data-chart]").first
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart.locator(".u-legend")).to_contain_text("GiB")
    night = page.locator(".year")
    box = night.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 40)
    expect(page.locator("#tip")).to_contain_text("Nov")


def test_a_command_is_copied(open_page: Open):
    page = open_page(
        "/backups/20261123T020000Z-000000", permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "guardian restore 20261123T020000Z-000000 --to '${TARGET}' --create"


def test_the_focus_stays_where_it_is_while_rows_come_and_go_above(open_page: Open, world: World):
    page = open_page("about:blank")
    speed_up(page)
    page.goto("/sessions?server=main")
    link = page.locator("table.sessions").get_by_role("link", name="21305")
    link.focus()
    look = world.watch.looks["main"]
    fewer = tuple(one for one in look.observation.sessions if one.pid not in {21_044, 21_312})
    world.watch.looks["main"] = replace(
        look, observation=Observation("main", NOW, fewer), error="timed out after 5s"
    )
    next_look(page, 4)
    expect(page.get_by_text("timed out after 5s")).to_be_visible()
    expect(page.get_by_role("link", name="21312")).to_have_count(0)
    expect(link).to_be_focused()
