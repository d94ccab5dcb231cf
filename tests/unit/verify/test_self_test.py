"""The drill of the drill, in a toy world: a database is a dictionary, a dump is its JSON.

Backups, drills, comparison, verdict are the real ones. The point is what they are for: when a drill
is broken, in whichever way, the self-test must say so.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from guardian.adapters.signatures.several import SeveralSigners
from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.run import BackupPlan, BackupRunner
from guardian.backup.signature import HMAC
from guardian.cli.self_test import exit_code, report_document
from guardian.errors import (
    ExitCode,
    GuardianError,
    InterruptedRunError,
    KeyMissingError,
    ScratchError,
    UncheckedSignatureError,
    UnrestorableError,
)
from guardian.model import (
    BackupId,
    DatabaseDamage,
    DatabaseFacts,
    DatabaseRef,
    Definition,
    Difference,
    Encryption,
    EncryptionKind,
    Fingerprint,
    GlobalsLevel,
    Holder,
    LargeObjects,
    Manifest,
    PartKind,
    ProofLevel,
    ProofRecord,
    ProofResult,
    SequencePosition,
    TableFingerprint,
)
from guardian.ports import Readable, Sink
from guardian.restore.ports import Archive
from guardian.testing import FakeClock, MemoryCatalog, MemoryStore
from guardian.verify.bench import Bench, OwnThings
from guardian.verify.drill import Check, DrillPlan
from guardian.verify.intruding import CHANGED
from guardian.verify.ports import DamagedCopy
from guardian.verify.self_test import SelfTest
from guardian.verify.trial import Finding, Outcome, SelfTestReport, judge_trial

REF = DatabaseRef("main", "mina")
HOLDER = Holder("here", "boot", 1, "0", "guardian")
CLOCK = FakeClock()
CONTENT: dict[str, Any] = {
    "tables": {"users": ["ann", "bob"], "orders": ["1", "2", "3"]},
    "indexes": ["users_name"],
    "sequences": {"orders_id": 3},
}
LOGICAL = [*(damage.value for damage in DatabaseDamage), "a swapped fingerprint"]


class Key:
    """An encryptor whose messages begin with their key; every bit of the rest is turned."""

    suffix = ".x"

    def __init__(self, name: bytes = b"right", kind: EncryptionKind = EncryptionKind.SYMMETRIC):
        self.name, self.kind = name, kind

    def describe(self) -> Encryption:
        return Encryption(self.kind)

    def check(self) -> None:
        pass

    def encrypt(self, source: Readable, sink: Sink) -> None:
        sink(self.name.ljust(16))
        while block := source.read(100):
            sink(bytes(255 - byte for byte in block))

    def decrypt(self, source: Readable, sink: Sink) -> None:
        head = b""
        while len(head) < 16 and (block := source.read(16 - len(head))):
            head += block
        if head != self.name.ljust(16):
            raise KeyMissingError("gpg could not decrypt: wrong passphrase, or damaged data")
        while block := source.read(100):
            sink(bytes(255 - byte for byte in block))


def fingerprint(content: Mapping[str, Any], level: ProofLevel, seed: int) -> Fingerprint:
    def digest(rows: Sequence[str]) -> str | None:
        text = f"{seed}{sorted(rows)}".encode()
        return hashlib.md5(text).hexdigest() if level is ProofLevel.CONTENT else None

    tables = content["tables"]
    return Fingerprint(
        level=level,
        seed=seed,
        tables=tuple(TableFingerprint("app", n, len(r), digest(r)) for n, r in tables.items()),
        objects={
            "table": tuple(f"app.{name}" for name in tables),
            "index": tuple(f"app.{name}" for name in content["indexes"]),
            "sequence": tuple(f"app.{name}" for name in content["sequences"]),
        },
        sequences=tuple(
            SequencePosition("app", name, at, at) for name, at in content["sequences"].items()
        ),
        large_objects=LargeObjects(0, digest([])),
    )


class Bytes(io.BytesIO):
    def finish(self) -> None:
        pass

    def cancel(self) -> None:
        pass


class ToySnapshot:
    facts = DatabaseFacts("15.4", 150004, "1", "UTF8", "C", "C", "libc")
    taken_at = datetime(2026, 11, 23, tzinfo=UTC)
    dump_version = "15.4"
    estimated_bytes = 100

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    @contextmanager
    def open_dumps(self, streams: int) -> Iterator[Sequence[Bytes]]:
        yield [Bytes(json.dumps(self.content, indent=1).encode() + b" " * 500)]

    def fingerprint(self, level: ProofLevel, advance: Callable[[int], None]) -> Fingerprint:
        return fingerprint(self.content, level, 7)

    def with_final_positions(self, fingerprint: Fingerprint) -> Fingerprint:
        return fingerprint

    def cancel(self) -> None:
        pass


class ToySource:
    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def databases(self) -> Sequence[str]:
        return [REF.database]

    @contextmanager
    def snapshot(self, database: str) -> Iterator[ToySnapshot]:
        yield ToySnapshot(self.content)

    @contextmanager
    def open_globals(self) -> Iterator[tuple[Bytes, GlobalsLevel]]:
        yield Bytes(b"CREATE ROLE app;" * 10), GlobalsLevel.FULL


class ToyDatabase:
    major = 15

    def __init__(self, caveats: Sequence[str] = ()) -> None:
        self.caveats = caveats
        self.content: dict[str, Any] = {}

    def restore(
        self, archive: Archive, row_counts: Mapping[Any, int], advance: Callable[[int], None]
    ) -> None:
        with archive.open() as stream:
            data = b"".join(iter(lambda: stream.read(50), b""))
        try:
            self.content = json.loads(data)
        except ValueError as error:
            raise UnrestorableError("pg_restore reported an error") from error

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        return fingerprint(self.content, level, seed)

    def ask(self, query: str, settings: Sequence[str]) -> tuple[bool, str]:
        raise AssertionError("the user's checks are no part of a self-test")

    def retell(self, definitions: Sequence[Definition]) -> Sequence[str | None]:
        raise AssertionError("a toy has no definitions")

    def check_indexes(self) -> Sequence[Difference]:
        raise AssertionError

    def cancel(self) -> None:
        pass


@dataclass
class ToyScratch:
    """``errors`` are raised by one opening after the other; None lets one through."""

    caveats: Sequence[str] = ()
    errors: list[GuardianError | None] = field(default_factory=list)
    opened: int = 0

    def warming(self, manifest: Manifest) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> Iterator[ToyDatabase]:
        self.opened += 1
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        yield ToyDatabase(self.caveats)


class ToyWorkshop:
    """``impossible`` are damages that this database gives no occasion for."""

    def __init__(self, scratch: ToyScratch, impossible: Sequence[DatabaseDamage]) -> None:
        self.scratch = scratch
        self.original = ToyDatabase()
        self.impossible = impossible

    def untouched(self) -> DamagedCopy:
        return DamagedCopy(ToySource(self.original.content), "original")

    @contextmanager
    def damaged(
        self, damage: DatabaseDamage, expected: Fingerprint
    ) -> Iterator[DamagedCopy | None]:
        content = copy.deepcopy(self.original.content)
        name = "table app.orders"
        if damage in self.impossible:
            yield None
            return
        match damage:
            case DatabaseDamage.ROW_LOST:
                content["tables"]["orders"].pop()
            case DatabaseDamage.ROW_CHANGED:
                content["tables"]["orders"][0] = "x"
            case DatabaseDamage.TABLE_MISSING:
                del content["tables"]["orders"]
            case DatabaseDamage.INDEX_MISSING:
                name = "index app.users_name"
                content["indexes"].clear()
            case DatabaseDamage.SEQUENCE_BEHIND:
                name = "sequence app.orders_id"
                content["sequences"]["orders_id"] -= 1
        yield DamagedCopy(ToySource(content), "copy", (name,))


@dataclass
class World:
    """A backup in a store, and everything to test drills with it."""

    scratch: ToyScratch = field(default_factory=ToyScratch)
    workshop_scratch: ToyScratch = field(default_factory=ToyScratch)
    impossible: Sequence[DatabaseDamage] = ()
    store: MemoryStore = field(default_factory=lambda: MemoryStore("local"))
    own: MemoryStore = field(default_factory=lambda: MemoryStore("own"))
    said: list[str] = field(default_factory=list)

    def back_up(
        self,
        proof: ProofLevel = ProofLevel.CONTENT,
        content: Mapping[str, Any] = CONTENT,
        *,
        with_globals: bool = True,
    ) -> Manifest:
        catalog = MemoryCatalog(CLOCK)
        runner = BackupRunner(
            source=ToySource(content),
            stores=[self.store],
            compressor=ZstdCompressor(),
            encryptor=Key(),
            catalog=catalog,
            clock=CLOCK,
            progress=self,
            holder=HOLDER,
            plan=BackupPlan(proof=proof, with_globals=with_globals),
            version="0",
            token=lambda: f"{len(self.store.contents()):06x}",
        )
        manifest = catalog.manifest(runner.run(REF).id)
        assert manifest is not None
        return manifest

    def test(self, manifest: Manifest, other: Manifest | None = None) -> SelfTestReport:
        kinds = EncryptionKind
        bench = Bench(
            store=self.store,
            scratch=self.scratch,
            workshops=self,
            encryptor=Key(),
            compressor=ZstdCompressor(),
            own=OwnThings(
                store=self.own,
                encryptor=Key(b"own"),
                wrong_keys={kind: Key(b"wrong") for kind in kinds},
                new_catalog=lambda: MemoryCatalog(CLOCK),
                token=lambda: f"{len(self.said):06x}",
            ),
            clock=CLOCK,
            progress=self,
            holder=HOLDER,
            plan=DrillPlan((Check("never asked", "select true"),), 1, None, amcheck=True),
            version="0",
        )
        return SelfTest(bench).run(REF, manifest.id, known=manifest, other=other)

    @contextmanager
    def open(
        self, manifest: Manifest, fingerprint: Fingerprint, jobs: int
    ) -> Iterator[ToyWorkshop]:
        yield ToyWorkshop(self.workshop_scratch, self.impossible)

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        self.said.append(label)

    def advance(self, done_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.said.append(text)

    def end(self, summary: str) -> None:
        self.said.append(summary)


def outcomes(report: SelfTestReport) -> dict[Outcome, list[str]]:
    found: dict[Outcome, list[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.outcome, []).append(finding.trial.damage)
    return found


def by_damage(report: SelfTestReport, damage: str) -> Finding:
    (found,) = (one for one in report.findings if one.trial.damage == damage)
    return found


def test_everything_is_caught_and_nothing_is_written() -> None:
    world = World()
    manifest = world.back_up()
    before = world.store.contents()
    report = world.test(manifest)
    assert set(outcomes(report)) == {Outcome.CAUGHT}
    assert exit_code([report], []) is ExitCode.DONE
    assert world.store.contents() == before
    assert [f"{one.trial.damage}/{one.trial.part}" for one in report.findings] == [
        "a flipped byte/globals",
        "a part missing/globals",
        "a flipped byte near the beginning/dump",
        "a flipped byte in the middle/dump",
        "a flipped byte near the end/dump",
        "cut short/dump",
        "a part missing/dump",
        "a flipped byte/fingerprint",
        "a part missing/fingerprint",
        "a flipped byte/notes",
        "a part missing/notes",
        "a changed manifest/manifest",
        "a part missing/manifest",
        "wrong key/",
        "a row lost/table app.orders",
        "a row changed/table app.orders",
        "a table missing/table app.orders",
        "an index missing/index app.users_name",
        "a sequence behind/sequence app.orders_id",
        "a swapped fingerprint/fingerprint",
        "a part from another backup/globals",
        "a part from another backup/dump",
        "a part from another backup/fingerprint",
        "a part from another backup/notes",
    ]


def test_what_will_be_done_is_said_first_and_each_trial_as_it_comes() -> None:
    world = World()
    report = world.test(world.back_up())
    announced = next(number for number, text in enumerate(world.said) if "24 trials" in text)
    assert "1 of 24" in world.said[announced + 1]
    assert world.said[-1].startswith("self-test 24 of 24: ")
    assert len(report.findings) == 24


def test_a_comparison_that_sees_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.verify.drill.compare", lambda *_a, **_k: ())
    world = World()
    report = world.test(world.back_up())
    assert outcomes(report)[Outcome.MISSED] == LOGICAL
    assert {by_damage(report, one).result for one in LOGICAL} == {ProofResult.PROVEN}
    assert exit_code([report], []) is ExitCode.FAILED


def test_a_comparison_that_is_blind_to_one_thing_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from guardian.verify.compare import compare

    def blind(expected: Fingerprint, found: Fingerprint, **more: Any) -> Sequence[Difference]:
        told = compare(expected, found, **more)
        return tuple(one for one in told if not one.object.startswith("sequence"))

    monkeypatch.setattr("guardian.verify.drill.compare", blind)
    world = World()
    report = world.test(world.back_up())
    assert outcomes(report)[Outcome.MISSED] == ["a sequence behind"]


def test_a_mismatch_that_names_another_object_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(expected: Fingerprint, found: Fingerprint, **_more: Any) -> Sequence[Difference]:
        return () if expected == found else (Difference("table app.order", "x", "y"),)

    monkeypatch.setattr("guardian.verify.drill.compare", wrong)
    world = World()
    report = world.test(world.back_up())
    missed = outcomes(report)[Outcome.MISSED]
    assert missed == LOGICAL
    assert by_damage(report, "a row lost").result is ProofResult.MISMATCH


def test_a_drill_that_does_not_look_at_hashes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.restore.opening._Fetched._refuse", lambda *_: None)
    world = World()
    report = world.test(world.back_up())
    missed = [one.trial for one in report.findings if one.outcome is Outcome.MISSED]
    assert ("a flipped byte", "notes") in {
        (one.damage, one.part) for one in missed
    }  # not encrypted, so only the hash can tell
    assert exit_code([report], []) is ExitCode.FAILED


def test_a_drill_that_takes_damage_for_a_wrong_key_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guardian.restore.opening._Fetched.drain", lambda _: None)
    world = World()
    report = world.test(world.back_up())
    finding = by_damage(report, "a flipped byte near the beginning")
    assert (finding.outcome, finding.result) == (Outcome.MISSED, ProofResult.INCONCLUSIVE)


def test_a_backup_that_cannot_be_proven_leaves_the_self_test_without_an_answer() -> None:
    world = World()
    report = world.test(world.back_up(ProofLevel.NONE))
    assert not report.is_proven
    assert report.findings == ()
    assert report.control.result is ProofResult.INCONCLUSIVE
    assert exit_code([report], []) is ExitCode.UNPROVEN
    (line,) = report_document(report)
    assert (line["damage"], line["caught"], line["result"]) == ("none", False, "inconclusive")


def test_a_backup_that_is_damaged_itself_fails() -> None:
    world = World()
    manifest = world.back_up()
    (key,) = (key for key in world.store.contents() if "database.dump" in key)
    world.store.plant(key, world.store.contents()[key][:-1])
    report = world.test(manifest)
    assert report.findings == ()
    assert exit_code([report], []) is ExitCode.FAILED


def test_under_a_caveat_what_was_seen_is_unclear_and_no_miss() -> None:
    world = World(workshop_scratch=ToyScratch(caveats=["locale de_DE is not to be had here"]))
    report = world.test(world.back_up())
    assert outcomes(report)[Outcome.UNCLEAR] == LOGICAL
    assert report.count(Outcome.MISSED) == 0
    assert exit_code([report], []) is ExitCode.UNPROVEN


def test_what_hinders_one_drill_by_chance_is_tried_again() -> None:
    chance = [None] * 5 + [ScratchError("no server")]
    world = World(workshop_scratch=ToyScratch(errors=[*chance]))
    report = world.test(world.back_up())
    assert set(outcomes(report)) == {Outcome.CAUGHT}


def test_a_scratch_server_that_is_gone_makes_it_unclear() -> None:
    world = World(workshop_scratch=ToyScratch(errors=[ScratchError("no server")] * 1000))
    report = world.test(world.back_up())
    assert report.count(Outcome.MISSED) == 0
    assert set(LOGICAL) <= set(outcomes(report)[Outcome.UNCLEAR])
    assert exit_code([report], []) is ExitCode.UNPROVEN


def test_what_the_database_has_not_is_not_applicable() -> None:
    world = World(impossible=list(DatabaseDamage))
    report = world.test(world.back_up(with_globals=False))
    skipped = outcomes(report)[Outcome.NOT_APPLICABLE]
    assert skipped == ["a flipped byte", *LOGICAL]
    assert by_damage(report, "a row lost").result is None
    document = {line["damage"]: line for line in report_document(report)}
    assert document["a row lost"]["caught"] is None
    assert exit_code([report], []) is ExitCode.DONE


def test_counts_alone_cannot_show_a_changed_row() -> None:
    world = World()
    report = world.test(world.back_up(ProofLevel.COUNTS))
    assert outcomes(report)[Outcome.NOT_APPLICABLE] == ["a row changed"]
    assert report.count(Outcome.MISSED) == 0


def test_the_parts_of_the_users_other_backup_are_used() -> None:
    world = World()
    other = world.back_up(content={**CONTENT, "indexes": ["other_index"]})
    manifest = world.back_up()
    read: list[str] = []
    opened = world.store.open_reader

    def listening(key: str) -> Any:
        read.append(key)
        return opened(key)

    world.store.open_reader = listening  # type: ignore[method-assign]
    report = world.test(manifest, other)
    assert report.count(Outcome.MISSED) == 0
    (same,) = (one for one in report.findings if one.outcome is Outcome.NOT_APPLICABLE)
    assert (same.trial.damage, same.trial.part) == ("a part from another backup", "globals")
    assert {key.rsplit("/", 1)[1] for key in read if other.id in key} == {
        part.name for part in other.parts if part.kind is not PartKind.GLOBALS
    }


@pytest.mark.parametrize("signature", [b"-----BEGIN PGP SIGNATURE-----\n", HMAC.encode()])
def test_a_forged_manifest_whose_key_is_not_configured_here_is_caught(signature: bytes) -> None:
    with pytest.raises(UncheckedSignatureError) as told:
        SeveralSigners(None, []).verify(b"forged", signature)
    reason = f"store local: the manifest of {REF} {told.value.message}"
    record = ProofRecord(
        BackupId("one"), "local", ProofResult.UNRESTORABLE, CLOCK.now(), reason=reason
    )
    assert judge_trial(CHANGED, record).outcome is Outcome.CAUGHT
    other = replace(record, reason="part dump: the end is missing")
    assert judge_trial(CHANGED, other).outcome is Outcome.MISSED


def test_an_interruption_ends_it_and_nothing_stays_in_the_store() -> None:
    world = World(workshop_scratch=ToyScratch(errors=[InterruptedRunError("Ctrl-C")]))
    manifest = world.back_up()
    before = world.store.contents()
    with pytest.raises(InterruptedRunError):
        world.test(manifest)
    assert world.store.contents() == before


def test_one_document_line_a_trial() -> None:
    world = World()
    manifest = world.back_up()
    first, *lines = report_document(world.test(manifest))
    assert first["damage"] == "none"
    assert first["expected"] == "proven"
    assert len(lines) == 24
    (line,) = (one for one in lines if one["damage"] == "a row lost")
    assert line | {"seconds": 0.0} == {
        "id": manifest.id,
        "server": "main",
        "database": "mina",
        "store": "local",
        "damage": "a row lost",
        "part": "table app.orders",
        "expected": "mismatch",
        "result": "mismatch",
        "caught": True,
        "outcome": "caught",
        "seconds": 0.0,
        "reason": "differs: table app.orders (3 rows expected, 2 rows found)",
    }
