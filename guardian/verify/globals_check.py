"""Which roles a backup's globals would make."""

from __future__ import annotations

import re

from guardian.model import Difference

_CREATE_ROLE = re.compile(r'^CREATE ROLE ("(?:[^"]|"")+"|[^\s";]+);', re.MULTILINE)


def missing_from_globals(globals_sql: bytes, roles: tuple[str, ...]) -> tuple[Difference, ...]:
    """Roles that the restored objects need and pg_dumpall's script does not create.

    Roles whose names begin with ``pg_`` come with every server, and pg_dumpall leaves them out.
    """
    text = globals_sql.decode("utf-8", "surrogateescape")
    made = {_plain(match[1]) for match in _CREATE_ROLE.finditer(text)}
    return tuple(
        Difference(f"role {role}", "in the globals", "missing")
        for role in roles
        if role not in made and not role.startswith("pg_")
    )


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
