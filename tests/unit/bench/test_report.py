from __future__ import annotations

import dataclasses
from xml.etree import ElementTree as ET

import pytest
from support.benchmarks import results

from bench import report
from bench.chart import LEFT, WIDTH, draw
from bench.results import Contest, Results, Row

SVG = "{http://www.w3.org/2000/svg}"
WATCH = {
    "guardian": {"elapsed_ms": 1.26, "used_ms": 0.5, "processor": 0.0012, "memory_bytes": 1 << 20},
    "storm": {"elapsed_ms": 9.0, "used_ms": 4.0, "processor": 0.0, "memory_bytes": 0},
    "catalog_bytes": 4096,
}


def line_of(text: str, name: str) -> list[str]:
    """The words of a row's line, after its name."""
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split("  ")


def test_the_terminal_shows_medians_spread_and_what_was_seen():
    text = report.as_text(results())
    words = [word.strip() for word in line_of(text, "ours ") if word.strip()]
    assert words == ["3.50", "3.00 .. 4.00", "1.75", "·", "·", "·", "100 B", "no", "yes"]
    assert [word.strip() for word in line_of(text, "leaky") if word.strip()][-2:] == ["yes", "no"]
    assert "not installed: restic" in " ".join(line_of(text, "absent"))
    assert line_of(text, "back ")[-1].strip() == "equal"
    assert line_of(text, "wrong")[-1].strip() == "DIFFERS"


def test_columns_stand_beneath_one_another():
    lines = report.as_text(results()).splitlines()
    first = next(number for number, line in enumerate(lines) if "seconds" in line)
    assert len({len(line) for line in lines[first : first + 4]}) == 1


def test_markdown_has_a_cell_for_each_heading_and_marks_ours():
    text = report.as_markdown(results().sizes[0].contests[0])
    lines = text.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert any(line.startswith("| **ours** | 3.50 |") for line in lines)


def test_markdown_takes_names_literally():
    contest = Contest("backup", (Row("a | b > /dev/null *x*", seconds=(1.0,)),))
    last = report.as_markdown(contest).splitlines()[-1]
    assert last.startswith(r"| a \| b \> /dev/null \*x\* | 1.00 |")


def test_the_watch_is_told_where_it_was_measured():
    assert "1.3 ms" in report.blocks(results(watch=WATCH))["watch"]
    assert "0.12%" in report.blocks(results(watch=WATCH))["watch"]
    assert report.blocks(results())["watch"] == "Not part of this run."
    assert "0.12%" in report.as_text(results(watch=WATCH))


def test_what_people_wait_for_is_told_with_its_bound():
    page = {"name": "overview", "value": 41.26, "unit": "ms", "bound": 100.0}
    found = dataclasses.replace(results(), service=[page, {**page, "name": "x", "bound": None}])
    lines = report.blocks(found)["service"].splitlines()
    assert lines[2:] == ["| overview | 41.3 ms | 100 ms |", "| x | 41.3 ms | · |"]
    assert "overview  41.3 ms  100 ms" in report.as_text(found)


def test_marked_blocks_are_replaced_and_the_rest_is_kept():
    text = (
        "before\n<!-- bench: about -->\nold\n<!-- end -->\nbetween\n"
        "<!-- bench: tables --><!-- end -->"
    )
    once = report.put_in(text, {"about": "new", "tables": "rows"})
    assert once == (
        "before\n<!-- bench: about -->\n\nnew\n\n<!-- end -->\nbetween\n"
        "<!-- bench: tables -->\n\nrows\n\n<!-- end -->"
    )
    assert report.put_in(once, {"about": "new", "tables": "rows"}) == once


def test_a_mark_that_nothing_is_known_for_is_an_error():
    with pytest.raises(ValueError, match="'abuot'"):
        report.put_in("<!-- bench: abuot --><!-- end -->", {"about": ""})


def test_the_readme_has_a_line_for_each_way_that_was_measured():
    lines = report.blocks(results())["readme"].splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert [line.split(" | ")[0] for line in table[2:]] == ["| the floor", "| **ours**", "| leaky"]
    assert table[3] == "| **ours** | 3.50 | 1.75 | · | 100 B | no | yes |"


def test_only_a_large_database_is_for_the_readme():
    assert report.README in report.documents(results())
    assert report.README not in report.documents(results(database_bytes=1 << 20))


def test_the_documents_say_what_the_kept_results_say():
    """Refresh them: python -m bench.report docs/benchmarks.json --update-docs."""
    kept = Results.from_json(report.KEPT.read_text())
    stale = [path.name for path, text in report.documents(kept).items() if path.read_text() != text]
    assert stale == []


def test_the_chart_has_a_bar_for_each_row_with_figures_to_scale():
    contest = results().sizes[0].contests[0]
    root = ET.fromstring(draw(contest, "a & b", "<small>"))
    bars = root.findall(f"{SVG}rect")
    assert [bar.get("class") for bar in bars] == ["theirs", "ours", "theirs"]
    floor, ours, leaky = (float(bar.get("width", "")) for bar in bars)
    assert ours / floor == pytest.approx(3.5 / 2.0, rel=0.01)
    assert leaky / floor == pytest.approx(1.5 / 2.0, rel=0.01)
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert {"a & b", "<small>", "the floor", "1.5 s, plaintext", "3.5 s"} <= set(words)
    assert "absent" not in words


@pytest.mark.parametrize("most", [0.03, 0.9, 1.0, 17.3, 99.9, 3600.0])
def test_the_chart_stays_within_its_edges(most):
    contest = Contest("backup", (Row("a", seconds=(most / 2, most, most)),))
    root = ET.fromstring(draw(contest, "t", "s"))
    lines = [line for line in root.findall(f"{SVG}path") if line.get("class") == "line"]
    assert 2 <= len(lines) <= 14
    (bar,) = root.findall(f"{SVG}rect")
    assert LEFT + float(bar.get("width", "")) < WIDTH - 60
