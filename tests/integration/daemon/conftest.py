"""A site whose server never answers, so that a backup of it is at work for as long as one likes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.site import Site


@pytest.fixture
def silent_site(tmp_path: Path) -> Iterator[Site]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        port = silent.getsockname()[1]
        yield Site(tmp_path, f"host=127.0.0.1 port={port} dbname=mina user=u connect_timeout=600")
