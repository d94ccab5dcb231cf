"""Who may come in: hosts, tokens, names, paths, and how guessing is held up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.web.access import Gate, Throttle, host_name, person_name, safe_path


class Watch:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def gate(token: str | None = None, hosts=()) -> Gate:
    return Gate(token, Watch(), hosts)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8765", "127.0.0.1:8765", "[::1]:8765", "x.localhost", "127.9.9.9"],
)
def test_loopback_is_always_answered(host):
    assert gate().is_known_host(host)
    assert gate("t", ["guardian.example"]).is_known_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "10.0.0.5",
        "localhost.evil.example",
        "",
        "127.0.0.1.evil.example",
    ],
)
def test_without_a_token_nobody_else_is(host):
    """A page of evil.example that resolves to 127.0.0.1 must not read along."""
    assert not gate().is_known_host(host)


def test_with_a_token_other_names_are_safe_unless_hosts_are_given():
    assert gate("t").is_known_host("guardian.example")
    named = gate("t", ["Guardian.example"])
    assert named.is_known_host("guardian.EXAMPLE.:443")
    assert named.is_known_host("10.1.2.3:8765")
    assert not named.is_known_host("evil.example")


@pytest.mark.parametrize(
    "host", ["a b", "x:y:z", "a/b", "<script>", "exa\nmple", "a:80:90", "[", "ü.example", "a@b"]
)
def test_what_is_no_host_is_refused_everywhere(host):
    assert not gate("t").is_known_host(host)


def test_hosts_lose_port_brackets_and_case():
    assert host_name("[2001:DB8::1]:80") == "2001:db8::1"
    assert host_name("EXAMPLE.com.") == "example.com"


def test_only_the_token_is_the_token():
    assert gate("sesame").is_token("sesame")
    assert not gate("sesame").is_token("sesam")
    assert not gate("sesame").is_token("")
    assert not gate().is_token("")
    assert not gate("sesame").is_token("séßame")


def test_cookies_outlive_a_restart_but_not_the_token():
    assert gate("a").cookie_key == gate("a").cookie_key != gate("b").cookie_key
    assert gate().cookie_key != gate().cookie_key
    assert gate("a").cookie_key != b"a"


def test_who_guesses_is_not_heard_for_a_while():
    watch = Watch()
    throttle = Throttle(watch)
    for _ in range(4):
        throttle.note("10.0.0.1")
    assert throttle.wait("10.0.0.1") == 0
    throttle.note("10.0.0.1")
    assert throttle.wait("10.0.0.1") == 60
    assert throttle.wait("10.0.0.2") == 0
    watch.seconds = 59.0
    assert throttle.wait("10.0.0.1") == 1
    watch.seconds = 61.0
    assert throttle.wait("10.0.0.1") == 0


def test_guessing_from_everywhere_at_once_is_held_up_too():
    watch = Watch()
    throttle = Throttle(watch)
    for number in range(100):
        throttle.note(f"10.0.0.{number}")
    assert throttle.wait("192.0.2.1") > 0


def test_what_is_remembered_of_guessers_has_an_end():
    watch = Watch()
    throttle = Throttle(watch)
    for number in range(25_000):
        throttle.note(str(number))
    assert len(throttle._wrong) <= 10_000


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/", "/"),
        ("/backups?show=failed&page=2", "/backups?show=failed&page=2"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
        ("/\t/evil.example", "/"),
        ("/\n//evil", "/"),
    ],
)
def test_a_login_leads_to_our_own_pages_only(given, kept):
    assert safe_path(given) == kept


@given(st.text())
def test_a_name_is_one_short_printable_line(text):
    name = person_name(text)
    assert name == name.strip()
    assert len(name) <= 60
    assert all(c.isprintable() for c in name)
