"""docs/configuration.md is the generated one, and has every key."""

from __future__ import annotations

import re
from pathlib import Path

from guardian.config.models import Config
from guardian.config.reference import reference
from guardian.config.shape import keys_of, sections_in

DOCS = Path(__file__).parents[3] / "docs"


def rows() -> list[tuple[str, str, str, str]]:
    """Heading, key, default, text."""
    found, heading = [], ""
    for line in reference().splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif row := re.fullmatch(r"\| `(\w+)` \| (.*?) \| (.*) \|", line):
            found.append((heading, row[1], row[2], row[3]))
    return found


def test_the_committed_reference_is_the_generated_one() -> None:
    assert (DOCS / "configuration.md").read_text() == reference(), (
        "run: python -m guardian.config.reference > docs/configuration.md"
    )


def test_every_key_of_every_section_is_in_it() -> None:
    told = [key for _, key, _, _ in rows()]
    for section in sections_in(Config):
        for key in keys_of(section):
            assert key in told or key == "kind", f"{section.__name__}.{key}"
    assert all(text for *_, text in rows())


def test_it_shows_what_a_person_would_write() -> None:
    defaults = {(heading, key): default for heading, key, default, _ in rows()}
    assert defaults["`servers.*`", "dsn"] == "**needed**"
    assert defaults["`servers.*.backup`", "timeout"] == "`6h`"
    assert defaults["`stores.*`, `kind: s3`", "part_size"] == "`8MiB`"
    assert defaults["`escalation`", "remind_every"] == "`{P0: 15m, P1: 1h}`"
    assert defaults["`escalation`", "self_test"] == "none"
    assert defaults["`servers.*.vitals`", "connections"] == "`[80%, 95%]`"
    assert not [key for key, default in defaults.items() if "object at" in default]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", reference()):
        assert (DOCS / target).exists(), target
