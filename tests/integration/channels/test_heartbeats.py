"""Heartbeats: each service hears of life, of trouble, and of jobs in its own words."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from support.certificates import Certificate
from support.receivers import UNREACHABLE_MANNERS, Answer, Manner, Request, WebReceiver, closed_port
from support.vendors import SentryRelay, json_answer

from guardian.adapters.heartbeats.ping import Flavour, Ping, flavour_of
from guardian.adapters.heartbeats.sentry_cron import SentryHeartbeat, SentryJobs
from guardian.errors import DeliveryError
from guardian.escalate.model import JobTiming
from guardian.escalate.ports import Heartbeat, JobMonitor

MINUTE = timedelta(minutes=1)
UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


class Service:
    """A dead man's switch: what it was told, in short."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.told: list[str] = []
        self._answer = answer

    def __call__(self, request: Request) -> Answer:
        self.told.append(f"{request.method} {request.path} {request.body.decode()}".strip())
        return self._answer(request)


def healthchecks(request: Request) -> Answer:
    known = re.fullmatch(rf"/ping/{UUID}(/start|/fail)?", request.path)
    return Answer(200, b"OK") if known else Answer(404, b"(not found)")


def betterstack(request: Request) -> Answer:
    known = re.fullmatch(r"/api/v1/heartbeat/canary-token(/fail)?", request.path)
    return Answer(200) if known else Answer(404)


def uptime_kuma(request: Request) -> Answer:
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    if request.path.startswith("/api/push/canary-token?") and query["status"][0] in {"up", "down"}:
        return json_answer(200, ok=True)
    return json_answer(404, ok=False, msg="Monitor not found or not active.")


PATHS = {
    Flavour.HEALTHCHECKS: (healthchecks, f"/ping/{UUID}"),
    Flavour.BETTERSTACK: (betterstack, "/api/v1/heartbeat/canary-token"),
    Flavour.UPTIME_KUMA: (uptime_kuma, "/api/push/canary-token?status=up&msg=OK&ping="),
    Flavour.PLAIN: (lambda _: Answer(204), "/alive?key=canary-token"),
}


@pytest.fixture(params=PATHS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


@pytest.fixture
def receiver(flavour: Flavour) -> Iterator[WebReceiver]:
    with WebReceiver(Service(PATHS[flavour][0])) as running:
        yield running


@pytest.fixture
def ping(flavour: Flavour, receiver: WebReceiver) -> Ping:
    return Ping("heartbeat 1 (ping)", receiver.url + PATHS[flavour][1], MINUTE, seconds=5)


def told(receiver: WebReceiver) -> list[str]:
    assert isinstance(receiver.decide, Service)
    return receiver.decide.told


def test_each_service_hears_its_own_words(flavour, ping, receiver) -> None:
    beat: Heartbeat = ping
    assert ping.flavour is flavour
    assert beat.every == MINUTE
    beat.start("guardian 1.0 on db1")
    beat.beat(ok=True, text="all is well")
    beat.beat(ok=False, text="the watch of main hangs & more")
    beat.close()
    assert (
        told(receiver)
        == {
            Flavour.HEALTHCHECKS: [
                f"POST /ping/{UUID}/start guardian 1.0 on db1",
                f"POST /ping/{UUID} all is well",
                f"POST /ping/{UUID}/fail the watch of main hangs & more",
            ],
            Flavour.BETTERSTACK: [
                "POST /api/v1/heartbeat/canary-token all is well",
                "POST /api/v1/heartbeat/canary-token/fail the watch of main hangs & more",
            ],
            Flavour.UPTIME_KUMA: [
                "GET /api/push/canary-token?status=up&msg=all+is+well&ping=",
                "GET /api/push/canary-token?status=down&msg=the+watch+of+main+hangs+%26+more&ping=",
            ],
            Flavour.PLAIN: ["GET /alive?key=canary-token"],
        }[flavour]
    )


def test_without_words_and_with_odd_ones(ping, receiver) -> None:
    ping.beat(ok=True)
    ping.beat(ok=True, text="x" * 100_000)
    ping.beat(ok=True, text="a\r\nb\x00\ud800 \u202e")
    assert len(told(receiver)) == 3
    assert max(map(len, told(receiver))) < 11_000


@pytest.mark.parametrize(
    ("url", "flavour"),
    [
        (f"https://hc-ping.com/{UUID}", "healthchecks"),
        ("https://hc-ping.com/pingkey/database-backup", "healthchecks"),
        (f"https://hc.mina.example/ping/{UUID}", "healthchecks"),
        (f"https://hc.example/{UUID.upper()}/", "healthchecks"),
        ("https://uptime.betterstack.com/api/v1/heartbeat/x", "betterstack"),
        ("https://uptime.betteruptime.com/api/v1/heartbeat/x", "betterstack"),
        ("https://kuma.mina.example/status/api/push/abc?status=up", "uptime-kuma"),
        ("https://cronitor.link/p/key/job", "plain"),
        ("https://h.example", "plain"),
    ],
)
def test_an_address_tells_its_flavour(url: str, flavour: str) -> None:
    assert flavour_of(url) == flavour
    assert Ping("x", url, MINUTE).flavour == flavour
    assert Ping("x", url, MINUTE, flavour=Flavour.PLAIN).flavour == "plain"


@pytest.mark.parametrize("manner", UNREACHABLE_MANNERS)
def test_what_goes_wrong_is_told(ping, receiver, manner: Manner) -> None:
    receiver.manner = manner
    impatient = Ping("heartbeat 1 (ping)", ping._url, MINUTE, seconds=0.5)
    with pytest.raises(DeliveryError, match=r"^heartbeat 1 \(ping\)") as caught:
        impatient.beat(ok=True)
    assert not caught.value.permanent


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_is_told(ping, receiver, status: int) -> None:
    receiver.decide = lambda _: Answer(status)
    with pytest.raises(DeliveryError, match=str(status)):
        ping.beat(ok=True)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Flavour.HEALTHCHECKS, b"OK (not found)"),
        (Flavour.HEALTHCHECKS, b"OK (rate limited)"),
        (Flavour.UPTIME_KUMA, b'{"ok": false}'),
        (Flavour.UPTIME_KUMA, b"welcome"),
    ],
)
def test_a_polite_answer_that_means_no(kind: Flavour, body: bytes) -> None:
    with WebReceiver(lambda _: Answer(200, body)) as receiver:
        ping = Ping("x", receiver.url + PATHS[kind][1], MINUTE)
        with pytest.raises(DeliveryError, match="not as that service does"):
            ping.beat(ok=True)


def test_a_heartbeat_over_tls(certificate: Certificate) -> None:
    with WebReceiver(lambda _: Answer(200), tls=certificate.serving()) as receiver:
        Ping("x", f"{receiver.url}/a", MINUTE, tls=certificate.trusted()).beat(ok=True)
        with pytest.raises(DeliveryError, match="TLS fails: self-signed certificate"):
            Ping("x", f"{receiver.url}/a", MINUTE).beat(ok=True)
        assert len(receiver.requests) == 1


# --- Sentry -------------------------------------------------------------------------------------


@pytest.fixture
def relay() -> Iterator[tuple[SentryRelay, str]]:
    vendor = SentryRelay()
    with WebReceiver(vendor) as receiver:
        yield vendor, receiver.url.replace("://", "://canarykey@") + "/7"
    assert vendor.problems == []


def test_the_daemons_own_monitor(relay) -> None:
    vendor, dsn = relay
    beat: Heartbeat = SentryHeartbeat(
        "heartbeat 2 (sentry-cron)", dsn, timedelta(seconds=90), environment="test"
    )
    beat.start("hello")
    beat.beat(ok=True, text="well")
    beat.beat(ok=False, text="not well")
    beat.close()
    first, second = vendor.documents
    assert [first["status"], second["status"]] == ["ok", "error"]
    assert first["check_in_id"] != second["check_in_id"]
    assert first["monitor_slug"] == "guardian"
    assert first["environment"] == "test"
    config = first["monitor_config"]
    assert config["schedule"] == {"type": "interval", "value": 2, "unit": "minute"}
    assert config["checkin_margin"] == 3


@pytest.mark.parametrize(
    ("timing", "schedule", "longest", "timezone"),
    [
        (
            JobTiming("0 2 * * *", "Europe/Berlin", timedelta(hours=2)),
            {"type": "crontab", "value": "0 2 * * *"},
            120,
            "Europe/Berlin",
        ),
        (JobTiming("@daily"), {"type": "crontab", "value": "0 0 * * *"}, 360, "UTC"),
        (
            JobTiming("every 6h"),
            {"type": "interval", "value": 360, "unit": "minute"},
            360,
            "UTC",
        ),
        (
            JobTiming("every 30s", longest=timedelta(seconds=1)),
            {"type": "interval", "value": 1, "unit": "minute"},
            1,
            "UTC",
        ),
    ],
)
def test_a_job_checks_in_when_it_begins_and_when_it_ends(
    relay, timing, schedule, longest, timezone
) -> None:
    vendor, dsn = relay
    jobs: JobMonitor = SentryJobs("heartbeat 2 (sentry-cron, jobs)", dsn, "guardian")
    begun = jobs.begin("backup main", timing)
    jobs.end("backup main", begun, ok=False, seconds=12.34567)
    jobs.close()
    first, last = vendor.documents
    assert (first["status"], last["status"]) == ("in_progress", "error")
    assert first["check_in_id"] == last["check_in_id"] == begun
    assert first["monitor_slug"] == last["monitor_slug"] == "guardian-backup-main"
    assert first["monitor_config"]["schedule"] == schedule
    assert first["monitor_config"]["max_runtime"] == longest
    assert first["monitor_config"]["timezone"] == timezone
    assert last["duration"] == 12.346


def test_two_jobs_never_share_a_monitor(relay) -> None:
    vendor, dsn = relay
    jobs = SentryJobs("x", dsn, "guardian")
    names = ["backup main/mina", "backup main_mina", "backup main.mina", "Backup main/mina"]
    names += ["backup a-b/c", "backup a/b-c", "backup a", "backup/a", "backup a b"]
    names += ["backup " + "x" * 60, "backup " + "x" * 61, "backup ä", "backup ö", "🙂", ""]
    for name in names:
        jobs.begin(name, JobTiming("@daily"))
    slugs = [document["monitor_slug"] for document in vendor.documents]
    assert slugs[0] == "guardian-backup-main-mina"
    assert len(set(slugs)) == len(names)


# --- secrets ------------------------------------------------------------------------------------


def test_no_secret_is_in_any_error_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []

    def echo(request: Request) -> Answer:
        return Answer(403, request.everything)

    with WebReceiver(echo) as receiver:
        dead = f"http://127.0.0.1:{closed_port()}"
        made: list[Heartbeat] = []
        for base in (receiver.url, dead):
            made += [Ping("x", base + path, MINUTE) for _, path in PATHS.values()]
            made.append(SentryHeartbeat("x", base.replace("://", "://canarykey@") + "/7", MINUTE))
        for beat in made:
            with pytest.raises(DeliveryError) as caught:
                beat.beat(ok=True, text="x")
            texts += [repr(beat), *traceback.format_exception(caught.value)]
    texts += [str(record.__dict__) for record in caplog.records]
    for secret in ("canary-token", "canarykey", UUID, UUID[:13]):
        assert [text for text in texts if secret in text] == []
