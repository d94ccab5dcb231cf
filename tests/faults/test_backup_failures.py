"""Each failure of a backup is told apart and told well, and leaves the stores as they were.

Every case begins with one good backup; after the failure the stores hold byte for byte what they
held before, and no command takes anything else for a backup.
"""

from __future__ import annotations

import resource
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.aftermath import sessions_left
from support.postgres import Database, PostgresServer, Role
from support.proxy import BreakableProxy
from support.site import Outcome, Site, snapshot_of


def assert_failed(outcome: Outcome, cause: str, *words: str, code: int = 1) -> dict[str, object]:
    assert outcome.code == code, outcome.err
    result = outcome.result
    assert result["status"] == "failed"
    assert result["error"]["cause"] == cause, result["error"]
    told = f"{result['error']['message']} {result['error']['mend']}"
    for word in words:
        assert word in told, told
    assert "\n" not in told
    return dict(result)


@pytest.fixture
def seasoned(site: Site) -> Site:
    """A site with one good backup."""
    assert site.back_up().code == 0
    return site


class Unchanged:
    """What the store and the list of backups were, and must be after."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = snapshot_of(site.store)
        self._listed = site.listed()

    def check(self) -> None:
        assert snapshot_of(self._site.store) == self._files
        assert self._site.listed() == self._listed


def test_wrong_password(seasoned: Site, small: Database, fresh_role: Callable[..., Role]) -> None:
    role = fresh_role(small.server)
    before, good = Unchanged(seasoned), seasoned.dsn
    seasoned.dsn = small.dsn(tcp=True, role=role, password="wr0ng-pa55")
    outcome = seasoned.back_up()
    assert_failed(outcome, "connection", "password authentication failed", "dsn")
    assert "wr0ng-pa55" not in outcome.out + outcome.err
    seasoned.dsn = good
    before.check()


def test_server_refuses_connections(seasoned: Site) -> None:
    before, good = Unchanged(seasoned), seasoned.dsn
    seasoned.dsn = "host=127.0.0.1 port=1 dbname=x user=x"
    seasoned.server = {"backup": {"attempts": 1}}
    assert_failed(seasoned.back_up(), "connection", "cannot be reached")
    seasoned.dsn, seasoned.server = good, {}
    before.check()


def test_no_such_database(seasoned: Site) -> None:
    before = Unchanged(seasoned)
    assert_failed(seasoned.back_up("main/nowhere"), "connection", "nowhere")
    before.check()


def test_no_connect_privilege(
    seasoned: Site, small: Database, fresh_role: Callable[..., Role]
) -> None:
    role = fresh_role(small.server)
    small.execute(f'REVOKE CONNECT ON DATABASE "{small.name}" FROM PUBLIC')
    before, good = Unchanged(seasoned), seasoned.dsn
    seasoned.dsn = small.dsn(role=role, tcp=True)
    assert_failed(seasoned.back_up(), "permission", "permission denied for database")
    seasoned.dsn = good
    before.check()


def test_one_table_that_may_not_be_read_is_named_with_its_grant(
    seasoned: Site, small: Database, fresh_role: Callable[..., Role]
) -> None:
    role = fresh_role(small.server)
    small.execute(f'GRANT SELECT ON users TO "{role.name}"')
    before, good = Unchanged(seasoned), seasoned.dsn
    seasoned.dsn = small.dsn(role=role, tcp=True)
    result = assert_failed(seasoned.back_up(), "permission", "public.notes", "GRANT SELECT")
    assert "public.users" not in str(result["error"])
    seasoned.dsn = good
    before.check()


def test_row_level_security_that_hides_rows(
    seasoned: Site, small: Database, fresh_role: Callable[..., Role]
) -> None:
    role = fresh_role(small.server)
    small.execute(
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role.name}"',
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
    )
    before, good = Unchanged(seasoned), seasoned.dsn
    seasoned.dsn = small.dsn(role=role, tcp=True)
    seasoned.server = {"globals": False}
    assert_failed(seasoned.back_up(), "permission", "notes", "BYPASSRLS")
    seasoned.dsn, seasoned.server = good, {}
    before.check()


def test_no_pg_dump_on_this_host(seasoned: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Unchanged(seasoned)
    hide = seasoned.root / "sitecustomize.py"
    hide.write_text(
        "import guardian.adapters.postgres.tools as tools\ntools._candidates = lambda: iter(())\n"
    )
    seasoned.environ["PYTHONPATH"] = str(seasoned.root)
    assert_failed(seasoned.back_up(), "version_mismatch", "client tools", "postgresql-client")
    del seasoned.environ["PYTHONPATH"]
    before.check()


def test_pg_dump_older_than_the_server(
    pg16: PostgresServer, fresh_database: Callable[..., Database], tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", fresh_database(pg16).dsn())
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_restore", "pg_dumpall", "psql"):
        (folder / name).symlink_to(f"/usr/lib/postgresql/15/bin/{name}")
    (tmp_path / "sitecustomize.py").write_text(
        "import guardian.adapters.postgres.tools as tools\n"
        "from pathlib import Path\n"
        "tools._candidates = lambda: iter([Path('/usr/lib/postgresql/15/bin')])\n"
    )
    site.environ["PYTHONPATH"] = str(tmp_path)
    assert_failed(site.back_up(), "version_mismatch", "15", "16", "too old")
    assert not site.store.exists() or snapshot_of(site.store) == {}


def test_gpg_missing(seasoned: Site) -> None:
    before = Unchanged(seasoned)
    empty = seasoned.root / "empty"
    empty.mkdir()
    seasoned.environ["PATH"] = str(empty)
    assert_failed(seasoned.back_up(), "encryption", "gpg", "install")
    del seasoned.environ["PATH"]
    before.check()


def _empty(path: Path) -> None:
    path.write_text("")


def _open_to_all(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, ["does not exist"]),
        (_empty, ["is empty"]),
        (_open_to_all, ["0644", "chmod 600"]),
    ],
)
def test_passphrase_file(seasoned: Site, spoil: Callable[[Path], None], words: list[str]) -> None:
    before = Unchanged(seasoned)
    spoil(seasoned.passphrase)
    assert_failed(seasoned.back_up(), "encryption", str(seasoned.passphrase), *words)
    before.check()


def test_unknown_recipient(seasoned: Site) -> None:
    before, good = Unchanged(seasoned), seasoned.encryption
    home = seasoned.root / "gnupg"
    home.mkdir(mode=0o700)
    seasoned.encryption = {"recipients": ["nobody@example.org"], "homedir": str(home)}
    assert_failed(seasoned.back_up(), "encryption", "nobody@example.org", "--import")
    seasoned.encryption = good
    before.check()


def test_disk_full_in_mid_write(large_site: Site) -> None:
    """A file size limit stands for the full disk: the write fails in the middle all the same."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

    large_site.write()
    outcome = large_site.run("backup", "now", "--json", preexec=limit)
    outcome.assert_clean()
    assert_failed(outcome, "disk_full", "local")
    assert snapshot_of(large_site.store) == {}
    assert large_site.listed() == []


def test_local_store_that_is_not_writable(seasoned: Site) -> None:
    before = Unchanged(seasoned)
    good = seasoned.stores
    blocker = seasoned.root / "file"
    blocker.write_text("in the way")
    seasoned.stores = {"local": {"kind": "local", "path": str(blocker / "store")}}
    assert_failed(seasoned.back_up(), "store", "local")
    seasoned.stores = good
    before.check()


def test_table_locked_by_ddl_is_retried_then_told(seasoned: Site, small: Database) -> None:
    before = Unchanged(seasoned)
    seasoned.server = {"backup": {"lock_timeout": "300ms", "attempts": 1}}
    with small.connect(application_name="a migration") as other:
        other.execute("BEGIN; ALTER TABLE notes ADD COLUMN x int")
        assert_failed(seasoned.back_up(), "locked", "public.notes", "a migration", "pid")
        other.execute("ROLLBACK")
    seasoned.server = {}
    before.check()


def test_lock_that_goes_away_is_waited_for(seasoned: Site, small: Database) -> None:
    seasoned.server = {"backup": {"lock_timeout": "200ms", "attempts": 3}}
    other = small.connect()
    other.execute("BEGIN; ALTER TABLE notes ADD COLUMN x int")

    def waiting() -> int:
        query = (
            "SELECT count(*)::int FROM pg_locks WHERE relation = 'notes'::regclass AND NOT granted"
        )
        return int(small.rows(query)[0][0])

    def let_go() -> None:
        for is_there in (lambda: waiting() > 0, lambda: waiting() == 0):
            while not is_there():  # it waits, then has given up the first time
                time.sleep(0.02)
        other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=let_go)
    thread.start()
    outcome = seasoned.back_up()
    thread.join()
    assert outcome.code == 0, outcome.err
    assert "trying again" in outcome.err


def test_timeout(large_site: Site) -> None:
    large_site.server = {"backup": {"timeout": "700ms"}}
    assert_failed(large_site.back_up(), "timeout", "backup.timeout")
    assert snapshot_of(large_site.store) == {}
    assert large_site.listed() == []
    assert sessions_left(large_site.dsn) == []


def test_connection_cut_in_mid_dump(large_site: Site, large: Database) -> None:
    with BreakableProxy("127.0.0.1", large.server.port) as proxy:
        port = int(proxy.endpoint_url.rsplit(":", 1)[1])
        good = large_site.dsn
        large_site.dsn = psycopg.conninfo.make_conninfo(
            large.dsn(tcp=True), port=port, sslmode="disable"
        )
        large_site.server = {"backup": {"attempts": 1}, "globals": False}
        proxy.cut_after(12 << 20, direction="down")
        outcome = large_site.back_up()
        large_site.dsn = good
    assert_failed(outcome, "connection")
    assert snapshot_of(large_site.store) == {}
    assert large_site.listed() == []


def test_server_dies_in_mid_dump(large_site: Site, large: Database) -> None:
    """Its backends are terminated while they send: what a crash or a restart looks like to us."""
    large_site.server = {"backup": {"attempts": 1}}
    process = large_site.start("backup", "now", "--json")
    with large.server.connect() as admin:
        deadline = time.monotonic() + 60
        killed = 0
        while not killed and time.monotonic() < deadline:
            killed = len(
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'guardian dump' AND query LIKE 'COPY%'"
                ).fetchall()
            )
        assert killed
    out, err = process.communicate(timeout=60)
    assert_failed(Outcome(process.returncode, out, err), "connection")
    assert snapshot_of(large_site.store) == {}
    assert sessions_left(large_site.dsn) == []


def test_the_failures_are_counted_and_listed_nowhere(seasoned: Site) -> None:
    before = Unchanged(seasoned)
    good = seasoned.passphrase.read_text()
    seasoned.passphrase.write_text("")
    for _ in range(2):
        assert seasoned.back_up().code == 1
    document = seasoned.run("status", "--json", check=True).json
    assert document["databases"][0]["consecutive_failures"] == 2
    before.check()
    seasoned.passphrase.write_text(good)
    assert seasoned.back_up().code == 0
    document = seasoned.run("status", "--json", check=True).json
    assert document["databases"][0]["consecutive_failures"] == 0


def test_one_database_that_fails_does_not_stop_the_others(
    seasoned: Site, small: Database, fresh_database: Callable[..., Database]
) -> None:
    other = fresh_database(small.server)
    other.execute("CREATE TABLE t (i int)")
    outcome = seasoned.back_up(f"main/{small.name}", "main/nowhere", f"main/{other.name}")
    assert outcome.code == 1
    assert [item["status"] for item in outcome.json] == ["succeeded", "failed", "succeeded"]


def test_scratch_of_the_environment_is_left_clean(seasoned: Site) -> None:
    """No temporary file of ours remains in the temporary folder."""
    folder = seasoned.root / "tmp"
    folder.mkdir()
    seasoned.environ["TMPDIR"] = str(folder)
    assert seasoned.back_up().code == 0
    assert list(folder.iterdir()) == []
    shutil.rmtree(folder)
