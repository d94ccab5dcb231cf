"""What alarms are made of, by the configuration: the escalator and the channels."""

from __future__ import annotations

from collections.abc import Iterable

from guardian.daemon.app import App
from guardian.daemon.briefing import protections
from guardian.daemon.channels import make_channel
from guardian.errors import GuardianError
from guardian.escalate.engine import Escalator
from guardian.escalate.ports import Channel, Courier, EscalationCatalog


def make_escalator(
    app: App, courier: Courier | None = None, *, catalog: EscalationCatalog | None = None
) -> Escalator:
    """By the config's rules, in its catalog. ``courier`` takes what is urgent while that is away.

    Raises:
        CatalogError: the catalog cannot be opened.
    """
    return Escalator(
        catalog if catalog is not None else app.catalog,
        app.clock,
        app.config.escalation.to_rules(),
        courier=courier,
        protections=lambda since: protections(app, since),
    )


def make_channels(
    app: App, names: Iterable[str] | None = None
) -> tuple[dict[str, Channel], dict[str, GuardianError]]:
    """Channels of the config by name, and why others cannot be used here. Nothing is sent yet."""
    sections = app.config.escalation.channels
    channels: dict[str, Channel] = {}
    unusable: dict[str, GuardianError] = {}
    for name in sections if names is None else names:
        try:
            channels[name] = make_channel(name, sections[name])
        except GuardianError as error:
            unusable[name] = error
    return channels, unusable
