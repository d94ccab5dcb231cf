"""Ending, from another thread, what runs on a connection, also where the server answers no more."""

from __future__ import annotations

import contextlib
import os
import socket

import psycopg

_ANSWER_SECONDS = 5


def break_off(connection: psycopg.Connection) -> None:
    """Cancel what runs there. Raises nothing; whoever waits on the connection hears of it.

    A server that hangs, or a network that swallows everything, takes no request to cancel either:
    then the connection itself is shut down, so that nobody waits for it for ever.
    """
    try:
        connection.cancel_safe(timeout=_ANSWER_SECONDS)
    except psycopg.Error:
        _shut_down(connection)


def _shut_down(connection: psycopg.Connection) -> None:
    # A copy of the descriptor: closing the connection meanwhile must not hand us another file.
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)
