"""``guardian sessions`` and ``guardian locks``: who is there, what the policies say, who blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from guardian.cli.completion import complete_servers
from guardian.cli.console import json_option
from guardian.cli.looking import Seen, look, watch_option
from guardian.cli.main import AppContext

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text


@click.command()
@click.argument("server", required=False, shell_complete=complete_servers)
@click.option("-a", "--all", "everyone", is_flag=True, help="The server's own processes, too.")
@watch_option
@json_option
@click.pass_obj
def sessions(
    context: AppContext, server: str | None, everyone: bool, watch: str | None, as_json: bool
) -> None:
    """Sessions, with what the policies say of each; on all servers unless one is named.

    It only looks. JSON lists all sessions, the server's own processes too.
    """
    from guardian.cli.session_documents import session_document

    def documents(seen: Seen) -> list[dict[str, Any]]:
        return [
            session_document(
                seen.observation, one, seen.verdicts.get(one.key), seen.spared.get(one.key)
            )
            for one in seen.observation.sessions
        ]

    def lines(out: Console, seen: Seen) -> Iterable[Text]:
        from guardian.cli.sessions_view import session_lines

        return session_lines(out, seen.observation, seen.verdicts, seen.spared, everyone=everyone)

    look(context, server, watch, as_json=as_json, documents=documents, lines=lines)


@click.command()
@click.argument("server", required=False, shell_complete=complete_servers)
@watch_option
@json_option
@click.pass_obj
def locks(context: AppContext, server: str | None, watch: str | None, as_json: bool) -> None:
    """Who holds up whom: each root with the tree of those that wait, the worst first."""
    from guardian.cli.session_documents import root_document
    from guardian.watch.locks import LockGraph

    def documents(seen: Seen) -> list[dict[str, Any]]:
        graph = LockGraph(seen.observation)
        return [root_document(seen.observation, graph, root, seen.verdicts) for root in graph.roots]

    def lines(out: Console, seen: Seen) -> Iterable[Text]:
        from guardian.cli.locks_view import lock_lines

        graph = LockGraph(seen.observation)
        return lock_lines(out, seen.observation, graph, seen.verdicts)

    look(context, server, watch, as_json=as_json, documents=documents, lines=lines)
