"""Channels and heartbeats: what is wrong with them is said before anything is sent."""

import pytest

MAIL = "kind: email, host: mx.example, from: g@mina.example, to: [lead@mina.example]"

MISTAKES = [
    ("kind: slack, bot_token: x", "channel is missing"),
    ("kind: slack, bot_token: x, channel: c, webhook_url: 'https://h/x'", "give either"),
    ("kind: pagerduty, routing_key: k, region: mars", "write us or eu"),
    (f"{MAIL}, username: u", "belong together"),
    (f"{MAIL}, password: canary", "belong together"),
    (f"{MAIL}, username: u, password: canary, starttls: false", "in clear text"),
    ("kind: email, host: h, from: nobody, to: [a@b]", "'nobody' is not a mail address"),
    ("kind: email, host: h, from: a@b, to: ['A <a@b>']", "'A <a@b>' is not a mail address"),
    (r"kind: email, host: h, from: a@b, to: ['a@b', 'c@d,e@f']", "is not a mail address"),
    ('kind: email, host: h, from: "a@b\\nBcc: x@y", to: [a@b]', "is not a mail address"),
    ("kind: email, host: h, from: a@b, to: [a..b@c.d]", "'a..b@c.d' is not a mail address"),
    ("kind: email, host: h, from: a@b, to: [.a@b.c]", "is not a mail address"),
    ("kind: email, host: h, from: a@b, to: [a.@b.c]", "is not a mail address"),
    ("kind: email, host: h, from: a@b, to: [a@b..c]", "is not a mail address"),
    ("kind: email, host: h, from: a@.b, to: [a@b]", "'a@.b' is not a mail address"),
    ("kind: email, host: h, from: a@b, to: [a@b.]", "is not a mail address"),
    ("kind: email, host: h, from: a@b, to: []", "at least one"),
    ("kind: webhook, url: 'ftp://canary'", "a web address is needed"),
    ("kind: webhook, url: 'https://h/', headers: {'X Y': z}", "not the name of an HTTP header"),
    ('kind: webhook, url: "https://h/", headers: {X: "canary\\r\\nEvil: 1"}', "one line of ASCII"),
    ("kind: webhook, url: 'https://h/', headers: {X: canäry}", "one line of ASCII"),
    ("kind: telegram, bot_token: canary, chat: family", "write its number"),
    ("kind: telegram, bot_token: canary, chat: 1, topic: 0", "at least 1"),
    ("kind: discord", "webhook_url: is missing"),
    ("kind: teams, webhook_url: canary", "a web address is needed"),
]


@pytest.mark.parametrize(("section", "words"), MISTAKES)
def test_a_mistake_in_a_channel_is_told(problems, section, words) -> None:
    (problem,) = problems(f"escalation: {{channels: {{c: {{{section}}}}}}}\n")
    assert problem.startswith("guardian.yaml:7:")
    assert "escalation.channels.c" in problem
    assert words in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("kind: sentry-cron, dsn: 'https://k@s.example/1', every: 30s", "at least 1 minute"),
        ("kind: sentry-cron, dsn: 'https://k@s.example/1', monitor: My Job", "monitor's slug"),
        ("kind: ping, url: 'https://h/canary', flavour: sweet", "uptime-kuma"),
        ("kind: ping, url: 'https://h/canary', every: 0s", "above zero"),
    ],
)
def test_a_mistake_in_a_heartbeat_is_told(problems, section, words) -> None:
    (problem,) = problems(f"heartbeat: [{{{section}}}]\n")
    assert "heartbeat[0]" in problem
    assert words in problem
    assert "canary" not in problem


def test_a_password_may_go_in_clear_text_to_this_host_alone(load) -> None:
    for host in ("localhost", "127.0.0.1", "::1", "[::1]"):
        section = f"kind: email, host: '{host}', from: a@b, to: c@d, starttls: false"
        config = load(f"escalation: {{channels: {{c: {{{section}, username: u, password: p}}}}}}\n")
        assert config.escalation.channels["c"].to == ["c@d"]


def test_a_chats_number_needs_no_quotes(load) -> None:
    section = "kind: telegram, bot_token: '1:x', chat: -1001234567890"
    config = load(f"escalation: {{channels: {{c: {{{section}}}}}}}\n")
    assert config.escalation.channels["c"].chat == "-1001234567890"
