"""Servers for a sweep that runs by hand, as the fixtures of tests are for one under pytest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.postgres import installation, running_server
from support.s3 import MotoS3
from support.sweeping.nursery import Nursery
from support.sweeping.stage import World


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a name short enough for sockets, which a scratch server's user may pass."""
    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_world() -> Iterator[World]:
    """Debian's PostgreSQL 15, and an S3 server when one is asked for."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        started: list[MotoS3] = []

        def s3() -> MotoS3:
            if not started:
                started.append(stack.enter_context(MotoS3(folder / "moto.log")))
            return started[0]

        server = stack.enter_context(running_server(installation(15, from_wheel=False), tls=True))
        nursery = Nursery()
        stack.callback(nursery.close)
        world = World(server, s3, nursery, folder)
        stack.callback(world.close)
        yield world
