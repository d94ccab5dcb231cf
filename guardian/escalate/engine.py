"""The engine: observations and people's words in, incidents and messages out.

Every call is one round: read what is open, decide (pure, in :mod:`guardian.escalate.round`), write
all of it in one transaction. When another process was faster, the round is done again with what is
there now. Nothing but the catalog is remembered from one round to the next, so a crash at any point
loses nothing: either the change is there with its messages, or the next observation makes it again.

While the catalog cannot be read or written, rounds go on from memory, and what is urgent leaves
through the courier at once; all is written down when the catalog is back.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from guardian.errors import (
    CatalogError,
    NotFoundError,
    StaleIncidentError,
    UsageError,
)
from guardian.escalate import compose, incident, ladder
from guardian.escalate.digest import Protection
from guardian.escalate.holding import MATCH_KEYS
from guardian.escalate.model import (
    Change,
    Entry,
    EntryKind,
    Envelope,
    Incident,
    IncidentId,
    Observation,
    Severity,
    Silence,
    Watcher,
)
from guardian.escalate.ports import Courier, EscalationCatalog
from guardian.escalate.round import Round, World
from guardian.escalate.rules import EscalationRules
from guardian.escalate.set_times import SetTimes
from guardian.escalate.unwritten import Unwritten
from guardian.ports import Clock

DAEMON = "daemon"
"""The watcher that all daemons on a catalog are, one after the other."""
WATCHER_FORGOTTEN = timedelta(days=35)
"""Who has not said for so long what they observe, observes no more."""

_log = logging.getLogger(__name__)
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is taken for another
_TRIES = 20
_URGENT = (Severity.P0, Severity.P1)
_CLOCK_SLACK = timedelta(seconds=5)
_DAY = timedelta(days=1)


class Escalator:
    """Turns what sensors see into incidents, and those into messages in the outbox.

    To be called from any thread. ``courier`` takes urgent messages while the catalog is away; with
    none, they wait in memory. Who delivers the others is told by the returned change: when it has
    envelopes, the outbox has something new. ``protections`` are what the digest says of databases,
    since an instant.
    """

    def __init__(
        self,
        catalog: EscalationCatalog,
        clock: Clock,
        rules: EscalationRules,
        *,
        courier: Courier | None = None,
        protections: Callable[[datetime], Sequence[Protection]] = lambda _since: (),
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._rules = rules
        self._courier = courier
        self._lock = threading.RLock()
        self._unwritten = Unwritten()
        self._silences: tuple[Silence, ...] = ()
        self._trouble: str | None = None
        self._started = self._last_beat = clock.monotonic()
        self._started_at = self._last_now = clock.now()
        self._scopes: set[str] = set()
        self._set_times = SetTimes(catalog, self._started_at, protections)

    @property
    def rules(self) -> EscalationRules:
        """What it goes by."""
        return self._rules

    @property
    def trouble(self) -> str | None:
        """Why nothing is written down at the moment; None when all is."""
        return self._trouble

    def reconfigure(self, rules: EscalationRules) -> None:
        """Go by other rules from the next round on. What was told stays told."""
        with self._lock:
            self._rules = rules
            self._set_times.forget()

    # --- rounds ---

    def observe(self, observation: Observation) -> Change:
        """Take in all that one sensor sees; see :class:`~guardian.escalate.model.Observation`.

        Observations of one scope must come in the order in which they were made. While the catalog
        is away this works from memory and raises nothing.

        Raises:
            StaleIncidentError: other processes change the same incidents without end.
        """
        with self._lock:
            self._scopes.add(observation.scope)
            return self._round(lambda round_: round_.observe(observation))

    def tick(self) -> Change:
        """Let time pass: settle, climb, remind, lapse, tell what has its time. Every few seconds.

        Raises as :meth:`observe`.
        """
        with self._lock:
            change = self._round(Round.pass_time)
            return replace(change, envelopes=change.envelopes + self._tell_at_set_times())

    def end_unwatched(
        self, scopes: Collection[str], watcher: str = DAEMON, *, only_own: bool = False
    ) -> Change:
        """End incidents of scopes that nobody observes: what was taken out of the configuration.

        To be called at the start, after a reload and each day, with every scope that ``watcher``
        observes. What others observe, by what they said within WATCHER_FORGOTTEN, stays: commands
        on another host, with a config of their own. ``only_own``: of the rest, only what this
        watcher observed before ends. Ends nothing while the catalog is away.
        """
        with self._lock:
            now = self._clock.now()
            try:
                known = {one.name: one for one in self._catalog.watchers()}
                mine = known.pop(watcher, None)
                said = Watcher(watcher, now, tuple(sorted(scopes)))
                if mine is None or mine.scopes != said.scopes or now - mine.seen_at > _DAY:
                    self._catalog.save_watcher(said)
            except CatalogError as error:
                self._note_trouble(error)
                return Change()
            watched = set(scopes)
            for one in known.values():
                if now - one.seen_at < WATCHER_FORGOTTEN:
                    watched.update(one.scopes)
            before = frozenset(mine.scopes if mine else ())
            return self._round(
                lambda round_: round_.end_unwatched(
                    lambda scope: scope in watched or (only_own and scope not in before)
                )
            )

    # --- people ---

    def acknowledge(self, id_prefix: str, by: str, *, lasting: timedelta | None = None) -> Incident:
        """A person takes an incident: nobody else is called until that lapses.

        Raises:
            NotFoundError: no incident's id begins so.
            UsageError: several do, or it is resolved.
            CatalogError: it cannot be kept, and nobody goes on with it in memory (no courier).
        """
        return self._by_hand(id_prefix, lambda round_, one: round_.acknowledge(one, by, lasting))

    def resolve(self, id_prefix: str, by: str) -> Incident:
        """A person ends an incident.

        A state that still holds opens it again when it is next seen; an occurrence, such as a
        failed backup, only does when it happens once more.

        Raises as :meth:`acknowledge`.
        """
        return self._by_hand(id_prefix, lambda round_, one: round_.resolve(one, by))

    def note(self, id_prefix: str, text: str, by: str) -> Incident:
        """Write a person's words into an incident's timeline, also of a resolved one.

        Raises NotFoundError, UsageError when the prefix fits several, CatalogError.
        """
        with self._lock:
            found = self._find(id_prefix)
            entry = Entry(found.id, self._clock.now(), EntryKind.NOTE, text, by)
            self._catalog.apply(Change(entries=(entry,)))
            return found

    def silence(
        self,
        lasting: timedelta,
        reason: str,
        by: str,
        *,
        match: Mapping[str, str] | None = None,
        starts_at: datetime | None = None,
    ) -> Silence:
        """Let nobody be told of what matches, for a while; an empty match is everything.

        Raises:
            UsageError: a match by a word that nothing is matched by, or no time at all.
            CatalogError: it cannot be kept.
        """
        for name, glob in (match or {}).items():
            if name not in MATCH_KEYS:
                raise UsageError(
                    f"a silence cannot match {name!r}", mend=f"write one of {', '.join(MATCH_KEYS)}"
                )
            if name == "severity" and not any(fnmatchcase(one.value, glob) for one in Severity):
                raise UsageError(
                    f"no severity is {glob!r}", mend=f"write one of {', '.join(Severity)}"
                )
        if lasting <= timedelta(0):
            raise UsageError("a silence needs a duration above zero", mend="write --for 2h")
        begins = starts_at or self._clock.now()
        made = Silence(_new_id(), begins, begins + lasting, reason, by, dict(match or {}))
        with self._lock:
            self._catalog.add_silence(made)
            self._silences += (made,)
        return made

    def end_silence(self, id_prefix: str) -> Silence:
        """End a silence now.

        Raises:
            NotFoundError: none that holds, or will, has an id that begins so.
            UsageError: several have.
            CatalogError: it cannot be kept.
        """
        now = self._clock.now()
        found = [one for one in self._catalog.silences(now) if one.id.startswith(id_prefix)]
        if not found or not id_prefix:
            raise NotFoundError(
                f"no silence {id_prefix!r}", mend="guardian silence list shows those there are"
            )
        if len(found) > 1:
            ids = ", ".join(one.id for one in found)
            raise UsageError(f"{id_prefix} fits several silences: {ids}", mend="write more of it")
        with self._lock:
            self._catalog.end_silence(found[0].id, now)
            self._silences = tuple(one for one in self._silences if one.id != found[0].id)
        return replace(found[0], ends_at=now)

    def next_due(self, one: Incident) -> ladder.Due | None:
        """Who hears of an incident next unless somebody answers, and when."""
        return ladder.next_due(one, self._clock.now(), self._rules)

    # --- behind ---

    def _round(self, work: Callable[[Round], None]) -> Change:
        with self._lock:
            set_back = self._set_back()
            change: Change | None = None
            try:
                for _ in range(_TRIES):
                    self._catch_up()
                    world = self._world(
                        set_back, self._catalog.latest_incident, self._catalog.envelopes
                    )
                    change = self._decide(world, work)
                    if self._write(change):
                        return change
            except CatalogError as error:
                self._note_trouble(error)
                if change is None:
                    world = self._world(set_back, self._unwritten.latest, _nothing_sent)
                    change = self._decide(world, work)
                return self._without_catalog(change)
        raise StaleIncidentError("the same incidents are changed by others all the time")

    def _decide(self, world: World, work: Callable[[Round], None]) -> Change:
        round_ = Round(world, self._rules)
        work(round_)
        return round_.change()

    def _write(self, change: Change) -> bool:
        """Whether it is in the catalog now; False when another process was faster."""
        try:
            if not change.is_empty:
                self._catalog.apply(change)
        except StaleIncidentError:
            return False
        self._unwritten.wrote(change)
        return True

    def _world(
        self,
        set_back: timedelta,
        latest: Callable[[str], Incident | None],
        sent: Callable[[IncidentId], Sequence[Envelope]],
    ) -> World:
        return World(
            now=self._last_now,
            open=self._unwritten.open,
            silences=self._silences,
            latest=latest,
            sent=sent,
            new_id=_new_id,
            quiet=self._is_quiet,
            set_back=set_back,
        )

    def _catch_up(self) -> None:
        """Write what the catalog lacks, and read what it has. Raises CatalogError."""
        for change in self._unwritten.changes():
            self._write_late(change)
        self._unwritten.know(self._catalog.open_incidents())
        self._silences = tuple(self._catalog.silences(self._last_now))
        if self._trouble is not None:
            _log.warning("the catalog is back; what happened meanwhile is written down")
            self._trouble = None

    def _write_late(self, change: Change) -> None:
        try:
            self._catalog.apply(change)
        except StaleIncidentError:
            # Another process went on with it, and what it holds is right. Ours may have been told
            # to people under an id that will never be there: for them, it ends here.
            (one,) = change.incidents
            mail = compose.Mail()
            if one.version == 0 and one.state.is_open and one.people_told:
                step = incident.ended(
                    one, "it goes on under another id", self._last_now, self.rules
                )
                step, tellings = ladder.climb(step, None, self._last_now, self.rules)
                mail = compose.address(step.incident, tellings, self._last_now, self.rules)
            self._catalog.apply(
                Change(entries=change.entries, envelopes=change.envelopes + mail.envelopes)
            )

    def _without_catalog(self, change: Change) -> Change:
        """Let what is urgent go at once, and keep the rest for later."""
        urgent: list[Envelope] = []
        later: list[Envelope] = []
        for one in change.envelopes:
            goes = self._courier is not None and one.message.severity in _URGENT
            (urgent if goes else later).append(one)
        self._unwritten.keep(change, later)
        if urgent and self._courier is not None:
            self._courier.send_unrecorded(urgent)
        return change

    def _note_trouble(self, error: CatalogError) -> None:
        if self._trouble is None:
            _log.warning("incidents are kept in memory until the catalog is back: %s", error)
        self._trouble = str(error)

    def _set_back(self) -> timedelta:
        """By how much the wall clock was set back since the last round; forward is time, too.

        A machine that slept looks the same as a clock that was set forward: calling somebody too
        early does less harm than too late.
        """
        now, beat = self._clock.now(), self._clock.monotonic()
        drift = now - (self._last_now + timedelta(seconds=beat - self._last_beat))
        self._last_now, self._last_beat = now, beat
        return drift if drift < -_CLOCK_SLACK else timedelta(0)

    def _is_quiet(self, one: Incident) -> bool:
        """Whether guardian started too short a while ago to be believed about this."""
        age = timedelta(seconds=self._clock.monotonic() - self._started)
        if age >= self._rules.startup_settle:
            return False
        return one.condition.occurrence is None or one.scope not in self._scopes

    def _by_hand(self, id_prefix: str, act: Callable[[Round, Incident], None]) -> Incident:
        with self._lock:
            found = self._find(id_prefix)

            def work(round_: Round) -> None:
                current = round_.find(found.id)
                if current is None:
                    raise UsageError(
                        f"incident {found.id} is resolved",
                        mend="guardian incidents list shows what is open",
                    )
                act(round_, current)

            change = self._round(work)
            if self._trouble is not None and self._courier is None:
                # Of one command, or of a standby: what is in memory alone is gone with it.
                raise CatalogError(f"incident {found.id} stays as it is: {self._trouble}")
            return next(one for one in change.incidents if one.id == found.id)

    def _find(self, id_prefix: str) -> Incident:
        # What is not written yet is known here alone.
        known = {one.id: one for one in self._unwritten.open if one.id.startswith(id_prefix)}
        with contextlib.suppress(CatalogError):
            known |= {one.id: one for one in self._catalog.find_incidents(id_prefix)}
        found = list(known.values())
        if not found or not id_prefix:
            raise NotFoundError(
                f"no incident {id_prefix!r}", mend="guardian incidents list shows those there are"
            )
        if len(found) > 1:
            ids = ", ".join(one.id for one in found[:5])
            raise UsageError(f"{id_prefix} fits several incidents: {ids}", mend="write more of it")
        return found[0]

    def _tell_at_set_times(self) -> tuple[Envelope, ...]:
        """Put the digest and the self-test into the outbox when their time has come."""
        if self._trouble is not None:
            return ()
        try:
            return self._set_times.tell(self._last_now, self._rules)
        except CatalogError as error:
            self._note_trouble(error)
            return ()


def _new_id() -> IncidentId:
    return IncidentId("".join(secrets.choice(_ALPHABET) for _ in range(8)))


def _nothing_sent(_incident: IncidentId) -> tuple[Envelope, ...]:
    return ()
