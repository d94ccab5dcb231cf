"""What keeps strangers out, and our own people's browsers from being used against them."""

from __future__ import annotations

import socket
import time

import httpx
import pytest
from integration.web.conftest import TOKEN, Serve
from support.dashboard import World
from support.forms import csrf, hidden_fields, log_in
from waitress.server import BaseWSGIServer

from guardian.watch.model import Action
from guardian.web.server import ListenError, WebServer

PAGES = [
    *("/", "/backups", "/sessions", "/vitals", "/incidents", "/doctor"),
    "/database?server=main&database=mina",
]
BEARER = {"Authorization": f"Bearer {TOKEN}"}
KILL = "/session/kill"
ACKNOWLEDGE = "/incidents/k3f9w2ap/acknowledge"


# --- headers ---


@pytest.mark.parametrize(
    "page", ["/", "/login", "/health", "/metrics", "/nowhere", "/static/guardian.css"]
)
def test_every_answer_carries_the_headers(client: httpx.Client, page: str):
    headers = client.get(page).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in headers


def test_pages_are_kept_nowhere_and_files_for_long(client: httpx.Client):
    assert client.get("/").headers["Cache-Control"] == "no-store"
    assert client.get("/metrics").headers["Cache-Control"] == "no-store"
    assert "immutable" in client.get("/static/guardian.js").headers["Cache-Control"]


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_script_or_style_of_its_own(client: httpx.Client, page: str):
    """The policy would not run it anyway; then something would be broken."""
    text = client.get(page).text
    assert "<style" not in text
    assert " style=" not in text
    assert " onclick=" not in text
    assert "javascript:" not in text
    for tag in text.split("<script")[1:]:
        assert tag.startswith(' src="/static/')


@pytest.mark.parametrize("page", PAGES)
def test_no_page_asks_anybody_else_for_anything(client: httpx.Client, page: str):
    text = client.get(page).text
    assert 'src="http' not in text
    assert 'href="http' not in text
    assert 'src="//' not in text


def test_files_outside_of_the_static_folder_are_not_given(client: httpx.Client):
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py"):
        assert client.get(path).status_code in {400, 404}


# --- hosts ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "10.1.2.3", "localhost.evil.example"]
)
def test_a_strange_host_is_refused_where_there_is_no_token(client: httpx.Client, host: str):
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "service.hosts" in answer.text
    assert "mina" not in answer.text


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8765"])
def test_loopback_by_any_name_is_answered(client: httpx.Client, host: str):
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_a_load_balancer_may_ask_for_health_by_any_name(client: httpx.Client):
    assert client.get("/health", headers={"Host": "pod-7.cluster"}).json() == {"status": "healthy"}


def test_with_a_token_names_may_be_given(serve: Serve):
    named = serve(TOKEN, hosts=["guardian.example"])
    assert named.get("/login", headers={"Host": "guardian.example"}).status_code == 200
    assert named.get("/login", headers={"Host": "evil.example"}).status_code == 421
    assert serve(TOKEN).get("/login", headers={"Host": "any.example"}).status_code == 200


# --- login ---


@pytest.mark.parametrize("page", [*PAGES, "/health/detailed", "/metrics"])
def test_with_a_token_nothing_is_told_to_a_stranger(serve: Serve, page: str):
    answer = serve(TOKEN).get(page)
    assert answer.status_code in {303, 401}
    assert "orders" not in answer.text
    assert "guardian_server" not in answer.text
    if answer.status_code == 303:
        assert answer.headers["Location"].startswith("/login?next=")


def test_a_login_leads_back_to_the_page_that_was_wanted(serve: Serve):
    client = serve(TOKEN)
    answer = log_in(client, TOKEN, next="/backups?show=failed")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/backups?show=failed")
    assert "ada" in client.get("/").text
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie


def test_behind_tls_the_cookie_is_for_tls_alone(serve: Serve):
    client = serve(TOKEN)
    client.headers["X-Forwarded-Proto"] = "https"
    answer = client.get("/login")
    assert "; Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("where", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_a_login_leads_nowhere_else(serve: Serve, where: str):
    assert log_in(serve(TOKEN), TOKEN, next=where).headers["Location"] == "/"


def test_a_wrong_token_is_refused_and_guessing_held_up(serve: Serve):
    client = serve(TOKEN)
    for _ in range(5):
        assert log_in(client, "guess").status_code == 403
    answer = log_in(client, TOKEN)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/metrics", headers=BEARER).status_code == 401


def test_wrong_bearers_are_held_up_too(serve: Serve):
    client = serve(TOKEN)
    for _ in range(5):
        wrong = {"Authorization": "Bearer guess"}
        assert client.get("/metrics", headers=wrong).status_code == 401
    assert log_in(client, TOKEN).status_code == 429


def test_a_login_wants_a_name(serve: Serve):
    assert log_in(serve(TOKEN), TOKEN, by=" \t").status_code == 400


def test_a_login_ends_for_whoever_has_its_cookie(serve: Serve):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    cookies = dict(client.cookies)
    assert client.get("/").status_code == 200
    client.post("/logout", data={"csrf": csrf(client)})
    assert client.get("/").status_code == 303
    thief = httpx.Client(base_url=client.base_url, cookies=cookies, verify=False)
    assert thief.get("/", headers={"Accept": "text/html"}).status_code == 303
    thief.close()


def test_a_login_outlives_a_restart_but_not_a_new_token(serve: Serve, world: World):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    port = client.base_url.port
    cookies = {name.replace(str(port), "x"): value for name, value in client.cookies.items()}
    for token, status in ((TOKEN, 200), ("another", 303)):
        other = serve(token)
        name = next(iter(cookies)).replace("x", str(other.base_url.port))
        other.cookies.set(name, next(iter(cookies.values())))
        assert other.get("/").status_code == status


def test_a_cookie_cannot_be_made_up(serve: Serve):
    client = serve(TOKEN)
    client.cookies.set(f"guardian_{client.base_url.port}", "eyJsb2dpbiI6IngifQ.aaaa.bbbb")
    assert client.get("/").status_code == 303


def test_prometheus_brings_the_token_as_a_bearer(serve: Serve):
    client = serve(TOKEN)
    assert client.get("/metrics", headers=BEARER).status_code == 200
    assert client.get("/health/detailed", headers=BEARER).status_code == 200
    assert client.get("/health").status_code == 200
    wrong = {"Authorization": f"Basic {TOKEN}"}
    assert client.get("/metrics", headers=wrong).status_code == 401


def test_a_page_left_open_is_told_that_the_login_has_ended(serve: Serve):
    answer = serve(TOKEN).get("/", headers={"X-Guardian-Fragment": "1"})
    assert answer.status_code == 401


# --- actions ---


def test_an_acknowledgement_stands_with_the_name_of_who_sent_it(client: httpx.Client, world: World):
    page = client.get("/incidents/k3f9w2ap").text
    fields = hidden_fields(page, ACKNOWLEDGE) | {"by": " ada \n lovelace ", "note": "on it"}
    answer = client.post(ACKNOWLEDGE, data=fields, follow_redirects=True)
    assert world.desk.done == [("acknowledge", "k3f9w2ap", "ada lovelace", "on it")]
    assert "ada lovelace has it" in answer.text
    assert 'value="ada lovelace"' in client.get("/incidents/p7xq41md").text


def test_with_a_login_the_name_is_that_of_the_login(serve: Serve, world: World):
    client = serve(TOKEN)
    log_in(client, TOKEN, by="grace")
    data = {"csrf": csrf(client), "by": "mallory"}
    client.post("/incidents/k3f9w2ap/resolve", data=data)
    assert world.desk.done == [("resolve", "k3f9w2ap", "grace", "")]


@pytest.mark.parametrize("path", [ACKNOWLEDGE, KILL, "/doctor/run", "/logout", "/login"])
@pytest.mark.parametrize("token", [None, "", "x" * 43])
def test_nothing_happens_without_the_forms_token(serve: Serve, world: World, path: str, token):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    csrf(client)
    data = {"by": "eve", "server": "main", "pid": "21044", "action": "terminate"}
    answer = client.post(path, data=data if token is None else {**data, "csrf": token})
    assert answer.status_code == 400
    assert (world.desk.done, world.hand.done, world.doctor.started) == ([], [], 0)
    assert client.get("/").status_code == 200


def test_another_sites_form_is_refused_even_with_the_token(client: httpx.Client, world: World):
    data = {"csrf": csrf(client), "by": "eve"}
    for site in ("cross-site", "same-site"):
        answer = client.post(ACKNOWLEDGE, data=data, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403
    assert world.desk.done == []


def test_an_action_is_not_done_by_looking(client: httpx.Client, world: World):
    for path in (ACKNOWLEDGE, KILL, "/doctor/run", "/logout"):
        assert client.get(path).status_code == 405
    assert world.desk.done == []


def test_an_examination_is_asked_for(client: httpx.Client, world: World):
    client.post("/doctor/run", data={"csrf": csrf(client)})
    assert world.doctor.started == 1
    assert "Examining" in client.get("/doctor").text


# --- kills ---


def test_without_a_login_nobody_is_ended_from_here(client: httpx.Client, world: World):
    assert "guardian kill --server main 21044" in client.get("/session?server=main&pid=21044").text
    data = {"csrf": csrf(client), "by": "eve", "server": "main", "pid": "21044"}
    assert client.post(KILL, data=data).status_code == 409
    assert world.hand.done == []


def test_a_session_is_ended_as_it_was_shown(serve: Serve, world: World):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    page = client.get("/session?server=main&pid=21250").text
    fields = hidden_fields(page, KILL)
    assert fields["action"] == "cancel"
    assert client.post(KILL, data=fields).status_code == 303
    assert world.hand.done == [("main", 21_250, Action.CANCEL, "ada")]


@pytest.mark.parametrize("change", [{"started": "2026-01-01T00:00:00+00:00"}, {"spell": ""}])
def test_one_that_has_moved_on_meanwhile_is_left_alone(serve: Serve, world: World, change):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    fields = hidden_fields(client.get("/session?server=main&pid=21250").text, KILL)
    assert client.post(KILL, data=fields | change).status_code == 409
    assert world.hand.done == []


def test_our_own_sessions_have_no_button(serve: Serve):
    client = serve(TOKEN)
    log_in(client, TOKEN)
    page = client.get("/session?server=main&pid=21001").text
    assert "left alone" in page
    assert KILL not in page


# --- the server ---


def test_a_huge_form_is_refused(client: httpx.Client):
    answer = client.post("/login", data={"by": "x" * 100_000})
    assert answer.status_code == 413


def test_health_is_honest(client: httpx.Client, world: World):
    assert client.get("/health").json() == {"status": "healthy"}
    detailed = client.get("/health/detailed").json()
    assert {one["name"]: one["status"] for one in detailed["components"]}["channels"] == "impaired"
    world.health.bad.append("scheduler: has done nothing for 44 s")
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unhealthy",
        "reasons": ["scheduler: has done nothing for 44 s"],
    }
    assert "has done nothing for 44 s" in client.get("/doctor").text


def test_metrics_are_given_as_they_are(client: httpx.Client):
    answer = client.get("/metrics")
    assert answer.text == 'guardian_server_up{server="main"} 1.0\n'
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"


def test_an_address_that_is_taken_is_told_with_the_mend(world: World):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = WebServer(f"127.0.0.1:{port}", None, world.sources)
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            server.start()
    assert "service.listen" in str(caught.value)
    server.stop()


def test_both_loopbacks_answer_to_localhost_and_stop_together(world: World):
    server = WebServer("localhost:0", None, world.sources)
    server.start()
    addresses = {str(one[4][0]) for one in socket.getaddrinfo("localhost", server.port)}
    try:
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            assert httpx.get(f"http://{host}:{server.port}/health").status_code == 200
    finally:
        server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{server.port}/health")


def test_a_stopped_server_leaves_its_port(world: World):
    first = WebServer("127.0.0.1:0", None, world.sources)
    first.start()
    assert httpx.get(f"{first.address}/health").status_code == 200
    first.stop()
    second = WebServer(f"127.0.0.1:{first.port}", None, world.sources)
    second.start()
    assert httpx.get(f"{second.address}/health").status_code == 200
    second.stop()


def test_a_loop_that_ends_by_itself_is_not_woken_when_it_has_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """The number of what woke it may by then be another file's."""
    pull = BaseWSGIServer.pull_trigger

    def slowly(server: BaseWSGIServer) -> None:
        pull(server)
        time.sleep(0.3)  # time enough for the loop to end and close everything
        pull(server)

    monkeypatch.setattr(BaseWSGIServer, "pull_trigger", slowly)
    server = WebServer("127.0.0.1:0", None, world.sources)
    server.start()
    server.stop()
