from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config.watching import VitalsConfig
from guardian.watch.advice import literal, mend, sentence
from guardian.watch.vitals import (
    BACKUP_VITALS,
    DATABASE_VITALS,
    HOST_VITALS,
    SERVER_VITALS,
    VITALS,
    Bounds,
    Reading,
    Severity,
    Unit,
    Unknown,
    assess,
    backup_age,
    disk,
    size_drop,
    worst,
)

DEFAULTS: Bounds = dict(VitalsConfig())
DAY = timedelta(days=1)
UNITS = {
    "connections": Unit.PERCENT,
    "idle_in_transaction": Unit.SECONDS,
    "query_age": Unit.SECONDS,
    "lock_wait": Unit.SECONDS,
    "transaction_id_age": Unit.COUNT,
    "multixact_age": Unit.COUNT,
    "prepared_transactions": Unit.SECONDS,
    "slot_retained_wal": Unit.BYTES,
    "replica_lag": Unit.SECONDS,
    "checksum_failures": Unit.COUNT,
    "archiver": Unit.SECONDS,
    "sequences": Unit.PERCENT,
    "invalid_indexes": Unit.COUNT,
    "backup_age": Unit.INTERVALS,
    "size_drop": Unit.PERCENT,
    "disk": Unit.PERCENT,
}


def only(name: str) -> Bounds:
    return {name: DEFAULTS[name]}


def test_the_names_are_those_of_the_config() -> None:
    assert set(VITALS) == set(VitalsConfig.model_fields) == set(UNITS)
    parts = (SERVER_VITALS, DATABASE_VITALS, BACKUP_VITALS, HOST_VITALS)
    assert sum(map(len, parts)) == len(VITALS) == len(set(VITALS))


GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "ok", "warning", "critical"),
    [
        ("connections", 79.9, 80, 95),
        ("idle_in_transaction", 299, 300, 1800),
        ("query_age", 899, 900, 3600),
        ("lock_wait", 59, 60, 300),
        ("transaction_id_age", 999_999_999, 1_000_000_000, 1_400_000_000),
        ("multixact_age", 999_999_999, 1_000_000_000, 1_400_000_000),
        ("prepared_transactions", 59, 60, 600),
        ("slot_retained_wal", GIB - 1, GIB, 5 * GIB),
        ("replica_lag", 299, 300, 1800),
        ("checksum_failures", 0, None, 1),
        ("archiver", 299, 300, 1800),
        ("sequences", 79, 80, 95),
        ("invalid_indexes", 0, 1, None),
        ("backup_age", 1.4, 1.5, 3.0),
        ("size_drop", 29, 30, 60),
        ("disk", 84, 85, 95),
    ],
)
def test_the_default_bounds_of_each(
    name: str, ok: float, warning: float | None, critical: float | None
) -> None:
    for value, severity in ((ok, "ok"), (warning, "warning"), (critical, "critical")):
        if value is None:
            continue
        (finding,) = assess([Reading(name, value, UNITS[name], "it", handle="it")], only(name))
        assert finding.severity == severity
        assert (finding.value, finding.unit) == (value, UNITS[name])
        if severity == "ok":
            assert finding.mend is None
            assert "bound" not in finding.text
        else:
            assert finding.mend
            assert f"the {severity} bound is " in finding.text
            assert finding.bound == value


def test_a_finding_says_number_bound_and_mend() -> None:
    reading = Reading(
        "idle_in_transaction", 723, Unit.SECONDS, "pid 42 (web in mina)", "application 'x'", "42"
    )
    (finding,) = assess([reading], only("idle_in_transaction"))
    assert finding.text == (
        "pid 42 (web in mina) has been idle in transaction for 12m 3s (application 'x'); "
        "the warning bound is 5m"
    )
    assert finding.bound == 300
    assert "SELECT pg_terminate_backend(42);" in (finding.mend or "")


def test_where_there_is_no_subject_the_detail_is_the_sentence() -> None:
    reading = Reading("slot_retained_wal", 0, Unit.BYTES, detail="there are no replication slots")
    (finding,) = assess([reading], only("slot_retained_wal"))
    assert (finding.severity, finding.text) == ("ok", "there are no replication slots")


def test_what_is_bad_in_itself_is_so_whatever_the_number() -> None:
    lost = Reading(
        "slot_retained_wal",
        0,
        Unit.BYTES,
        "slot s",
        "lost",
        "s",
        at_least=Severity.CRITICAL,
    )
    (finding,) = assess([lost], only("slot_retained_wal"))
    assert finding.severity is Severity.CRITICAL
    assert "pg_drop_replication_slot('s')" in (finding.mend or "")
    mild = Reading("disk", 99, Unit.PERCENT, "/", at_least=Severity.WARNING)
    assert assess([mild], only("disk"))[0].severity is Severity.CRITICAL


def test_what_nobody_read_is_unknown() -> None:
    findings = assess([], DEFAULTS)
    assert {finding.vital for finding in findings} == set(VITALS)
    assert {finding.severity for finding in findings} == {Severity.UNKNOWN}
    assert worst(findings) is Severity.UNKNOWN


def test_unknown_carries_its_reason_and_its_grant() -> None:
    unknown = Unknown("lock_wait", "me may not see it", "GRANT pg_monitor TO me;", "x")
    (finding,) = assess([unknown], only("lock_wait"))
    assert finding.severity is Severity.UNKNOWN
    assert finding.text == "lock wait of x: unknown, me may not see it"
    assert finding.mend == "GRANT pg_monitor TO me;"
    assert finding.value is None


@pytest.mark.parametrize("name", VITALS)
def test_no_number_is_not_fine(name: str) -> None:
    (finding,) = assess([Reading(name, math.nan, UNITS[name], "x")], only(name))
    assert finding.severity is Severity.UNKNOWN


@pytest.mark.parametrize("off", [None, (None, None)])
def test_a_vital_without_bounds_is_switched_off(off: tuple[None, None] | None) -> None:
    readings: list[Reading | Unknown] = [
        Reading("disk", 99, Unit.PERCENT, "/"),
        Unknown("disk", "why"),
    ]
    assert assess(readings, {"disk": off}) == ()
    assert assess(readings, {}) == ()


def test_one_bound_may_be_missing() -> None:
    reading = Reading("disk", 90, Unit.PERCENT, "/")
    assert assess([reading], {"disk": (85.0, None)})[0].severity is Severity.WARNING
    assert assess([reading], {"disk": (None, 85.0)})[0].severity is Severity.CRITICAL
    assert assess([reading], {"disk": (None, 95.0)})[0].bound == 95.0


def test_the_worst_comes_first() -> None:
    readings: list[Reading | Unknown] = [
        Reading("disk", 10, Unit.PERCENT, "/a"),
        Unknown("archiver", "why"),
        Reading("disk", 99, Unit.PERCENT, "/b"),
        Reading("sequences", 90, Unit.PERCENT, "s"),
    ]
    bounds = {name: DEFAULTS[name] for name in ("disk", "archiver", "sequences")}
    findings = assess(readings, bounds)
    assert [each.severity for each in findings] == ["critical", "warning", "unknown", "ok"]
    assert worst(findings) is Severity.CRITICAL
    assert worst([]) is Severity.OK


numbers = st.floats(allow_nan=True, allow_infinity=True)
bounds_of_any = st.none() | st.tuples(
    st.none() | st.floats(0, 1e12), st.none() | st.floats(0, 1e12)
)


@given(
    name=st.sampled_from(VITALS),
    value=numbers,
    pair=bounds_of_any,
    at_least=st.sampled_from(Severity),
    subject=st.none() | st.text(max_size=10),
)
def test_no_number_is_fine_that_is_not(
    name: str,
    value: float,
    pair: tuple[float | None, float | None] | None,
    at_least: Severity,
    subject: str | None,
) -> None:
    if pair is not None and None not in pair and pair[0] > pair[1]:  # type: ignore[operator]
        pair = (pair[1], pair[0])
    unit = Unit.COUNT if math.isinf(value) else UNITS[name]
    reading = Reading(name, value, unit, subject, at_least=at_least)
    if math.isinf(value):
        reading = Reading(name, 1e18, unit, subject, at_least=at_least)
    findings = assess([reading], {name: pair})
    if pair is None or pair == (None, None):
        assert findings == ()
        return
    (finding,) = findings
    assert finding.severity.rank >= at_least.rank or math.isnan(value)
    if math.isnan(value):
        assert finding.severity is Severity.UNKNOWN
    elif finding.severity is Severity.OK:
        assert all(bound is None or reading.value < bound for bound in pair)
    elif finding.severity is Severity.CRITICAL and at_least is not Severity.CRITICAL:
        assert pair[1] is not None
        assert reading.value >= pair[1]
    assert finding.text
    assert (finding.mend is None) == (finding.severity is Severity.OK or math.isnan(value))


# --- what the catalog and the host tell ---------------------------------------------------------


def reading_of(found: Reading | Unknown) -> Reading:
    assert isinstance(found, Reading)
    return found


def test_backup_age_counts_intervals() -> None:
    found = reading_of(backup_age("main/mina", last_good=2 * DAY, known_for=9 * DAY, interval=DAY))
    assert found.value == 2.0
    assert sentence(found) == (
        "the last good backup of main/mina is 2 intervals old (it is 2d old; one is due every 1d)"
    )
    assert "guardian backup now main/mina" in (mend(found) or "")


def test_a_database_that_never_had_a_backup_ages_from_when_we_knew_it() -> None:
    found = reading_of(backup_age("m/x", last_good=None, known_for=4 * DAY, interval=DAY))
    assert found.value == 4.0
    assert "no good backup in 4d" in found.detail
    assert assess([found], only("backup_age"))[0].severity is Severity.CRITICAL


@pytest.mark.parametrize("interval", [None, timedelta(0)])
def test_without_a_schedule_nobody_can_tell(interval: timedelta | None) -> None:
    found = backup_age("m/x", last_good=DAY, known_for=DAY, interval=interval)
    assert isinstance(found, Unknown)
    assert "1d old" in found.why


@pytest.mark.parametrize(
    ("now", "proven", "value"), [(100, 100, 0), (70, 100, 30), (0, 100, 100), (150, 100, 0)]
)
def test_size_drop(now: int, proven: int, value: float) -> None:
    found = reading_of(size_drop("m/x", dumped_bytes=now, proven_bytes=proven))
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize(("now", "proven"), [(None, 100), (100, None), (100, 0), (None, None)])
def test_size_drop_without_something_to_compare(now: int | None, proven: int | None) -> None:
    found = size_drop("m/x", dumped_bytes=now, proven_bytes=proven)
    assert isinstance(found, Unknown)
    assert found.mend


def test_disk_as_df_counts() -> None:
    found = reading_of(disk("/var", used_bytes=80, free_bytes=20))
    assert (found.value, found.at_least) == (80.0, Severity.OK)
    fits = reading_of(disk("/var", used_bytes=80, free_bytes=20, needed_bytes=20))
    assert fits.at_least is Severity.OK
    tight = reading_of(disk("/var", used_bytes=10, free_bytes=20, needed_bytes=21))
    assert assess([tight], only("disk"))[0].severity is Severity.CRITICAL
    assert "the next backup needs about 21 B" in tight.detail
    assert isinstance(disk("/var", used_bytes=0, free_bytes=0), Unknown)


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"), [("a", "'a'"), ("o'b", "'o''b'"), ("a\\b'", "E'a\\\\b'''"), ("", "''")]
)
def test_literals(text: str, expected: str) -> None:
    assert literal(text) == expected


@pytest.mark.parametrize(("name", "column"), [("transaction_id_age", 2), ("multixact_age", 3)])
def test_what_to_freeze_first_is_what_is_oldest_in_that_way(name: str, column: int) -> None:
    (found,) = assess([Reading(name, 2e9, Unit.COUNT, "database a")], {name: (1e9, None)})
    assert f"ORDER BY {column} DESC" in (found.mend or "")


def test_a_sequence_is_mended_with_its_column() -> None:
    reading = Reading(
        "sequences", 96, Unit.PERCENT, "public.s", handle="public.s", items=("public.t", "id")
    )
    assert (mend(reading) or "").startswith(
        "ALTER SEQUENCE public.s AS bigint; ALTER TABLE public.t ALTER COLUMN id TYPE bigint;"
    )
    lone = Reading("sequences", 96, Unit.PERCENT, "public.s", handle="public.s")
    assert "ALTER SEQUENCE public.s AS bigint NO MAXVALUE;" in (mend(lone) or "")


def test_invalid_indexes_are_rebuilt_and_leftovers_dropped() -> None:
    items = ("public.a", 'public."B_ccnew"', "public.c_ccold1", "public.d")
    words = mend(Reading("invalid_indexes", 4, Unit.COUNT, None, "x", items=items)) or ""
    assert "REINDEX INDEX CONCURRENTLY public.a;" in words
    assert 'DROP INDEX CONCURRENTLY public."B_ccnew";' in words
    assert "DROP INDEX CONCURRENTLY public.c_ccold1;" in words
    assert words.endswith("…")


def test_an_unknown_vital_is_still_a_sentence() -> None:
    reading = Reading("new_vital", 3, Unit.COUNT, "x")
    assert sentence(reading) == "new_vital of x: 3"
    assert mend(reading) is None
