"""Names of database objects as PostgreSQL writes them: quoting, and a form that is comparable.

An identity such as ``public."Users"`` comes from the server's ``quote_ident``, and which words
that quotes depends on its major (16 made ``system_user`` a keyword, 17 ``json_table``). So
identities are compared in a form that quotes only what its spelling requires.
"""

from __future__ import annotations

import re

NAME = r'(?:"(?:[^"]|"")*"|[a-z_][a-z0-9_]*)'
"""A regular expression for one name, quoted or not."""

QUALIFIED = rf"{NAME}(?:\.{NAME})*"
"""A regular expression for a name with its schema, if it has one."""

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.])pg_catalog\.')
_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL |= dict.fromkeys((0x2028, 0x2029), " ")

# Source: pg_get_keywords() of 15 to 18, all but the unreserved ones.
_KEYWORDS = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join json
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision primary
    real references returning right row select session_user setof similar smallint some substring
    symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes
    xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
    xmltable
    """.split()  # noqa: SIM905 (as a list it is 150 lines)
)


def quoted(name: str) -> str:
    """The name as ``quote_ident`` of the newest major writes it."""
    if _PLAIN.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """Schema and name, as ``format('%I.%I')`` of the newest major writes them."""
    return f"{quoted(schema)}.{quoted(name)}"


def comparable(identity: str) -> str:
    """The identity without what depends on the server: quotes around keywords, ``pg_catalog.``."""
    return _QUOTED.sub(_as_needed, identity)


def one_line(text: str) -> str:
    r"""The text with control characters escaped (``\n``), for names that hold such."""
    return text.translate(_CONTROL)


def _as_needed(match: re.Match[str]) -> str:
    name = match[1]
    if name is None:  # pg_catalog.
        return ""
    return name if _PLAIN.fullmatch(name) else match[0]
