"""Ending, from another thread, what runs on a connection, also where the server answers no more."""

from __future__ import annotations

import contextlib
import os
import socket

import psycopg

_ANSWER_SECONDS = 5


def break_off(connection: psycopg.Connection) -> None:
    """Cancel what runs there and end the connection. Raises nothing; whoever uses it will hear.

    The request to cancel makes the server stop its work; a server that hangs, or a network that
    swallows everything, does not take it. So nobody waits for the answer: the connection is shut.
    """
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=_ANSWER_SECONDS)
    # A copy of the descriptor: closing the connection meanwhile must not hand us another file.
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)
