"""Whose rows are dumped by streams of their own, beside the one that dumps everything else."""

from __future__ import annotations

from collections.abc import Container, Sequence

from guardian.adapters.postgres.tables import Table

_WORTH_BYTES = 32 << 20
"""A stream with less to do costs more than it saves, and so does one for a smaller table."""
_MOST_TABLES = 1000
"""Each is named on pg_dump's command line."""


def spread(
    tables: Sequence[Table], streams: int, *, encoding: str, left_out: Container[int] = ()
) -> list[list[Table]]:
    """The tables whose rows further streams dump, a list for each; none where one stream will do.

    The biggest tables go first, each to the stream that has the least to do; the first stream has
    all the rest, and what falls to it. ``left_out`` are the oids of tables whose rows nobody dumps.
    """
    loads = [0] * max(1, streams)
    shares: list[list[Table]] = [[] for _ in loads]
    moving = [one for one in tables if _may_move(one, encoding) and one.oid not in left_out]
    moving = sorted(moving, key=lambda one: -one.bytes)[:_MOST_TABLES]
    oids = {one.oid for one in moving}
    loads[0] = sum(one.bytes for one in tables if one.oid not in oids and one.oid not in left_out)
    for table in moving:
        lightest = loads.index(min(loads))
        loads[lightest] += table.bytes
        shares[lightest].append(table)
    if sum(load >= _WORTH_BYTES for load in loads) < 2:
        return []
    return [share for share in shares[1:] if share]


def _may_move(table: Table, encoding: str) -> bool:
    """Whether pg_dump dumps its rows alone just as it does among all others.

    Not those of extensions, of which a condition tells the rows; not hash partitions, which come
    back through their root; not unlogged ones, of which a standby has none. A name must come to
    the server as the same characters that we got from it.
    """
    return (
        table.bytes >= _WORTH_BYTES
        and table.kind == "r"
        and not table.unlogged
        and table.condition is None
        and table.hash_root is None
        and (encoding == "UTF8" or (table.schema + table.name).isascii())
    )
