"""Questions can be asked on connections of any encoding."""

from __future__ import annotations

from importlib.resources import files

from guardian.adapters import postgres


def test_sql_files_are_plain_ascii() -> None:
    scripts = [file for file in files(postgres).iterdir() if file.name.endswith(".sql")]
    assert len(scripts) > 5
    for file in scripts:
        file.read_text(encoding="ascii")
