"""What a person configures of the watch: which sessions are victims, and how many at most.

The names are those of the configuration's keys, which ``guardian.config.watching`` converts here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum

from guardian.watch.expressions import expression
from guardian.watch.model import Action


class Victims(StrEnum):
    """Which of the sessions that match are victims. Age is as for ``Match.for_``."""

    ALL = "all"
    OLDEST = "oldest"
    ALL_BUT_OLDEST = "all-but-oldest"


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions on a session. None and the empty tuple mean: not asked.

    As a policy's ``match`` all must hold, as its ``except`` any. A tuple holds when any entry does;
    ``users``, ``databases``, ``applications`` and ``wait_event_types`` are globs, case kept;
    ``clients`` are networks, in which a session over a Unix socket never is; ``query`` is a regular
    expression in RE2's syntax, searched in what the server shows of the query. A duration holds
    when it is *exceeded*, a number when it is reached. What is not known of a session never holds.

    ``blocking``, ``blocking_for`` and ``blocking_backup`` look through the chain: how many wait
    behind it, how long it has held up the one that waits longest, and whether a backup of ours is
    among them.

    Raises:
        ValueError: for a bad expression or network, or a number that is not positive.
    """

    state: tuple[str, ...] = ()
    for_: timedelta | None = None
    transaction_for: timedelta | None = None
    users: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    query: str | None = None
    wait_event_types: tuple[str, ...] = ()
    blocking: int | None = None
    blocking_for: timedelta | None = None
    waiting_for: timedelta | None = None
    blocking_backup: bool | None = None
    keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The names of the fields that ask for something, in their order."""

    def __post_init__(self) -> None:
        names = [each.name for each in fields(self) if each.init]
        asked = tuple(name for name in names if getattr(self, name) not in (None, ()))
        object.__setattr__(self, "keys", asked)  # asked for a session and policy, many times a look
        for network in self.clients:
            ipaddress.ip_network(network, strict=False)
        if self.query is not None:
            expression(self.query)
        if self.blocking is not None and self.blocking < 1:
            raise ValueError("blocking is not a number above zero")
        for name in ("for_", "transaction_for", "blocking_for", "waiting_for"):
            duration = getattr(self, name)
            if duration is not None and duration <= timedelta(0):
                raise ValueError(f"{name.rstrip('_')} is not a duration above zero")

    @property
    def wants_root(self) -> bool:
        """Whether only the root of a chain can be meant.

        It asks for who holds others up, and not for one that waits itself: such a session is
        innocent, ending it would free nobody for good.
        """
        asks = self.blocking is not None or self.blocking_for is not None or self.blocking_backup
        return bool(asks) and self.waiting_for is None


LADDER: Sequence[Action] = (Action.CANCEL, Action.TERMINATE)
"""The only sequence of actions: the second follows when the first did not help."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which sessions are victims, and what becomes of them.

    ``action`` is one action, or the ladder: cancel, and after ``grace`` terminate.

    Raises:
        ValueError: when ``match`` asks for nothing, which would make everyone a victim, and for a
            sequence of actions that is no ladder.
    """

    name: str
    match: Match
    action: tuple[Action, ...]
    except_: Match = Match()
    victims: Victims = Victims.ALL
    grace: timedelta = timedelta(seconds=30)
    superusers: bool = False

    def __post_init__(self) -> None:
        if not self.match.keys:
            raise ValueError(f"policy {self.name!r}: match is empty")
        if len(self.action) != 1 and tuple(self.action) != tuple(LADDER):
            raise ValueError(f"policy {self.name!r}: write one action, or [cancel, terminate]")

    @property
    def is_ladder(self) -> bool:
        """Whether it cancels first and terminates later."""
        return len(self.action) > 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How many signals may be sent: in one look, in an hour, and to the same session.

    ``cool_down`` is how long a session that was signalled is left alone, so that what was sent can
    take effect. A ladder's own next step follows after its ``grace`` instead.
    """

    per_cycle: int = 5
    per_hour: int = 60
    cool_down: timedelta = timedelta(seconds=30)
