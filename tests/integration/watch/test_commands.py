"""The watch's commands as people call them, on real servers with real sessions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clients import Client, Crowd, until
from support.ports import free_port
from support.postgres import Database, PostgresServer, Role
from support.site import Outcome, Site
from support.terminal import Terminal, plain, too_wide

from guardian.config import load_config
from guardian.daemon.app import App

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]

SESSION_KEYS = {
    *("server", "pid", "backend_start", "user", "database", "application", "client"),
    *("backend_type", "state", "state_seconds", "transaction_seconds", "query_seconds"),
    *("wait_event_type", "wait_event", "blocked_by", "query", "verdict"),
}
AUDIT_KEYS = {
    *("at", "server", "policy", "pid", "backend_start", "user", "database", "application"),
    *("query", "action", "mode", "outcome", "reason"),
}
POLICIES = [
    {
        "name": "forgotten",
        "match": {"state": "idle in transaction", "for": "1ms", "applications": ["sleepy*"]},
        "action": "terminate",
    },
    {
        "name": "roots",
        "match": {"blocking": 1, "blocking_for": "1ms", "applications": ["holder"]},
        "action": "report",
    },
]
EVIL = "[red]\x1b]0;owned\x07\x1b[2J[/]"
"""Markup, a new title for the terminal, and an empty screen."""


class Watched:
    """A site whose one server is watched by a role with the two grants, and its clients."""

    def __init__(self, root: Path, database: Database, crowd: Crowd, role: Role) -> None:
        self.database = database
        self.crowd = crowd
        self.role = role
        self.site = Site(root / "site", database.uri(role=role))
        self.site.server = {"watch": {"policies": POLICIES}}

    def run(self, *words: str, code: int = 0) -> Outcome:
        outcome = self.site.run_here(*words)
        outcome.assert_clean()
        assert self.role.password not in outcome.out + outcome.err
        assert outcome.code == code, (outcome.out, outcome.err)
        return outcome

    def documents(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run(*words, "--json").json
        return found

    def session(self, client: Client) -> dict[str, Any]:
        (found,) = [one for one in self.documents("sessions") if one["pid"] == client.pid]
        return found

    def terminal(self, *words: str, colours: bool = False, **size: int) -> Terminal:
        self.site.write()
        environ = dict(self.site.environment)
        if colours:
            del environ["NO_COLOR"]
        return Terminal(self.site.command(*words), environ, **size)

    def cycle(self, mode: str = "observe") -> None:
        """One round of the watch, as the daemon would do it."""
        self.site.server["watch"]["mode"] = mode
        self.site.write()
        with App(load_config(self.site.config)) as app, closing(app.patrol("main")) as patrol:
            patrol.cycle()


@pytest.fixture(params=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


def watched_on(
    server: PostgresServer, database: Database, role: Role, root: Path
) -> Iterator[Watched]:
    with server.connect() as connection:
        connection.execute(f"GRANT pg_monitor, pg_signal_backend TO {role.name}".encode())
    web = server.create_role()
    crowd = Crowd(database, web)
    try:
        yield Watched(root, database, crowd, role)
    finally:
        crowd.close()
        server.drop_role(web)


@pytest.fixture
def watched(
    server: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole, tmp_path: Path
) -> Iterator[Watched]:
    yield from watched_on(server, fresh_database(server), fresh_role(server), tmp_path)


@pytest.fixture
def watched15(
    pg15: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole, tmp_path: Path
) -> Iterator[Watched]:
    """What does not differ between majors is shown on one."""
    yield from watched_on(pg15, fresh_database(pg15), fresh_role(pg15), tmp_path)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        one.close()


# --- sessions and locks -------------------------------------------------------------------------


def test_sessions(watched: Watched) -> None:
    sleepy = watched.crowd.in_transaction("sleepy 1")
    busy, idle = watched.crowd.active("busy"), watched.crowd.idle("pool")
    found = {one["pid"]: one for one in watched.documents("sessions")}
    assert all(set(one) >= SESSION_KEYS for one in found.values())
    one = found[sleepy.pid]
    assert one["server"] == "main"
    assert one["user"] == watched.crowd.role.name
    assert one["database"] == watched.database.name
    assert (one["application"], one["state"]) == ("sleepy 1", "idle in transaction")
    assert (one["client"], one["backend_type"]) == (None, "client backend")
    assert one["query"] == "SELECT 'forgotten'"
    assert one["state_seconds"] > 0
    assert one["transaction_seconds"] >= one["state_seconds"]
    assert one["query_seconds"] is None
    assert datetime.fromisoformat(one["backend_start"]) < datetime.now(UTC)
    assert one["verdict"]["policy"] == "forgotten"
    assert one["verdict"]["action"] == "terminate"
    assert "longer than" in one["verdict"]["reason"]
    assert found[busy.pid]["query_seconds"] > 0
    assert found[busy.pid]["verdict"] is None
    assert found[idle.pid]["transaction_seconds"] is None
    assert "checkpointer" in {one["backend_type"] for one in found.values()}
    assert any(one["own"] for one in found.values())
    assert sleepy.fate() is None  # looking is all that was done

    shown = watched.site.run("sessions", check=True).out  # in a process of its own, for once
    lines = shown.splitlines()
    assert lines[0].startswith("main  ")
    (place,) = [n for n, line in enumerate(lines) if line.split()[0] == str(sleepy.pid)]
    assert place == 2  # those with a verdict come first
    assert "terminate, by 'forgotten'" in lines[3]
    assert "checkpointer" not in shown
    assert "checkpointer" in watched.run("sessions", "main", "--all").out


def test_who_is_spared_is_told(watched15: Watched) -> None:
    chief = watched15.crowd.in_transaction("sleepy chief", superuser=True)
    asks = watched15.crowd.in_transaction("sleepy asks")
    asks.run("SELECT 1 /* guardian:spare */")
    watched15.crowd.in_transaction("awake")
    found = {one["pid"]: one["spared"] for one in watched15.documents("sessions")}
    told = {pid: one["policy"] for pid, one in found.items() if one is not None}
    assert told == dict.fromkeys([chief.pid, asks.pid], "forgotten")
    shown = " ".join(watched15.run("sessions").out.split())
    assert "'forgotten' would match, but 'postgres' is a superuser" in shown
    assert "'forgotten' would match, but its query carries the comment" in shown


def test_locks(watched: Watched) -> None:
    root = watched.crowd.holder(1, "holder")
    middle = watched.crowd.waiter(1, "middle", holds=2)
    last = watched.crowd.waiter(2, "last")
    (tree,) = watched.documents("locks")
    assert set(tree) >= {*SESSION_KEYS, "victims", "longest_wait_seconds", "blocks"}
    assert (tree["pid"], tree["victims"]) == (root.pid, 2)
    assert tree["longest_wait_seconds"] > 0
    assert tree["verdict"]["policy"] == "roots"
    (second,) = tree["blocks"]
    assert (second["pid"], second["blocked_by"]) == (middle.pid, [root.pid])
    assert second["wait_event_type"] == "Lock"
    (third,) = second["blocks"]
    assert (third["pid"], third["victims"], third["blocks"]) == (last.pid, 0, [])

    lines = watched.run("locks").out.splitlines()
    assert lines[0].startswith(f"main  root pid {root.pid} holds up 2 sessions, the longest for ")
    assert lines[-2].startswith(f"    └ {middle.pid} waits ")
    assert lines[-1].startswith(f"      └ {last.pid} waits ")
    assert "report, by 'roots'" in "\n".join(lines)


def test_nobody_waits(watched15: Watched) -> None:
    watched15.crowd.idle()
    assert watched15.documents("locks") == []
    assert watched15.run("locks").out == "main  nobody waits for a lock\n"


def test_a_prepared_transaction_as_root(watched15: Watched) -> None:
    watched15.database.execute("CREATE TABLE t (id int)")
    keeper = watched15.crowd.client("keeper", superuser=True)
    for statement in ("BEGIN", "LOCK TABLE t", "PREPARE TRANSACTION 'forgotten one'"):
        keeper.run(statement)
    try:
        waiter = watched15.crowd.client("late", superuser=True).start("SELECT * FROM t")
        watched15.crowd.await_state(waiter, "active", wait="Lock")
        (root,) = watched15.documents("locks")
        assert (root["pid"], root["backend_start"], root["victims"]) == (0, None, 1)
        assert [one["gid"] for one in root["prepared"]] == ["forgotten one"]
        assert root["blocks"][0]["pid"] == waiter.pid
        shown = watched15.run("locks").out
        assert "root prepared transaction holds up 1 session" in shown
        assert "forgotten one of postgres" in shown
    finally:
        keeper.run("ROLLBACK PREPARED 'forgotten one'")


def test_a_deep_chain_fits_into_80_columns(watched15: Watched, terminals: list[Terminal]) -> None:
    watched15.crowd.holder(1, "holder")
    chain = [watched15.crowd.waiter(n, f"level {n}", holds=n + 1) for n in range(1, 16)]
    terminals.append(watched15.terminal("locks"))
    assert terminals[0].finish() == 0
    shown = terminals[0].text
    assert not too_wide(shown)
    drawn = [int(one) for one in re.findall(r"(\d+) waits", plain(shown))]
    assert drawn == [one.pid for one in chain]
    assert "+5 " in plain(shown)  # the fifteenth: five below the last guide


# --- what clients can write ---------------------------------------------------------------------


def test_what_clients_write_does_no_harm(watched: Watched, terminals: list[Terminal]) -> None:
    name = "sleepy [bold]\\[x] \u202egnp"
    evil = watched.crowd.holder(1, name)
    evil.run(f"SELECT $x${EVIL}\n\r\tnext line \u202e{'w' * 300}$x$")
    victim = watched.crowd.waiter(1, "victim [/]")
    document = watched.session(evil)
    assert document["query"].startswith(f"SELECT $x${EVIL}")  # JSON escapes, and keeps
    terminals.append(terminal := watched.terminal("sessions", colours=True, columns=160))
    assert terminal.finish() == 0, terminal.text
    assert not too_wide(terminal.text, 160)
    shown = {"sessions": terminal.text}
    watched.site.environ["COLUMNS"] = "160"
    for words in (["locks"], ["diagnose"], ["kill", str(evil.pid)]):
        shown[words[0]] = watched.run(*words).out
        assert "\x1b" not in shown[words[0]]
    for command, text in shown.items():
        for harm in ("\x1b]", "\x1b[2J", "\x07", "\u202e"):
            assert harm not in text, command
        assert "[red]\\x1b]0;owned\\x07" in plain(text), command
        assert "[bold]" in plain(text), command
    assert victim.finish() is None
    audit = watched.run("audit").out
    assert "\x1b" not in audit
    assert "sleepy [bold]\\[x]" in audit


def test_no_secret_of_a_statement_is_shown(watched15: Watched) -> None:
    sleepy = watched15.crowd.in_transaction("sleepy")
    sleepy.run("SELECT set_config('app.short_token', 'hunter2 is secret', true)")
    watched15.site.environ["COLUMNS"] = "200"  # the width of a pid must not decide
    assert watched15.session(sleepy)["query"] == (
        "SELECT set_config('app.short_token', ********, true)"
    )
    for words in (["sessions"], ["diagnose"], ["kill", str(sleepy.pid)], ["audit", "--json"]):
        outcome = watched15.run(*words)
        assert "hunter2" not in outcome.out + outcome.err
        assert "short_token" in outcome.out
    state = b"".join(one.read_bytes() for one in watched15.site.root.glob("state/catalog.db*"))
    assert b"short_token" in state
    assert b"hunter2" not in state


# --- kill ---------------------------------------------------------------------------------------


def test_kill_terminates_and_writes_it_down(watched: Watched) -> None:
    sleepy, other = watched.crowd.in_transaction("sleepy"), watched.crowd.in_transaction("sleepy")
    document = watched.run("kill", str(sleepy.pid), "--json").json
    assert set(document) >= AUDIT_KEYS
    assert (document["pid"], document["outcome"]) == (sleepy.pid, "signalled")
    assert (document["action"], document["mode"]) == ("terminate", "manual")
    assert document["policy"] is None
    assert document["evidence"]["confirmed"] is True
    assert sleepy.fate() == "57P01"
    assert other.fate() is None
    assert watched.documents("audit") == [document]
    again = watched.run("kill", str(sleepy.pid), code=1)
    assert f"has no session with pid {sleepy.pid}; it may have ended" in again.err
    gone = watched.run("kill", str(sleepy.pid), "--json", code=1).json
    assert (gone["outcome"], set(gone) >= AUDIT_KEYS) == ("gone", True)


def test_kill_cancels_a_query_only(watched15: Watched) -> None:
    busy = watched15.crowd.active("busy")
    outcome = watched15.run("kill", str(busy.pid), "--cancel", "--server", "main")
    assert outcome.out.endswith(f"pid {busy.pid} on server main: its query has ended\n")
    assert re.search(r"^query +SELECT pg_sleep\(300\)$", outcome.out, re.MULTILINE)
    assert busy.finish() == "57014"
    busy._error = busy._thread = None
    assert busy.fate() is None
    refused = watched15.run("kill", str(busy.pid), "--cancel", code=1)
    assert "runs no query that could be cancelled" in refused.err
    assert "leave out --cancel" in refused.err
    assert busy.fate() is None


def test_kill_leaves_alone_whom_nothing_may_touch(watched15: Watched) -> None:
    spared = watched15.crowd.client("spared")
    spared.run("SELECT 1 /* guardian:spare */")
    own = watched15.crowd.client("guardian dump", role=watched15.role)
    with watched15.database.connect() as look:
        (checkpointer,) = look.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        ).fetchone() or (0,)
    for pid, why in (
        (spared.pid, "carries the comment /* guardian:spare */"),
        (own.pid, "it is guardian's own"),
        (checkpointer, "it is no client but checkpointer"),
    ):
        document = watched15.run("kill", str(pid), "--force", "--json", code=1)
        assert document.json["outcome"] == "refused"
        assert why in document.json["reason"]
        assert why in document.err
    assert spared.fate() is None
    assert own.fate() is None
    assert watched15.documents("audit") == []


def test_kill_without_the_grant_is_refused(
    watched15: Watched, fresh_role: FreshRole, pg15: PostgresServer
) -> None:
    role = fresh_role(pg15)
    with pg15.connect() as admin:
        admin.execute(f"GRANT pg_monitor TO {role.name}".encode())
    watched15.site.dsn, watched15.role = watched15.database.uri(role=role), role
    sleepy = watched15.crowd.in_transaction("sleepy")
    outcome = watched15.run("kill", str(sleepy.pid), "--json", code=1)
    assert outcome.json["outcome"] == "refused"
    assert "nobody was hit" in outcome.err
    assert sleepy.fate() is None
    (entry,) = watched15.documents("audit")
    assert entry["outcome"] == "refused"


def test_kill_asks_and_hits_only_what_was_shown(
    watched15: Watched, terminals: list[Terminal]
) -> None:
    sleepy = watched15.crowd.in_transaction("sleepy")

    def asked(*words: str) -> Terminal:
        terminal = watched15.terminal("kill", str(sleepy.pid), *words)
        terminals.append(terminal)
        terminal.await_text(f"Terminate pid {sleepy.pid}? [y/N]:")
        return terminal

    declined = asked()
    assert "sleepy" in declined.text
    assert "SELECT 'forgotten'" in declined.text
    declined.type("\n")
    assert declined.finish() == 1
    assert "nobody was hit" in declined.text

    changed = asked()
    sleepy.run("SELECT 'something else'")
    changed.type("y\n")
    assert changed.finish() == 1
    assert "does something else by now" in changed.text
    assert sleepy.fate() is None

    forced = asked("--force")
    sleepy.run("SELECT 'and again'")
    forced.type("y\n")
    assert forced.finish() == 0
    assert "it has ended" in forced.text
    assert sleepy.fate() == "57P01"
    outcomes = [one["outcome"] for one in watched15.documents("audit")]
    assert outcomes == ["signalled", "changed"]


def test_interrupting_the_question_hits_nobody(
    watched15: Watched, terminals: list[Terminal]
) -> None:
    sleepy = watched15.crowd.in_transaction("sleepy")
    terminal = watched15.terminal("kill", str(sleepy.pid))
    terminals.append(terminal)
    terminal.await_text("[y/N]:")
    assert terminal.interrupt_question() == 130
    assert sleepy.fate() is None


# --- audit and replay ---------------------------------------------------------------------------


def test_audit_of_what_observe_mode_would_have_done(watched15: Watched) -> None:
    sleepy = watched15.crowd.in_transaction("sleepy")
    watched15.cycle()
    assert sleepy.fate() is None
    (would,) = watched15.documents("audit")
    assert set(would) >= AUDIT_KEYS
    assert (would["outcome"], would["mode"], would["policy"]) == ("would", "observe", "forgotten")
    assert "idle in transaction for" in would["reason"]
    watched15.run("kill", str(sleepy.pid), "--yes")
    newest, older = watched15.documents("audit", "--server", "main", "--since", "1h")
    assert (newest["mode"], older["mode"]) == ("manual", "observe")
    assert watched15.documents("audit", "--limit", "1") == [newest]
    assert watched15.documents("audit", "--since", "0s") == []
    watched15.site.environ["COLUMNS"] = "200"  # the width of a pid must not decide
    lines = watched15.run("audit").out.splitlines()
    assert lines[0].split() == ["AT", "OUTCOME", "ACTION", "PID", "WHO", "BY"]
    assert "signalled" in lines[1]
    assert "by hand: " in lines[2]
    assert lines[3].endswith("forgotten")
    assert "is not a duration" in watched15.run("audit", "--since", "soon", code=2).err
    assert "there is no server 'x'" in watched15.run("audit", "--server", "x", code=2).err
    assert watched15.run("audit", "--since", "0s").out == (
        "nobody was hit, and nobody would have been\n"
    )


def test_replay_of_what_was_recorded(watched15: Watched) -> None:
    (empty,) = watched15.documents("replay")
    assert (empty["looks"], empty["first"]) == (0, None)
    assert "nothing is recorded" in watched15.run("replay").out
    sleepy, busy = watched15.crowd.in_transaction("sleepy"), watched15.crowd.active("busy")
    watched15.site.server["watch"]["policies"] = []
    watched15.cycle()
    watched15.cycle()
    assert watched15.documents("audit") == []
    # The policies of today, over the sessions of then.
    watched15.site.server["watch"]["policies"] = [
        *POLICIES,
        {"name": "busy", "match": {"applications": ["busy"]}, "action": "cancel"},
        {"name": "nobody", "match": {"users": ["nobody"]}, "action": "terminate"},
    ]
    (found,) = watched15.documents("replay", "main", "--since", "1h")
    assert (found["server"], found["looks"]) == ("main", 2)
    assert found["first"] < found["last"]
    hits = {one["policy"]: [hit["pid"] for hit in one["hits"]] for one in found["policies"]}
    assert hits == {"forgotten": [sleepy.pid], "roots": [], "busy": [busy.pid], "nobody": []}
    (hit,) = found["policies"][0]["hits"]
    assert (hit["action"], hit["application"]) == ("terminate", "sleepy")
    shown = watched15.run("replay").out
    assert shown.startswith("main  2 looks from ")
    assert "forgotten  would have hit 1 session" in shown
    assert "nobody  would have hit nobody" in shown
    (none,) = watched15.documents("replay", "--since", "0s")
    assert none["looks"] == 0
    assert (sleepy.fate(), busy.fate()) == (None, None)
    assert watched15.documents("audit") == []


# --- servers, roles, screens --------------------------------------------------------------------


def test_a_recording_is_bounded_as_configured(watched15: Watched) -> None:
    bounds = {"keep": "2h", "max_size": "1MiB", "query_text": False}
    watched15.site.server["watch"]["recording"] = bounds
    watched15.site.write()
    with App(load_config(watched15.site.config)) as app, closing(app.patrol("main")) as patrol:
        plan = patrol._plan
    found = (plan.record, plan.keep_recording, plan.recording_bytes, plan.record_query_text)
    assert found == (True, timedelta(hours=2), 1 << 20, False)


def test_a_role_without_any_grant_is_told(
    watched: Watched, fresh_role: FreshRole, server: PostgresServer
) -> None:
    role = fresh_role(server)
    watched.site.dsn, watched.role = watched.database.uri(role=role), role
    sleepy = watched.crowd.in_transaction("sleepy")
    outcome = watched.run("sessions", "--json")
    (hidden,) = [one for one in outcome.json if one["pid"] == sleepy.pid]
    assert (hidden["state"], hidden["visible"], hidden["verdict"]) == (None, False, None)
    assert f"GRANT pg_monitor TO {role.name};" in outcome.err
    assert f"GRANT pg_signal_backend TO {role.name};" in outcome.err
    shown = watched.run("sessions").out
    assert re.search(rf"^ *{sleepy.pid}  hidden", shown, re.MULTILINE)
    assert "<insufficient privilege>" not in shown
    assert "nobody that our role may see waits" in watched.run("locks").out
    refused = watched.run("kill", str(sleepy.pid), "--json", code=1).json
    assert "grant it pg_monitor" in refused["reason"]
    card = watched.run("kill", str(sleepy.pid), code=1).out
    assert "hidden from our role" in card
    assert "Unix socket" not in card  # which it is not: its address is hidden, too
    checks = watched.site.run_here("doctor", "--json").json["checks"]
    watch = [one for one in checks if one["name"] == "main watch"]
    assert [one["status"] for one in watch] == ["ok", "failed", "warning"]
    assert "sees NULLs" in watch[1]["found"]
    assert watch[1]["mend"] == f"GRANT pg_monitor TO {role.name}; (as postgres)"


def test_several_servers_one_of_which_is_away(watched15: Watched, tmp_path: Path) -> None:
    sleepy = watched15.crowd.in_transaction("sleepy")
    watched15.site.write()
    text = watched15.site.config.read_text()
    away = f"postgresql://me:topsecret@127.0.0.1:{free_port()}/x"
    other = json.dumps({"dsn": away, "watch": {"policies": POLICIES}})
    config = tmp_path / "two.yaml"
    config.write_text(text.replace("servers:\n", f"servers:\n  away: {other}\n"))

    def run(*words: str) -> Outcome:
        outcome = watched15.site.run_here("--config", str(config), *words)
        outcome.assert_clean()
        assert "topsecret" not in outcome.out + outcome.err
        return outcome

    for command in ("sessions", "locks"):
        outcome = run(command, "--json")
        assert outcome.code == 1
        assert {one["server"] for one in outcome.json} <= {"main"}
        assert "server away (127.0.0.1:" in outcome.err
    assert run("sessions", "main").code == 0
    unnamed = run("kill", str(sleepy.pid))
    assert unnamed.code == 2
    assert "--server away|main" in unnamed.err
    assert sleepy.fate() is None
    assert run("kill", str(sleepy.pid), "--server", "main").code == 0
    assert sleepy.fate() == "57P01"
    assert run("kill", "1", "--server", "nope").code == 2


@pytest.mark.parametrize("command", ["sessions", "locks"])
def test_watching_on_a_terminal(
    watched15: Watched, terminals: list[Terminal], command: str
) -> None:
    watched15.crowd.holder(1, "holder")
    first = watched15.crowd.waiter(1, "first")
    terminal = watched15.terminal(command, "main", "--watch", "0.2", colours=True, rows=20)
    terminals.append(terminal)
    terminal.await_text(str(first.pid))
    second = watched15.crowd.waiter(1, "second")
    terminal.await_text(str(second.pid))
    terminal.interrupt()
    assert terminal.finish() == 0
    assert not too_wide(terminal.text)
    assert terminal.text.count("\x1b[?1049h") == terminal.text.count("\x1b[?1049l") == 1
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    frames = terminal.text[terminal.text.index("\x1b[?1049h") :].count("\x1b[H")
    assert frames > 2
    assert "\x1b[2J" not in terminal.text  # nothing is wiped between two frames
    assert "\x1b[3" in terminal.text
    assert "Traceback" not in terminal.text


def test_watching_without_colours_and_beyond_the_last_line(
    watched15: Watched, terminals: list[Terminal]
) -> None:
    for place in range(12):
        watched15.crowd.idle(f"pool {place}")
    terminal = watched15.terminal("sessions", "--watch", "main", rows=8)
    terminals.append(terminal)
    terminal.await_text("more lines")
    terminal.interrupt()
    assert terminal.finish() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", terminal.text)
    assert terminal.text.count("\n") <= 8 * terminal.text.count("\x1b[H")


def test_watching_a_server_that_goes_away_and_comes_back(
    watched15: Watched, terminals: list[Terminal]
) -> None:
    limit = f"ALTER ROLE {watched15.role.name} "
    terminal = watched15.terminal("sessions", "--watch=0.2")
    terminals.append(terminal)
    terminal.await_text("sessions")
    watched15.database.execute(
        limit + "NOLOGIN",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = '{watched15.role.name}'",
    )
    terminal.await_text("refused us")
    seen = len(terminal.text)
    watched15.database.execute(limit + "LOGIN")
    terminal.await_text(lambda text: "pid" in text[seen:].lower())
    until(lambda: terminal.process.poll() is None)
    terminal.interrupt()
    assert terminal.finish() == 0


def test_watching_into_a_pipe_writes_one_look_after_the_other(watched15: Watched) -> None:
    watched15.site.write()
    process = watched15.site.start("locks", "--watch", "0.2")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [line.partition("  ")[2] for line in lines[1::2]] == ["nobody waits for a lock\n"] * 2
    assert "\x1b" not in "".join(lines) + out


def test_a_watch_and_one_document_exclude_each_other(watched15: Watched) -> None:
    assert "--json is one document" in watched15.run("locks", "--watch", "--json", code=2).err
    for bad in ("x", "nan", "inf", "1e300"):
        said = watched15.run("locks", "main", f"--watch={bad}", code=2).err
        assert "write a number of seconds" in said
    assert "there is no server 'x'" in watched15.run("sessions", "x", code=2).err
