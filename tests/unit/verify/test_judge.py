"""The verdict: never proven when anything is wrong, never damaged where a caveat is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.model import (
    CheckOutcome,
    Difference,
    Fingerprint,
    LargeObjects,
    ProofLevel,
    ProofResult,
    TableFingerprint,
)
from guardian.verify.judge import Evidence, judge

EMPTY = Fingerprint(ProofLevel.CONTENT, 1, (), {}, (), LargeObjects(0, "0" * 32))
FULL = replace(
    EMPTY,
    tables=(TableFingerprint("public", "users", 3, "a" * 32),),
    objects={"table": ("public.users",), "extension": ("plpgsql",)},
)
NONE = replace(EMPTY, level=ProofLevel.NONE)
GOOD = Evidence(expected=FULL, found=FULL, differences=())
LOST = Difference("table public.users", "3 rows", "2 rows")
DIFFERS = "differs: table public.users (3 rows expected, 2 rows found)"
SHORT = CheckOutcome("users survive", passed=False, found="f")
FINE = CheckOutcome("fine", passed=True, found="t")
CAVEAT = "locale de_DE.UTF-8 is not on this host"


def test_no_difference_is_proven() -> None:
    verdict = judge(replace(GOOD, checks=(FINE,), caveats=(CAVEAT,)))
    assert (verdict.result, verdict.reason) == (ProofResult.PROVEN, None)


def test_an_empty_database_that_is_said_to_be_empty_is_proven() -> None:
    verdict = judge(Evidence(expected=EMPTY, found=EMPTY, differences=()))
    assert verdict.result is ProofResult.PROVEN


@pytest.mark.parametrize(
    ("change", "result", "reason"),
    [
        (
            {"stored_damage": "database.dump.zst.gpg has another SHA-256"},
            ProofResult.UNRESTORABLE,
            "database.dump.zst.gpg has another SHA-256",
        ),
        (
            {"damage": "pg_restore: error: a\n  LINE 1: b"},
            ProofResult.UNRESTORABLE,
            "pg_restore: error: a LINE 1: b",
        ),
        (
            {"damage": "pg_restore: error", "caveats": (CAVEAT,)},
            ProofResult.INCONCLUSIVE,
            f"pg_restore: error; but this may be the cause: {CAVEAT}",
        ),
        (
            {"damage": "pg_restore: error", "obstacle": "no hstore"},
            ProofResult.INCONCLUSIVE,
            "pg_restore: error; but this may be the cause: no hstore",
        ),
        ({"obstacle": "no private key"}, ProofResult.INCONCLUSIVE, "no private key"),
        (
            {"differences": (LOST,)},
            ProofResult.MISMATCH,
            DIFFERS,
        ),
        (
            {"differences": (LOST,), "obstacle": "amcheck is not installed"},
            ProofResult.MISMATCH,
            DIFFERS,
        ),
        (
            {"checks": (SHORT,), "obstacle": "it took too long"},
            ProofResult.INCONCLUSIVE,
            "it took too long",
        ),
        (
            {"differences": (LOST,), "caveats": (CAVEAT,)},
            ProofResult.INCONCLUSIVE,
            f"{DIFFERS}; but this may be the cause: {CAVEAT}",
        ),
        (
            {"checks": (FINE, SHORT)},
            ProofResult.MISMATCH,
            "check fell short: 'users survive'",
        ),
        (
            {"checks": (SHORT,), "caveats": (CAVEAT,)},
            ProofResult.INCONCLUSIVE,
            f"check fell short: 'users survive'; but this may be the cause: {CAVEAT}",
        ),
        (
            {"expected": NONE},
            ProofResult.INCONCLUSIVE,
            "restored without error, but without a fingerprint (backup.proof: none, or it failed)",
        ),
        (
            {"expected": None, "found": None, "differences": None},
            ProofResult.INCONCLUSIVE,
            "restored without error, but without a fingerprint (backup.proof: none, or it failed)",
        ),
        (
            {"differences": None},
            ProofResult.INCONCLUSIVE,
            "restored without error, but it was not compared with its fingerprint",
        ),
        (
            {"found": None},
            ProofResult.INCONCLUSIVE,
            "restored without error, but it was not compared with its fingerprint",
        ),
        (
            {"found": EMPTY},
            ProofResult.INCONCLUSIVE,
            "nothing was compared: 1 table and 2 objects expected, none read after the restore",
        ),
        (
            {"found": replace(FULL, tables=())},
            ProofResult.INCONCLUSIVE,
            "nothing was compared: 1 table expected, none read after the restore",
        ),
        (
            {"expected": NONE, "checks": (SHORT,)},
            ProofResult.MISMATCH,
            "check fell short: 'users survive'",
        ),
    ],
)
def test_every_rule(change: dict[str, object], result: ProofResult, reason: str) -> None:
    verdict = judge(replace(GOOD, **change))  # type: ignore[arg-type]
    assert (verdict.result, verdict.reason) == (result, reason)


def test_damage_of_what_lies_in_the_store_is_never_excused() -> None:
    everything = Evidence("a part is missing", "x", "y", (CAVEAT,), None, None, (LOST,), (SHORT,))
    verdict = judge(everything)
    assert verdict.result is ProofResult.UNRESTORABLE
    assert verdict.reason == "a part is missing"


def test_the_worst_is_named() -> None:
    both = replace(GOOD, differences=(LOST,), checks=(SHORT,))
    assert "users survive" not in (judge(both).reason or "")
    assert judge(replace(both, damage="gpg failed")).result is ProofResult.UNRESTORABLE


def test_three_are_named_and_the_rest_counted() -> None:
    many = tuple(Difference(f"table t{number}", "there", "missing") for number in range(1005))
    reason = judge(replace(GOOD, differences=many)).reason or ""
    assert reason.endswith("table t2 (there expected, missing found); and 1,002 more")
    checks = tuple(CheckOutcome(f"c{number}", passed=False, found="") for number in range(4))
    assert judge(replace(GOOD, checks=checks)).reason == (
        "checks fell short: 'c0'; 'c1'; 'c2'; and 1 more"
    )


fingerprints = st.sampled_from((None, EMPTY, FULL, NONE))
words = st.none() | st.text()
evidence = st.builds(
    Evidence,
    stored_damage=words,
    damage=words,
    obstacle=words,
    caveats=st.lists(st.text(), max_size=2).map(tuple),
    expected=fingerprints,
    found=fingerprints,
    differences=st.none() | st.lists(st.just(LOST), max_size=5).map(tuple),
    checks=st.lists(st.sampled_from((FINE, SHORT)), max_size=5).map(tuple),
)


@given(evidence)
def test_every_evidence_has_a_verdict_and_nothing_wrong_is_proven(seen: Evidence) -> None:
    verdict = judge(seen)
    if verdict.result is ProofResult.PROVEN:
        assert verdict.reason is None
        assert (seen.stored_damage, seen.damage, seen.obstacle) == (None, None, None)
        assert seen.differences == ()
        assert SHORT not in seen.checks
        assert seen.expected is not None
        assert seen.expected.level is not ProofLevel.NONE
        assert seen.found is not None
        assert len(seen.found.tables) >= len(seen.expected.tables)
    else:
        assert verdict.reason
        assert len(verdict.reason.splitlines()) == 1
    if verdict.result in {ProofResult.MISMATCH, ProofResult.UNRESTORABLE}:
        assert seen.stored_damage is not None or not seen.caveats


@given(evidence)
def test_a_caveat_only_ever_takes_certainty_away(seen: Evidence) -> None:
    sure, doubtful = judge(replace(seen, caveats=())), judge(replace(seen, caveats=(CAVEAT,)))
    if sure.result is ProofResult.PROVEN or seen.stored_damage is not None:
        assert doubtful == sure
    else:
        assert doubtful.result is ProofResult.INCONCLUSIVE
