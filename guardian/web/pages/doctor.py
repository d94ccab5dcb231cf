"""The doctor's last report, and asking for a new one."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, redirect, url_for
from flask.typing import ResponseReturnValue

from guardian.web import asking, rendering
from guardian.web.views.doctor import report_view

blueprint = Blueprint("doctor", __name__)


@blueprint.get("/doctor")
def doctor() -> Response:
    """Each check with its mend."""
    sources = asking.sources()
    report = sources.doctor.report() if sources.doctor else None
    is_running = sources.doctor.is_running if sources.doctor else False
    return rendering.page(
        "doctor",
        live=2 if is_running else 20,
        report=report_view(report) if report else None,
        is_running=is_running,
        is_offered=sources.doctor is not None,
        components=sources.health.components(),
        reasons=sources.health.reasons(),
    )


@blueprint.post("/doctor/run")
def run() -> ResponseReturnValue:
    """Begin an examination; the page shows it when it is done."""
    examiner = asking.sources().doctor
    if examiner is not None:
        examiner.start()
    return redirect(url_for("doctor.doctor"), HTTPStatus.SEE_OTHER)
