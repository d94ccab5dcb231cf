"""A run of the benchmark that never was, with figures small enough to reckon by head."""

from __future__ import annotations

from typing import Any

from bench.results import Contest, Results, Row, Size

FLOOR = Row("the floor", seconds=(2.0, 1.0, 9.0), cpu=(0.5, 0.6, 0.7), peak_bytes=1 << 20)
OURS = Row("ours", ours=True, seconds=(3.0, 4.0), stored_bytes=100, plaintext="", stock="")
LEAKY = Row("leaky", seconds=(1.5,), plaintext="tmp/dump.sql", stock="no stock tool opens it")
ABSENT = Row("absent", failure="not installed: restic")
RESTORED = Row("back", seconds=(5.0,), equal=True)
WRONG = Row("wrong", seconds=(6.0,), equal=False)


def results(*, database_bytes: int = 3 << 30, watch: dict[str, Any] | None = None) -> Results:
    backup = Contest("backup", (FLOOR, OURS, LEAKY, ABSENT))
    restore = Contest("restore", (RESTORED, WRONG))
    return Results(
        made_at="2026-11-27T20:00:00+00:00",
        command="python -m bench --sizes 3",
        machine={"cores": "2"},
        versions={"PostgreSQL": "15.9"},
        sizes=(Size("3", database_bytes, 3, (backup, restore)),),
        watch=watch,
    )
