"""The token that shows that a form is one of ours."""

from __future__ import annotations

import secrets

from flask import request, session

from guardian.web.access import same


def csrf_token() -> str:
    """This session's token; made when a form first needs it."""
    if not isinstance(session.get("csrf"), str):
        session["csrf"] = secrets.token_urlsafe(32)
        session.permanent = True
    return str(session["csrf"])


def is_ours() -> bool:
    """Whether the form at hand carries this session's token."""
    known, given = session.get("csrf"), request.form.get("csrf", "")
    return isinstance(known, str) and same(known, given)
