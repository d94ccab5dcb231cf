"""What one look must know of those before it: a frozen value, passed in and handed back.

There is one memory a server. It survives a restart as JSON, so that a guardian that is restarted
every minute still keeps to the hour's limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.watch.model import Action, Mode, Outcome, SessionKey

HOUR = timedelta(hours=1)
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal that was sent, or in observe mode would have been; or a report that was made.

    ``spell`` is the session's then, and tells whether it still does the same.
    """

    key: SessionKey
    policy: str
    action: Action
    mode: Mode
    at: datetime
    spell: datetime | None = None

    @property
    def is_report(self) -> bool:
        """Whether nobody was hit."""
        return self.action is Action.REPORT


@dataclass(frozen=True, slots=True)
class Memory:
    """What was done to whom, who was refused, and who was seen waiting, and when last.

    ``tripped``: that the hour's limit is reached was said, and has not ended since.
    """

    sent: tuple[Sent, ...] = ()
    refused: frozenset[SessionKey] = frozenset()
    waited: Mapping[SessionKey, datetime] = field(default_factory=dict)
    tripped: bool = False

    def last_signals(self, mode: Mode) -> dict[SessionKey, Sent]:
        """The latest signal to each session in this mode."""
        return {one.key: one for one in self.sent if one.mode is mode and not one.is_report}

    def last_reports(self) -> dict[tuple[SessionKey, str], Sent]:
        """The latest report on each session by each policy."""
        return {(one.key, one.policy): one for one in self.sent if one.is_report}

    def hour(self, at: datetime, mode: Mode) -> tuple[Sent, ...]:
        """The signals of the last hour in this mode, the oldest first.

        One that is an hour old to the second is no longer among them.
        """
        recent = (
            one
            for one in self.sent
            if one.mode is mode and not one.is_report and abs(at - one.at) < HOUR
        )
        return tuple(sorted(recent, key=lambda one: one.at))

    def settle(self, key: SessionKey, outcome: Outcome) -> Memory:
        """Take in what came of the latest signal to a session, when nobody was hit by it.

        It then does not count against the limits, and no ladder goes on from it. A session that we
        were refused (a superuser's, to a role that is none) is not tried again.
        """
        if outcome in {Outcome.SIGNALLED, Outcome.WOULD}:
            return self
        last = self.last_signals(Mode.ENFORCE).get(key)
        refused = self.refused | {key} if outcome is Outcome.REFUSED else self.refused
        return replace(
            self, sent=tuple(one for one in self.sent if one is not last), refused=refused
        )

    def advance(
        self, at: datetime, present: Collection[SessionKey], waiting: Collection[SessionKey]
    ) -> Memory:
        """Forget sessions that have ended, and signals that no limit counts any more.

        A signal that lies further in the future than an hour is forgotten too: the server's clock
        was wrong, then or now, and limits must not stay exhausted until it is right again.
        """
        kept: list[Sent] = []
        later: set[tuple[SessionKey, str]] = set()
        for one in reversed(self.sent):
            slot = (one.key, f"report {one.policy}" if one.is_report else one.mode)
            recent = abs(at - one.at) < HOUR
            latest = slot not in later and one.key in present and (recent or one.at <= at)
            if latest or (recent and not one.is_report):
                kept.append(one)
            later.add(slot)
        seen = {key: when for key, when in self.waited.items() if key in present and when <= at}
        return replace(
            self,
            sent=tuple(reversed(kept)),
            refused=self.refused & frozenset(present),
            waited={**seen, **dict.fromkeys(waiting, at)},
        )

    def to_document(self) -> dict[str, Any]:
        """Itself as JSON's types, for :meth:`from_document`."""
        return {
            "sent": [
                {
                    **_key_document(one.key),
                    "policy": one.policy,
                    "action": str(one.action),
                    "mode": str(one.mode),
                    "at": _text(one.at),
                    "spell": _text(one.spell),
                }
                for one in self.sent
            ],
            "refused": [_key_document(key) for key in sorted(self.refused, key=_order)],
            "waited": [{**_key_document(key), "at": _text(at)} for key, at in self.waited.items()],
            "tripped": self.tripped,
        }

    @classmethod
    def from_document(cls, document: Any) -> Memory:
        """Read what :meth:`to_document` wrote.

        Raises:
            ValueError: when it is not one of those.
        """
        try:
            return cls(
                sent=tuple(
                    Sent(
                        key=_key(one),
                        policy=str(one["policy"]),
                        action=Action(one["action"]),
                        mode=Mode(one["mode"]),
                        at=_time(one["at"]),
                        spell=_optional_time(one["spell"]),
                    )
                    for one in document["sent"]
                ),
                refused=frozenset(_key(one) for one in document["refused"]),
                waited={_key(one): _time(one["at"]) for one in document["waited"]},
                tripped=document["tripped"] is True,
            )
        except _DAMAGE as error:
            raise ValueError(f"not a memory of the watch: {error!r}") from error


def _order(key: SessionKey) -> tuple[int, str]:
    return key.pid, _text(key.backend_start) or ""


def _key_document(key: SessionKey) -> dict[str, Any]:
    return {"pid": key.pid, "backend_start": _text(key.backend_start)}


def _key(document: Any) -> SessionKey:
    return SessionKey(int(document["pid"]), _optional_time(document["backend_start"]))


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no timezone")
    return at


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)
