"""SQL kept apart from code: one commented ``.sql`` file a question, read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def query(name: str) -> LiteralString:
    """The text of ``name``.sql beside this module."""
    # Shipped with the package and never assembled from input, hence as good as a literal.
    return (files(__package__) / f"{name}.sql").read_text(encoding="ascii")  # fits any connection
