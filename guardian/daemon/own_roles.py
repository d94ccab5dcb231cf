"""Roles that guardian works as on a server beside its DSN's: drills, the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from guardian.adapters.postgres.connection import Connector

if TYPE_CHECKING:
    from guardian.daemon.app import App


def own_roles(app: App, server: str) -> set[str]:
    """Their names: sessions of theirs are guardian's own, and never victims."""
    roles = set()
    place = app.verify_section(server).scratch.get_secret_value()
    if place != "embedded":
        roles.add(Connector(f"{server}.verify.scratch", place).parameters().get("user"))
    if app.config.catalog_url.startswith("postgres"):
        roles.add(make_url(app.config.catalog_url).username)
    return {role for role in roles if role}
