"""What could not be written while the catalog was away: kept in memory until it is back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from guardian.escalate.model import Change, Entry, Envelope, Incident, IncidentId


class Unwritten:
    """Incidents as they were last known, and changes that the catalog lacks. For one thread.

    Incidents carry the version that the catalog has of them: 0 where it has none.
    """

    def __init__(self) -> None:
        self._known: dict[IncidentId, Incident] = {}
        self._behind: dict[IncidentId, Incident] = {}
        self._entries: dict[IncidentId, list[Entry]] = {}
        self._envelopes: dict[IncidentId, list[Envelope]] = {}

    def __bool__(self) -> bool:
        return bool(self._behind)

    @property
    def open(self) -> list[Incident]:
        """The incidents that are open, as far as is known here."""
        return [one for one in self._known.values() if one.state.is_open]

    def latest(self, key: str) -> Incident | None:
        """The newest incident of that key that is known here."""
        of_key = [one for one in self._known.values() if one.key == key]
        return max(of_key, key=lambda one: one.opened_at, default=None)

    def know(self, incidents: Iterable[Incident]) -> None:
        """These, and no others, are open in the catalog."""
        self._known = {one.id: one for one in incidents}

    def wrote(self, change: Change) -> None:
        """The catalog has taken a change."""
        for one in change.incidents:
            self._known[one.id] = replace(one, version=one.version + 1)

    def keep(self, change: Change, envelopes: Sequence[Envelope]) -> None:
        """Remember a change; ``envelopes`` are those of it that wait for the outbox."""
        for one in change.incidents:
            self._known[one.id] = self._behind[one.id] = one
        for entry in change.entries:
            self._entries.setdefault(entry.incident, []).append(entry)
        for each in envelopes:
            if each.message.incident is not None:
                self._envelopes.setdefault(each.message.incident, []).append(each)

    def changes(self) -> Iterator[Change]:
        """What is to be written, an incident at a time; each is forgotten once it was taken.

        The caller goes on to the next when one is written, or need not be any more.
        """
        for one in list(self._behind.values()):
            yield Change(
                (one,),
                tuple(self._entries.get(one.id, ())),
                tuple(self._envelopes.get(one.id, ())),
                () if one.state.is_open else (one.id,),
            )
            del self._behind[one.id]
            self._entries.pop(one.id, None)
            self._envelopes.pop(one.id, None)
