"""No secret gets out: one in every place for one, every command, the daemon, and a search.

What is searched: all that commands print and log (also with -v, as JSON, and when they fail), what
channels and heartbeats are told, pages, metrics, command lines and environments of what is started,
stores, catalog, state folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.canaries import (
    Canaries,
    Processes,
    Services,
    channels,
    heartbeats,
    planted_fields,
    secret_fields,
    without_internet,
)
from support.daemon import Daemon, until
from support.mailserver import MailReceiver, running_mail_server
from support.ports import free_port
from support.postgres import Database, PostgresServer, Role
from support.s3 import MotoS3
from support.site import Outcome, Site

from guardian.config import load_config

FIXED = {"bot", "pager", "telegram"}
SAMPLE = """
CREATE TABLE users (id bigint PRIMARY KEY, name text);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 100) g
"""


@dataclass
class Aviary:
    """A configuration in which every secret is a canary, and all of its other ends."""

    canaries: Canaries
    services: Services
    mail: MailReceiver
    site: Site
    database: Database
    bucket: str
    moto: MotoS3
    processes: Processes
    said: dict[str, bytes] = field(default_factory=dict)

    def run(self, *words: str, here: bool = True) -> Outcome:
        """Run a command and keep what it said."""
        outcome = self.site.run_here(*words) if here else self.site.run(*words)
        self.said[" ".join(words)] = (outcome.out + outcome.err).encode()
        assert "Traceback" not in outcome.err or "-v" in words, outcome.err
        return outcome

    def leaks(self) -> set[str]:
        """``<where>: <which>`` of every canary that got out."""
        found = {
            f"{where}: {name}"
            for where, text in self.said.items()
            for name in self.canaries.found_in(text)
        }
        for root in (self.site.root / "state", self.site.store):
            for path in filter(Path.is_file, root.rglob("*")):
                for name in self.canaries.found_in(path.read_bytes()):
                    found.add(f"{path.relative_to(self.site.root)}: {name}")
        client = self.moto.client()
        for listed in client.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            body = client.get_object(Bucket=self.bucket, Key=listed["Key"])["Body"].read()
            for name in self.canaries.found_in(body + listed["Key"].encode()):
                found.add(f"s3 {listed['Key']}: {name}")
        for mail in self.mail.mails:
            found |= {f"mail: {name}" for name in self.canaries.found_in(mail.data)}
        return found | self.services.leaks() | self.processes.leaks


@pytest.fixture
def aviary(
    pg15: PostgresServer, moto_s3: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Aviary]:
    canaries = Canaries()
    services = Services(canaries)
    database = pg15.create_database()
    database.execute(SAMPLE)
    roles = [login(pg15, canaries[name]) for name in ("default-password", "password", "dsn")]
    bucket = moto_s3.new_bucket("canaries")
    with services.receiver, running_mail_server(None, starttls=False, plain_login=True) as mail:
        mail.users["u"] = canaries["mail"]
        site = planted_site(tmp_path, services, mail.port, database, roles)
        for name, value in site.environ.items():  # also for what we read ourselves
            monkeypatch.setenv(name, value)
        site.stores["s3"] = {
            "kind": "s3",
            "bucket": bucket,
            "region": "us-east-1",
            "addressing": "path",
            "endpoint_url": moto_s3.endpoint_url,
            "access_key_id": canaries["key-id"],
            "secret_access_key": canaries["secret-key"],
            "session_token": canaries["session-token"],
        }
        yield Aviary(canaries, services, mail, site, database, bucket, moto_s3, Processes(canaries))
    pg15.drop_database(database.name)
    for role in roles:
        pg15.drop_role(role)


def login(server: PostgresServer, password: str) -> Role:
    made = server.create_role(attributes="SUPERUSER")
    with server.connect() as connection:
        connection.execute(f"ALTER ROLE {made.name} PASSWORD '{password}'".encode())
    return Role(made.name, password)


def planted_site(
    folder: Path, services: Services, smtp_port: int, database: Database, roles: list[Role]
) -> Site:
    canaries, server = services.canaries, database.server
    by_default, by_password, by_dsn = roles

    def dsn(role: Role, *, password: bool = False, **more: str) -> str:
        plain = {} if password else {"password": ""}
        return database.dsn(role=role, tcp=True, **plain, **more)

    site = Site(
        folder / "site",
        dsn(by_default),
        {"backup": {"schedule": "every 30d", "attempts": 1}, "outage": {"interval": "1s"}},
        environ={"CANARY_DSN": dsn(by_dsn, password=True), **without_internet()},
    )
    site.passphrase.write_text(canaries["passphrase"] + "\n")
    token = folder / "token"
    token.write_text(canaries["token"] * 2 + "\n")
    quiet = {"schedule": None, "attempts": 1}
    others = {
        # One server by each way in which a secret comes.
        "second": {
            "dsn": dsn(by_password),
            "password": canaries["password"],
            "backup": quiet,
            "verify": {
                "scratch": server.dsn("postgres", role=by_dsn, tcp=True),
                "allow_source_server": True,
            },
        },
        "third": {"dsn": "${CANARY_DSN}", "password": None, "backup": quiet},
        # And some that fail: a wrong password, nobody there, nonsense.
        "refused": {
            "dsn": dsn(by_default),
            "password": canaries["wrong-password"],
            "backup": quiet,
            "outage": {"interval": "1s"},
        },
        "nowhere": {
            "dsn": f"postgresql://u:{canaries['nowhere']}@127.0.0.1:{free_port()}/d"
            f"?sslpassword={canaries['sslpassword']}",
            "backup": quiet,
            "outage": {"interval": "1s", "failures": 1},
        },
    }
    host = services.receiver.host
    services.owners["probe"] = ("probe",)
    site.sections = {
        "defaults": {"password": canaries["default-password"]},
        "servers": others,
        "probes": [
            {
                "name": "web",
                "kind": "http",
                "url": f"http://{host}/probe",
                "interval": "1s",
                "headers": {"X-Key": canaries["probe"]},
            }
        ],
        "escalation": {
            "channels": channels(services, smtp_port),
            # Those whose address is fixed are not to be reached: a test through them must do.
            "people": {"everybody": sorted({*channels(services, smtp_port)} - FIXED)},
            "ladder": {each: {"0m": ["everybody"]} for each in ("P0", "P1", "P2")},
        },
        "heartbeat": heartbeats(services),
        "service": {
            "listen": f"127.0.0.1:{free_port()}",
            "token_file": str(token),
            "log": {"level": "debug"},
        },
    }
    return site


def test_every_secret_of_the_configuration_has_a_canary(aviary: Aviary) -> None:
    aviary.site.write()
    document = aviary.site.config.read_text()
    url = f"postgresql://g:{aviary.canaries['catalog']}@127.0.0.1:{free_port()}/g"
    aviary.site.config.write_text(f"catalog: {url}\n{document}")
    config = load_config(aviary.site.config, aviary.site.environ)
    assert secret_fields() - set(planted_fields(config, aviary.canaries)) == set()


LOOKS = [
    *("doctor", "status", "sessions", "locks", "audit", "diagnose", "handoff", "replay"),
    *("config check", "config show", "config schema", "backup list", "backup list --store s3"),
    *("incidents list", "silence list", "backup prune --dry-run"),
]
NO_JSON = {"config check", "config show", "config schema"}


def test_no_command_tells_a_secret(aviary: Aviary, fresh_database: Any) -> None:
    run = aviary.run
    with aviary.processes.watched():
        run("-v", "backup", "now", "--json", here=False)  # one of the servers answers to no one
        listed = json.loads(run("backup", "list", "--json").out)
        newest = {one["server"]: one["id"] for one in listed}
        assert set(newest) == {"main", "second", "third"}
        drills = json.loads(run("-v", "verify", "main", "second", "--json", here=False).out)
        assert {one["result"] for one in drills} == {"proven"}
        target = fresh_database(aviary.database.server)
        assert run("-v", "restore", newest["main"], "--to", target.dsn(), here=False).code == 0
        assert run("-v", "alerts", "test", here=False).code == 1, "some are not to be reached"
        for words in LOOKS:
            run("-v", *words.split())
            if words not in NO_JSON:
                run(*words.split(), "--json")
        run("-v", "catalog", "rebuild")
        run("-v", "backup", "keep", newest["main"])
        run("-v", "kill", "--server", "main", "1")
    assert aviary.processes.seen
    assert {"slack", "hook", "api", "discord", "teams", "apprise"} <= aviary.services.heard()
    assert aviary.mail.mails
    assert aviary.leaks() == set()


def test_no_failure_tells_a_secret(aviary: Aviary) -> None:
    """Wrong passphrases, keys that nobody takes, stores and catalogs that are not there."""
    canaries, site, run = aviary.canaries, aviary.site, aviary.run
    assert run("backup", "now", "main", "--json").code == 0
    backup = json.loads(run("backup", "list", "--json").out)[0]["id"]
    nobody = f"http://127.0.0.1:{free_port()}"
    with aviary.processes.watched():
        site.passphrase.write_text(canaries["other-passphrase"] + "\n")
        for words in (f"verify {backup}", f"restore {backup} --to host=127.0.0.1", "doctor"):
            run("-v", *words.split())
        site.stores["s3"]["endpoint_url"] = nobody
        site.stores["local"]["path"] = "/dev/null/there"
        for words in ("backup now main", "doctor", f"verify {backup}", "backup list --store s3"):
            run("-v", *words.split())
        site.stores["local"]["path"] = str(site.store)
        for url in (
            f"postgresql://g:{canaries['catalog']}@127.0.0.1:{free_port()}/g",
            f"nonsense://g:{canaries['catalog']}@h/g",
            f"mysql://g:{canaries['catalog']}@h/g",
        ):
            site.sections["catalog"] = url
            for words in ("status", "backup list", "run", "catalog rebuild"):
                assert run("-v", *words.split()).code != 0
        del site.sections["catalog"]
        for mistake in mistakes(canaries):
            before = site.sections
            site.sections = {**before, **mistake}
            for words in ("config check", "config show", "status"):
                assert run("-v", *words.split()).code == 2, mistake
            site.sections = before
    assert aviary.leaks() == set()


def mistakes(canaries: Canaries) -> Iterator[dict[str, Any]]:
    """Sections with a mistake in, or beside, a secret."""
    secret = canaries["mistake"]
    for dsn in (secret, f"postgresql://{secret}:{secret}@[h/d", f"password='{secret}"):
        yield {"servers": {"bad": {"dsn": dsn, "nonsense": secret}}}
    yield {"heartbeat": [{"kind": "ping", "url": secret}]}
    yield {"heartbeat": [{"kind": "ping", "url": f"http://{secret}@[::1/"}]}
    yield {"service": {"token": [secret]}}
    yield {"escalation": {"channels": {"x": {"kind": "pagerduty", "routing_key": {"a": secret}}}}}
    yield {"escalation": {"channels": {"x": {"kind": "sentry", "dsn": f"https://h/{secret}"}}}}


def test_the_daemon_tells_no_secret(aviary: Aviary) -> None:
    with aviary.processes.watched(), Daemon(aviary.site, watchdog_seconds=30) as daemon:
        catalog = daemon.ready().catalog
        assert catalog is not None
        daemon.until(lambda: any(one.proven for one in catalog.backups()), "a drill")
        wanted = {"slack", "hook", "api", "discord", "teams", "apprise", "ping", "probe"}
        daemon.until(lambda: wanted <= aviary.services.heard(), "everybody is told")
        daemon.until(lambda: aviary.mail.mails, "mail")
        until(lambda: 'guardian_server_up{server="nowhere"} 0' in scraped(aviary), "metrics")
        aviary.said |= pages(aviary)
        assert daemon.end() == 0
        aviary.said["log"] = daemon.log.encode()
        aviary.said["systemd"] = repr(daemon.said).encode()
    assert len(aviary.said) > 10
    assert aviary.processes.seen
    assert aviary.leaks() == set()


def scraped(aviary: Aviary) -> str:
    """The metrics, for who has the token."""
    service = aviary.site.sections["service"]
    bearer = {"Authorization": f"Bearer {aviary.canaries['token'] * 2}"}
    return httpx.get(f"http://{service['listen']}/metrics", headers=bearer).text


def pages(aviary: Aviary) -> dict[str, bytes]:
    """Every page that can be reached by links, before a login and after it."""
    address = f"http://{aviary.site.sections['service']['listen']}"
    token = aviary.canaries["token"] * 2
    found: dict[str, bytes] = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        for path in ("/", "/health", "/health/detailed", "/metrics", "/login", "/nowhere"):
            found[f"stranger {path}"] = everything(client.get(path))
        client.headers["Authorization"] = f"Bearer {token}"
        waiting = ["/", "/health/detailed", "/metrics", "/doctor"]
        while waiting and len(found) < 60:
            path = waiting.pop(0)
            if path in found:
                continue
            answer = client.get(path)
            found[path] = everything(answer)
            if answer.headers.get("content-type", "").startswith("text/html"):
                waiting += re.findall(r'href="(/[^"#]*)"', answer.text.replace("&amp;", "&"))
    return found


def everything(answer: httpx.Response) -> bytes:
    """Headers and body."""
    return repr(answer.headers).encode() + answer.content
