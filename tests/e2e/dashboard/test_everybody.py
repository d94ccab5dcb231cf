"""The dashboard is for everybody: other senses, other hands, small screens, no JavaScript."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from e2e.dashboard.conftest import PAGES, Open
from playwright.sync_api import Page, expect
from support.dashboard import World

pytestmark = pytest.mark.needs_chromium

PHONE = {"width": 390, "height": 844}


def faults(page: Page) -> list[str]:
    """What axe finds that is serious, in its words."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:150] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(open_page: Open, scheme: str):
    page = open_page("/", color_scheme=scheme)
    for path in PAGES:
        page.goto(path)
        assert faults(page) == [], path


def test_nor_on_a_phone_nor_at_the_login(open_page: Open, browser, world: World):
    from guardian.web.server import WebServer

    page = open_page("/", viewport=PHONE)
    for path in ("/", "/sessions", "/incidents/k3f9w2ap"):
        page.goto(path)
        assert faults(page) == [], path
    server = WebServer("127.0.0.1:0", "token", world.sources)
    server.start()
    login = browser.new_page()
    login.goto(server.address)
    assert faults(login) == []
    login.close()
    server.stop()


def test_no_page_is_wider_than_a_phone(open_page: Open):
    page = open_page("/", viewport=PHONE)
    for path in PAGES:
        page.goto(path)
        beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, path


def test_the_keyboard_reaches_everything(open_page: Open):
    page = open_page("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    first = page.locator("#incidents .what a").first
    expect(first).to_be_focused()
    outline = first.evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Server staging does not answer")


def test_an_incident_is_acknowledged_by_keyboard_alone(open_page: Open, world: World):
    page = open_page("/")
    page.get_by_role("link", name="Acknowledge Backup of shop/orders").focus()
    with page.expect_navigation():  # until it is loaded: its fragment takes the focus with it
        page.keyboard.press("Enter")
    page.get_by_label("Your name").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("making room")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("ada has it")).to_be_visible()
    expect(page.locator("#timeline")).to_contain_text("making room")
    assert world.desk.done == [("acknowledge", "k3f9w2ap", "ada", "making room")]


def test_without_javascript_all_is_there(open_page: Open, world: World):
    page = open_page("/", java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("Server staging is down")
    expect(page.get_by_text("1h 12m ago").first).to_be_visible()
    expect(page.locator("#live")).to_be_hidden()
    page.goto("/database?server=main&database=mina")
    expect(page.locator(".plot").first).to_be_visible()
    page.goto("/backups")
    page.get_by_label("Show").select_option("not restorable")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.goto("/incidents/k3f9w2ap")
    page.get_by_label("Your name").fill("grace")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("grace has it")).to_be_visible()
    assert world.desk.done[0][2] == "grace"


def test_headings_do_not_skip_a_level_and_each_page_has_one_of_the_first(open_page: Open):
    page = open_page("/")
    for path in PAGES:
        page.goto(path)
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))"
        )
        assert levels.count(1) == 1, path
        assert all(b - a <= 1 for a, b in zip([0, *levels], levels, strict=False)), path
