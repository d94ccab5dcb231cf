"""Texts from outside stay texts, whatever the markup."""

import html.parser
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.messages import HOSTILE, alert, bare, endless, every_kind, hostile, storm

from guardian.escalate.markup import DISCORD, PLAIN, TELEGRAM, Markup, body, letter
from guardian.escalate.model import Fact, MessageKind
from guardian.escalate.wording import ROOMY, clean, in_one_line, utf16_length

MARKUPS = {"plain": PLAIN, "discord": DISCORD, "telegram": TELEGRAM}


class Reader(html.parser.HTMLParser):
    """Tags in order, and the text between them; a tag that is not closed is an error."""

    void = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_plain_text_reads_as_it_is() -> None:
    assert body(alert(), PLAIN, 10_000) == (
        "Where: main/mina\n"
        "Since: 2026-11-23 02:00:03 UTC (12m)\n"
        "Happened: 2 times\n"
        "Why you hear of it: first to be told\n"
        "Told: on-call\n"
        "Incident: k3f9w2ap\n"
        "\n"
        "What it means\n"
        "The last proven backup is 26h old; a restore would lose what came after it.\n"
        "\n"
        "Evidence\n"
        "cause: disk_full\n"
        "store local: No space left on device\n"
        "\n"
        "Checked\n"
        "disk of /var/backups: 97% full\n"
        "last log lines:\n"
        "    pg_dump: dumping table users\n"
        "    pg_dump: error: no space <left>\n"
        "\n"
        "Tried already\n"
        "tried 3 times within 10m\n"
        "\n"
        "What to do\n"
        "• guardian backup prune\n"
        "• guardian backup now main/mina\n"
        "\n"
        "Links\n"
        "dashboard: https://guardian.mina.example/incidents/k3f9w2ap?a=1&b=(2)"
    )


@pytest.mark.parametrize("markup", MARKUPS.values(), ids=MARKUPS)
@pytest.mark.parametrize("limit", [0, 1, 100, 1000, 4096, 100_000])
@pytest.mark.parametrize("make", [alert, hostile, endless, storm])
def test_a_body_fits(markup: Markup, limit, make) -> None:
    text = body(make(), markup, limit, utf16_length)
    assert utf16_length(text) <= limit
    if limit >= 1000:
        assert text


def test_a_storm_of_a_hundred_fits_into_a_chats_message_with_nobody_left_out() -> None:
    for markup in MARKUPS.values():
        text = body(storm(100), markup, 4096, utf16_length)
        assert [index for index in range(100) if f"main/db{index}" not in text] == []


@pytest.mark.parametrize("message", [*every_kind(), hostile(), endless()], ids=lambda m: m.kind)
def test_telegrams_html_has_its_tags_and_no_others(message) -> None:
    read = Reader(body(message, TELEGRAM, 4096))
    assert {tag for tag, _ in read.tags} <= {"b", "a", "pre"}
    assert all(set(attributes) <= {"href"} for _, attributes in read.tags)


def test_telegrams_html_says_what_was_said() -> None:
    read = Reader(body(hostile(), TELEGRAM, 100_000))
    assert in_one_line(HOSTILE) in read.text
    (address,) = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert address == 'https://h.example/?q="><script>alert(1)</script>|x)%20(y'


def unescaped(text: str) -> str:
    return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text)


def test_markdown_says_what_was_said() -> None:
    text = body(bare(MessageKind.ALERT, impact=HOSTILE), DISCORD, 100_000)
    assert unescaped(text) == f"**What it means**\n{in_one_line(HOSTILE)}"


def test_nothing_is_bold_a_link_or_a_mention_that_we_did_not_make_so() -> None:
    text = body(bare(MessageKind.ALERT, impact=HOSTILE), DISCORD, 100_000).partition("\n")[2]
    bare_marks = re.sub(r"\\[^0-9A-Za-z\s]", "", text)
    assert not set(bare_marks) & set("*_~`|<>[]()#:@")


def test_no_text_ends_a_fence() -> None:
    text = body(
        bare(MessageKind.ALERT, checks=(Fact("log", "a\n```\n@everyone ````"),)), DISCORD, 999
    )
    assert text.count("```") == 2
    assert text.startswith("**Checked**\n**log**:\n```\na\n")
    assert text.endswith("\n```")


def test_a_markdown_link_ends_where_it_ends() -> None:
    text = body(bare(MessageKind.ALERT, links=(("a](b", "https://h/(x)<y>"),)), DISCORD, 999)
    assert text == "**Links**\n[a\\]\\(b](https://h/%28x%29%3Cy%3E)"


@pytest.mark.parametrize("message", [*every_kind(), hostile(), endless()], ids=lambda m: m.kind)
def test_a_letter_loads_nothing_and_runs_nothing(message) -> None:
    read = Reader(letter(message, ROOMY))
    allowed = {"html", "head", "meta", "title", "body", "h1", "h2", "div", "b", "pre", "a"}
    assert {tag for tag, _ in read.tags} <= allowed
    for tag, attributes in read.tags:
        assert set(attributes) <= {"style", "lang", "charset", "href"}
        assert "url(" not in (attributes.get("style") or "")
        if tag == "a":
            assert (attributes["href"] or "").startswith(("https://", "http://"))


def test_a_letter_says_what_was_said() -> None:
    read = Reader(letter(alert(), ROOMY))
    for text in ("[P1] Backup of main/mina failed", "97% full", "no space <left>", "prune"):
        assert text in read.text
    assert in_one_line(HOSTILE) in Reader(letter(hostile(), ROOMY)).text


@given(st.text(st.characters(), max_size=80))
@example("0 ")
@example("a \n b \x85 ")
def test_any_text_survives_every_markup(text) -> None:
    message = bare(MessageKind.ALERT, impact=text, checks=(Fact("log", f"a\n{text}\nb"),))
    Reader(letter(message, ROOMY))
    read = Reader(body(message, TELEGRAM, 100_000))
    assert in_one_line(text) in read.text
    assert body(message, DISCORD, 100_000).count("```") == 2
    assert clean(text) in body(message, PLAIN, 100_000).replace("\n    ", "\n")
