"""The escalator of one configuration, and what it asks of the rest of guardian."""

from __future__ import annotations

from guardian.daemon.app import App
from guardian.daemon.briefing import protections
from guardian.escalate.engine import Escalator
from guardian.escalate.ports import Courier


def make_escalator(app: App, courier: Courier | None = None) -> Escalator:
    """By the config's rules, in its catalog. ``courier`` takes what is urgent while that is away.

    Raises:
        CatalogError: the catalog cannot be opened.
    """
    return Escalator(
        app.catalog,
        app.clock,
        app.config.escalation.to_rules(),
        courier=courier,
        protections=lambda since: protections(app, since),
    )
