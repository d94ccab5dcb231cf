"""All channels as the dispatcher knows them: how each does, and what is observed of that. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from guardian.escalate.conditions.own import CHANNEL, channel_conditions, unusable_conditions
from guardian.escalate.model import ChannelHealth, Observation
from guardian.escalate.pacing import Desk

SCOPE = "channels"
"""The scope of what is observed of channels themselves."""


class Desks:
    """A desk for each channel. For one thread at a time."""

    def __init__(self) -> None:
        self._desks: dict[str, Desk] = {}
        self._knows_health = False

    def of(self, channel: str) -> Desk:
        """That channel's desk, made when it is first asked for."""
        return self._desks.setdefault(channel, Desk(ChannelHealth(channel)))

    @property
    def wants_health(self) -> bool:
        """Whether the catalog is to be asked how channels do.

        At first, for how they did before this process; later, while we take one for failing, for
        whether a person's test has reached it.
        """
        return not self._knows_health or any(desk.is_failing for desk in self._desks.values())

    def learn(self, found: Sequence[ChannelHealth] | None) -> None:
        """What the catalog says of them; None where it does not."""
        for one in found or ():
            desk = self.of(one.channel)
            if desk.health == ChannelHealth(one.channel) or desk.is_outdated_by(one):
                desk.health = one
        self._knows_health = self._knows_health or found is not None

    def observation(
        self, now: datetime, channels: Collection[str], unusable: Mapping[str, str]
    ) -> Observation:
        """How channels do. Before the catalog has told how they did, silence ends no incident."""
        health = [one.health for one in self._desks.values()]
        failing = channel_conditions(health, now, tuple(channels))
        blind = () if self._knows_health else (f"{CHANNEL}:",)
        conditions = (*failing, *unusable_conditions(unusable, channels))
        return Observation(SCOPE, now, conditions, blind)
