"""Filling in forms of the dashboard as a browser without JavaScript does."""

from __future__ import annotations

import re
from html import unescape

import httpx


def hidden_fields(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that goes to that address."""
    for form in re.findall(r"<form\b.*?</form>", html, re.DOTALL):
        if f'action="{action}"' in form or f'formaction="{action}"' in form:
            fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)
            return {name: unescape(value) for name, value in fields}
    raise AssertionError(f"no form goes to {action}")


def csrf(client: httpx.Client, page: str = "/doctor") -> str:
    """The token of this client's session."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(page).text)
    assert found is not None
    return found[1]


def log_in(client: httpx.Client, token: str, by: str = "ada", **more: str) -> httpx.Response:
    """Send the login's form."""
    fields = {"csrf": csrf(client, "/login"), "token": token, "by": by, **more}
    return client.post("/login", data=fields)
