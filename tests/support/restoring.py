"""A database worth restoring, its backup, and names to restore it to."""

from __future__ import annotations

import io
import logging
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import sql
from support.compare import assert_same_database
from support.postgres import Database, PostgresServer
from support.site import Outcome, Site

from guardian.cli.main import main

SHOP = """
CREATE SCHEMA billing;
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
INSERT INTO users (name) SELECT 'user ' || g FROM generate_series(1, 500) g;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, body text);
INSERT INTO notes SELECT g, 1 + g % 500, md5(g::text) FROM generate_series(1, 2000) g;
CREATE INDEX notes_of_user ON notes (user_id);
CREATE TABLE billing.invoices (id int PRIMARY KEY, cents bigint);
INSERT INTO billing.invoices SELECT g, g * 7 FROM generate_series(1, 100) g;
CREATE VIEW names AS SELECT name FROM users;
CREATE MATERIALIZED VIEW totals AS SELECT sum(cents) AS cents FROM billing.invoices;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
SELECT lo_from_bytea(0, 'large');
"""


def make_shop(server: PostgresServer, *, hostile: bool = True) -> Database:
    """A small database; with hostile settings of its own, and a comment."""
    database = server.create_database()
    database.execute(SHOP)
    with server.connect() as connection:
        name = sql.Identifier(database.name)
        statements = ["COMMENT ON DATABASE {} IS 'the ''shop'''"]
        if hostile:
            statements += [
                "ALTER DATABASE {} SET default_transaction_read_only = on",
                "ALTER DATABASE {} SET statement_timeout = '50ms'",
                'ALTER DATABASE {} SET search_path = billing, "$user", public',
            ]
        for statement in statements:
            connection.execute(sql.SQL(statement).format(name))
    return database


@dataclass
class Restoring:
    """A site with one backup, and a server to restore it to."""

    site: Site
    source: Database
    backup: str
    server: PostgresServer
    names: list[str] = field(default_factory=list)

    def new_name(self) -> str:
        """The name of a database that does not exist, dropped at the end with all that is kept."""
        self.names.append(f"r_{secrets.token_hex(4)}")
        return self.names[-1]

    def existing(self, *statements: str) -> Database:
        """A database at the target."""
        database = self.server.create_database(self.new_name())
        database.execute(*statements)
        return database

    def words(self, name: str, *words: str) -> list[str]:
        return ["restore", self.backup, "--to", self.server.dsn(name), "--json", *words]

    def run(self, name: str, *words: str) -> Outcome:
        """Restore; the outcome holds no traceback and no secret."""
        return run_inside(self.site, *self.words(name, *words))

    def restored(self, name: str, *words: str) -> dict[str, Any]:
        """Restore, which must do well; the document."""
        outcome = self.run(name, *words)
        assert outcome.code == 0, outcome.out + outcome.err
        document: dict[str, Any] = outcome.json
        assert document["status"] == "restored"
        return document

    def refused(self, name: str, *words: str, code: int = 2) -> str:
        """Restore, which must be refused; nothing may have changed. What it said."""
        before = self.databases()
        outcome = self.run(name, *words)
        assert outcome.code == code, outcome.out + outcome.err
        assert outcome.out == ""
        assert self.databases() == before
        return outcome.err

    def assert_restored(self, name: str, **options: bool) -> None:
        assert_same_database(
            self.source.dsn(), self.server.dsn(name), self.server.bindir, **options
        )

    def databases(self) -> dict[str, int]:
        """Names and numbers of all databases of the target."""
        with self.server.connect() as connection:
            rows = connection.execute("SELECT datname, oid::int8 FROM pg_database").fetchall()
        return dict(rows)

    def beside(self) -> list[str]:
        """Side databases of restores that are there now."""
        return [name for name in self.databases() if name.startswith("guardian_")]

    def clean(self) -> None:
        for name in self.databases():
            if any(name.startswith(one) for one in self.names):
                self.server.drop_database(name)
        self.names.clear()


def run_inside(site: Site, *words: str) -> Outcome:
    """Run the command line in this process, which spares the second that its start takes."""
    site.write()
    code = 0
    out, err = io.StringIO(), io.StringIO()
    handlers, level = list(logging.root.handlers), logging.root.level
    sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(["--config", str(site.config), *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        signal.signal(signal.SIGTERM, sigterm)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    outcome = Outcome(code, out.getvalue(), err.getvalue())
    outcome.assert_clean()
    return outcome


def back_up(
    folder: Path,
    source: Database,
    server: PostgresServer,
    *,
    section: dict[str, Any] | None = None,
    stores: dict[str, dict[str, Any]] | None = None,
) -> Restoring:
    """Make a backup of ``source``, to be restored to ``server``. ``section`` is the source's."""
    made = Site(folder, source.dsn(), server=section or {}, stores=stores or {})
    result = made.back_up().result
    assert result["status"] == "succeeded", result
    return Restoring(made, source, result["id"], server)


def wait_for(ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def command_lines(pids: Sequence[int]) -> str:
    """What other users of the host see of these processes."""
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    return b"\n".join(found).decode(errors="replace")
