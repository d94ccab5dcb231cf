"""Health and metrics, for load balancers and Prometheus."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request

from guardian.web import asking

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Whether guardian does its work: 200 or 503, as the contract has it."""
    return _answer({})


@blueprint.get("/health/detailed")
def detailed() -> Response:
    """The same, and each component."""
    components = [
        {
            "name": one.name,
            "status": one.status.value,
            "age_seconds": None if one.age is None else round(one.age, 1),
            "detail": one.detail,
        }
        for one in asking.sources().health.components()
    ]
    return _answer({"version": asking.sources().version, "components": components})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text."""
    data, kind = asking.sources().metrics.render(request.headers.get("Accept", ""))
    return Response(data, content_type=kind)


def _answer(more: dict[str, object]) -> Response:
    reasons = list(asking.sources().health.reasons())
    if not reasons:
        return jsonify({"status": "healthy", **more})
    response = jsonify({"status": "unhealthy", "reasons": reasons, **more})
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return response
