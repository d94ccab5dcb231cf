"""What is in a message, and where it goes if its channel fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.escalation import MINUTE, P1, P2, START, Scene, failed, level, rules
from support.incidents import HOSTILE

from guardian.escalate.compose import test_message as a_test
from guardian.escalate.model import (
    TITLE_LIMIT,
    Fact,
    Message,
    MessageKind,
    Settlement,
    Standing,
    State,
)
from guardian.escalate.wording import headline

FULL = failed(
    impact="the last good backup is 26 hours old",
    evidence=(Fact("error", "disk full"),),
    tried=("three times",),
    checks=(Fact("disk", "100% full"),),
    since=START - MINUTE,
)


def only_alert(scene: Scene) -> Message:
    return scene.envelopes()[0].message


def test_an_alert_says_what_is_known_and_what_to_do():
    scene = Scene(rules(dashboard="https://guardian.example"))
    scene.sees(FULL)
    one = scene.only()
    assert only_alert(scene) == Message(
        kind=MessageKind.ALERT,
        severity=P1,
        title="Backup of main/mina failed: a disk is full",
        at=START,
        dedup_key=f"guardian-{one.id}",
        number=1,
        incident=one.id,
        incident_kind="backup.failed",
        state=State.FIRING,
        server="main",
        database="mina",
        since=START - MINUTE,
        occurrences=1,
        why="first to be called for P1",
        impact="the last good backup is 26 hours old",
        evidence=(Fact("error", "disk full"),),
        tried=("three times",),
        checks=(Fact("disk", "100% full"),),
        mend=("make room", f"Take it: guardian incidents ack {one.id}"),
        links=(("Incident", f"https://guardian.example/incidents/{one.id}"),),
        told=("on-call",),
    )


def test_the_end_says_since_when_until_when_and_nothing_that_is_over():
    scene = Scene()
    scene.sees(replace(FULL, key="probe.web:web", kind="probe.web"))
    scene.wait(10 * MINUTE)
    scene.sees()
    scene.wait(2 * MINUTE)
    last = scene.envelopes()[-1].message
    assert last.kind is MessageKind.RESOLVED
    assert last.state is State.RESOLVED
    assert (last.since, last.ended_at) == (START - MINUTE, START + 10 * MINUTE)
    assert last.why == "it has been gone for 2m"
    assert (last.impact, last.evidence, last.checks, last.mend) == ("", (), (), ())
    assert last.dedup_key == only_alert(scene).dedup_key
    assert last.number > only_alert(scene).number


def test_an_acknowledgement_says_who_has_it():
    scene = Scene()
    scene.sees(FULL)
    scene.acknowledge("anna")
    last = scene.envelopes()[-1].message
    assert last.why == "anna has it until 06:00 UTC"
    scene.acknowledge("bob", lasting=30 * 60 * MINUTE)
    assert scene.envelopes()[-1].message.why == "bob has it until 2026-11-24 08:00 UTC"


@pytest.mark.parametrize("text", ["x" * 500, HOSTILE * 9, "two\nlines\x00\x1b[31m", "é" * 130])
def test_a_title_is_one_short_line_whatever_a_sensor_says(text):
    scene = Scene()
    scene.sees(level(title=text))
    title = only_alert(scene).title
    assert 0 < len(title) <= TITLE_LIMIT
    assert len(headline(only_alert(scene))) <= TITLE_LIMIT
    assert "\n" not in title
    assert "\x00" not in title


def test_where_a_message_goes_if_its_channel_fails():
    """First the person's other channels, then the rungs behind, then those before."""
    scene = Scene()
    scene.sees(level())
    scene.wait(30 * MINUTE)
    others = {(one.rung, one.channel): one.others for one in scene.envelopes()}
    assert others == {
        ("on-call", "pager"): ("chat", "rung:lead", "rung:cto"),
        ("on-call", "chat"): ("pager", "rung:lead", "rung:cto"),
        ("lead", "lead-mail"): ("chat", "rung:cto", "rung:on-call"),
        ("lead", "chat"): ("lead-mail", "rung:cto", "rung:on-call"),
    }


def test_who_is_not_on_the_ladder_is_the_last_resort():
    scene = Scene()
    scene.sees(level(severity=P2))
    assert scene.envelopes()[0].others == ("chat", "rung:lead", "rung:cto")


def test_one_message_a_channel_and_step():
    """On-call and lead share the chat."""
    scene = Scene()
    scene.sees(failed(2))
    assert [one.channel for one in scene.envelopes()] == ["pager", "chat", "lead-mail"]


def test_who_had_an_alert_handed_over_hears_of_the_end_too():
    scene = Scene()
    scene.delivers = False
    scene.sees(failed())
    (pager, chat) = scene.catalog.envelopes(scene.only().id)
    handed = replace(pager, id=0, channel="cto-mail", rung="cto", others=())
    given = replace(pager, standing=Standing.HANDED_OVER)
    scene.catalog.settle(Settlement((given,), follow_ups=(handed,)))
    scene.told()
    scene.acknowledge()
    assert scene.told() == [
        "02:00 acknowledged on-call: pager, chat",
        "02:00 acknowledged cto: cto-mail",
    ]
    scene.sees()
    assert scene.told() == ["02:00 resolved on-call: pager, chat", "02:00 resolved cto: cto-mail"]
    assert chat.channel == "chat"


def test_what_was_handed_over_in_an_earlier_opening_is_over():
    scene = Scene()
    scene.sees(failed())
    scene.wait(30 * MINUTE)
    scene.sees()
    scene.sees(failed(occurrence="again"))
    scene.told()
    scene.sees()
    assert scene.told() == ["02:30 resolved on-call: pager, chat"]


def test_a_channel_that_went_out_of_the_config_is_not_written_to():
    scene = Scene()
    scene.sees(failed())
    scene.escalator.reconfigure(rules(people={"on-call": ("new",), "lead": ("lead-mail",)}))
    scene.told()
    scene.sees()
    assert scene.told() == ["02:00 resolved on-call: new"]


def test_a_test_says_that_it_is_one():
    assert a_test(START, "anna").kind is MessageKind.TEST
    assert headline(a_test(START, "anna")) == "[test] A test of guardian's alerts: nothing is wrong"
