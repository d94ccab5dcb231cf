"""Each page over HTTP: what it says, and what it says when something cannot be read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import httpx
import pytest
from support.dashboard import NOW, REFS, World

from guardian.backup.history import BackupFilter, Wanted
from guardian.errors import CatalogError
from guardian.model import DatabaseRef
from guardian.web.ports import DatabasePlan, VitalsNow

GOOD = "/backups/20261123T020000Z-000000"
REFUTED = "/backups/20261114T020008Z-080009"
PAGES = {
    "/": ["Server staging is down", "shop/", "orders", "Acknowledge", "72.", "28 nights"],
    "/database?server=main&database=mina": ["A year of nights", "Recovery time", "all 43"],
    "/backups": ["page 1 of 11", "unproven", "no space left"],
    GOOD: ["database.dump.zst.gpg", "proven", "184 tables", "users survive", "guardian restore"],
    REFUTED: ["not restorable", "mismatch", "1,204,113 rows", "fell short"],
    "/sessions": ["22 sessions", "holds up <b>5 sessions", "runaway queries", "Last kills"],
    "/session?server=main&pid=21044": ["Session 21044", "ALTER TABLE meetings", "5 sessions"],
    "/vitals": ["Longest lock wait", "critical", "guardian locks", "WAL held back"],
    "/vitals/history?server=main&vital=connections&span=year": ["Connections", "between"],
    "/incidents": ["lead-mail", "server warehouse", "451 greylisted", "Resolved"],
    "/incidents/k3f9w2ap": ["The last proven backup is 2d 1h old", "handed over", "round trip ok"],
    "/doctor": ["2 checks fail, 1 warning", "GRANT pg_monitor", "lead-mail"],
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_there_is(client: httpx.Client, page: str):
    answer = client.get(page)
    assert answer.status_code == 200
    for words in PAGES[page]:
        assert words in re.sub(r"</?span[^>]*>", "", answer.text), words


@pytest.mark.parametrize("page", PAGES)
def test_a_fragment_is_what_changes_of_its_page(client: httpx.Client, page: str):
    whole = client.get(page).text
    answer = client.get(page, headers={"X-Guardian-Fragment": "1"})
    assert "<html" not in answer.text
    assert answer.text.strip() in whole
    assert answer.headers["X-Guardian-Open"] == "3 P0"


@pytest.mark.parametrize(
    "page",
    [
        "/nowhere",
        "/backups/20990101T000000Z-000000",
        "/incidents/zzzzzzzz",
        "/incidents/k3f9",
        "/database?server=main&database=nope",
        "/session?server=main&pid=1",
        "/session?server=nope&pid=1",
        "/vitals?server=nope",
        "/vitals/history?server=main&vital=nope",
    ],
)
def test_what_does_not_exist_is_told_as_a_page(client: httpx.Client, page: str):
    answer = client.get(page)
    assert answer.status_code == 404
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text


def test_filters_and_pages_of_the_list(client: httpx.Client, world: World):
    found = client.get("/backups?show=failed&server=shop&database=orders").text
    wanted = BackupFilter(Wanted.FAILED, "shop", "orders")
    assert f">{world.catalog.backup_page(wanted, 1).total} tries<" in found
    assert "proven</span>" not in found
    assert "no space left" in found
    assert 'value="failed" selected' in found
    last = client.get("/backups?page=9999").text
    assert "page 11 of 11" in last
    assert 'href="/backups?page=10"' in last
    ids = client.get("/backups?id=20261123T020000Z").text
    assert "1 try" in ids


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=99999999999999", "show=nope"]
)
def test_nonsense_in_a_query_does_no_harm(client: httpx.Client, query: str):
    assert client.get(f"/backups?{query}").status_code == 200


def test_the_live_parts_stay_when_the_catalog_is_away(
    client: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch
):
    def away(*_args, **_kwargs):
        raise CatalogError("catalog /x/catalog.db: database is locked", mend="see who holds it")

    for name in ("standings", "open_incidents", "kills", "samples", "incidents", "backup_page"):
        monkeypatch.setattr(world.catalog, name, away)
    overview = client.get("/")
    assert overview.status_code == 200
    assert "guardian cannot read its catalog" in overview.text
    assert "connection refused at 10.0.9.3" in overview.text
    assert "see who holds it" in client.get("/sessions").text
    assert "holds up <b>5 sessions" in client.get("/sessions").text
    assert "database is locked" in client.get("/vitals").text
    backups = client.get("/backups")
    assert backups.status_code == 503
    assert "see who holds it" in backups.text


def test_a_page_that_fails_tells_nothing_of_its_inside(
    client: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch, caplog
):
    def broken(*_args, **_kwargs):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(world.schedules, "plans", broken)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "log tells more" in answer.text
    assert "hunter2" in caplog.text


def test_what_is_old_says_so(client: httpx.Client, world: World):
    look = world.watch.looks["main"]
    world.watch.looks["main"] = replace(look, at=NOW - timedelta(minutes=9), error="timed out")
    old = world.watch.readings["main"]
    world.watch.readings["main"] = VitalsNow(NOW - timedelta(hours=1), old.findings, old.bounds)
    sessions = client.get("/sessions?server=main").text
    assert "not fresh" in sessions
    assert "timed out" in sessions
    assert "what is below is old" in client.get("/vitals?server=main").text
    assert "not looked at" in client.get("/").text


def test_nothing_at_all_is_a_page_too(client: httpx.Client, world: World):
    """The first minute of a new guardian."""
    world.schedules.refs = (DatabaseRef("fresh", "db"),)
    world.schedules.runs = ()
    world.watch.known = []
    world.watch.looks.clear()
    world.watch.readings.clear()
    world.doctor.last = None
    for page in ("/", "/sessions", "/vitals", "/doctor", "/database?server=fresh&database=db"):
        assert client.get(page).status_code == 200, page
    assert "none was made yet" in client.get("/").text


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


def test_hostile_names_and_queries_are_text_and_nothing_else(client: httpx.Client, world: World):
    ref = DatabaseRef(HOSTILE, f"../{HOSTILE}%00/..\\&")
    world.schedules.refs = (*REFS, ref)
    seen = world.watch.looks["main"].observation
    sessions = tuple(
        replace(one, query=HOSTILE, application=HOSTILE, user=HOSTILE, state=HOSTILE)
        if one.pid in {21_044, 21_100}
        else one
        for one in seen.sessions
    )
    look = world.watch.looks["main"]
    world.watch.looks["main"] = replace(look, observation=replace(seen, sessions=sessions))
    plan = DatabasePlan(ref, HOSTILE, HOSTILE, running=HOSTILE)
    world.schedules.changes[ref] = {"schedule": plan.schedule, "running": plan.running}
    overview = client.get("/")
    address = re.search(r'href="(/database\?[^"]*script[^"]*)"', overview.text)
    assert address is not None
    database = client.get(unescape(address[1]))
    pages = [
        overview,
        database,
        client.get("/sessions"),
        client.get("/session?server=main&pid=21044"),
        client.get("/backups", params={"id": HOSTILE, "server": HOSTILE, "store": HOSTILE}),
        client.get("/vitals", params={"server": HOSTILE}),
        client.get(f"/incidents/{HOSTILE.replace('/', '')}"),
    ]
    for answer in pages:
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(\d+)", answer.text)
        assert "onerror=alert(2)&gt;{{7*7}}" in answer.text, answer.url
    assert database.status_code == 200


def test_query_texts_are_not_shown_where_they_are_not_wanted(serve, world: World):
    world_sources = replace(world.sources, query_text=False)

    class Quiet:
        sources = world_sources

    from guardian.web.server import WebServer

    server = WebServer("127.0.0.1:0", None, Quiet.sources)
    server.start()
    try:
        for page in ("/sessions", "/session?server=main&pid=21044"):
            text = httpx.get(server.address + page, headers={"Accept": "text/html"}).text
            assert "ALTER TABLE" not in text
            assert "21044" in text
    finally:
        server.stop()
