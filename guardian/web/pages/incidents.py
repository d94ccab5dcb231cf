"""Incidents: what is open, what was, one with its story; and taking one on."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Blueprint, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from guardian.errors import NotFoundError, UsageError
from guardian.escalate.model import Incident, IncidentId
from guardian.web import asking, rendering
from guardian.web.asking import attempt_all
from guardian.web.ports import Desk
from guardian.web.views import incidents as view
from guardian.web.views.overview import open_and_worst_first

logger = logging.getLogger(__name__)
blueprint = Blueprint("incidents", __name__)
_RECENT = 60
_NOTE_LIMIT = 500


@blueprint.get("/incidents")
def incidents() -> Response:
    """Open ones, recent ones, silences, channels."""
    sources, now = asking.sources(), asking.now()
    recent = sources.catalog.incidents(limit=_RECENT)
    channels = attempt_all(sources.catalog.channel_health)
    silences = attempt_all(lambda: sources.catalog.silences(now))
    found = sources.catalog.open_incidents()
    return rendering.page(
        "incidents",
        live=10,
        open=open_and_worst_first(found),
        pending=[one for one in found if one.state == "pending"],
        recent=[one for one in recent if not one.state.is_open],
        level_of=view.level_of,
        channels=view.channel_rows(channels.value, now),
        silences=[(one, view.silence_words(one)) for one in silences.value],
        can_act=sources.desk is not None,
    )


@blueprint.get("/incidents/<incident_id>")
def incident(incident_id: str) -> Response:
    """One incident: evidence, what to do, timeline, who was told."""
    sources = asking.sources()
    found = _find(incident_id)
    return rendering.page(
        "incident",
        live=5 if found.state.is_open else 0,
        view=view.incident_view(
            found,
            sources.catalog.timeline(found.id),
            sources.catalog.envelopes(found.id),
            asking.now(),
        ),
        can_act=sources.desk is not None,
    )


@blueprint.post("/incidents/<incident_id>/acknowledge")
def acknowledge(incident_id: str) -> ResponseReturnValue:
    """Somebody has it."""
    found, desk, by = _wanted(incident_id)
    desk.acknowledge(found.id, by, _note())
    logger.info("incident %s was acknowledged by %s from %s", found.id, by, request.remote_addr)
    return _back(found)


@blueprint.post("/incidents/<incident_id>/resolve")
def resolve(incident_id: str) -> ResponseReturnValue:
    """It is over, somebody says."""
    found, desk, by = _wanted(incident_id)
    desk.resolve(found.id, by, _note())
    logger.info("incident %s was resolved by %s from %s", found.id, by, request.remote_addr)
    return _back(found)


def _wanted(incident_id: str) -> tuple[Incident, Desk, str]:
    desk, by = asking.sources().desk, asking.person()
    if desk is None:
        raise UsageError("incidents cannot be changed from here", mend="guardian incidents ack ID")
    if not by:
        raise UsageError("say who you are: it stands in the incident's timeline")
    return _find(incident_id), desk, by


def _find(incident_id: str) -> Incident:
    found = [
        one
        for one in asking.sources().catalog.find_incidents(incident_id)
        if one.id == IncidentId(incident_id)
    ]
    if not found:
        raise NotFoundError(f"there is no incident {incident_id}", mend="/incidents lists them")
    return found[0]


def _note() -> str:
    return " ".join(request.form.get("note", "").split())[:_NOTE_LIMIT]


def _back(found: Incident) -> ResponseReturnValue:
    return redirect(url_for("incidents.incident", incident_id=found.id), HTTPStatus.SEE_OTHER)
