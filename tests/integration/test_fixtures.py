"""The servers of the other tests are what they claim to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

TESTS = Path(__file__).parents[1]


def test_each_server_takes_us_over_socket_and_tcp(pg, fresh_database):
    database = fresh_database(pg)
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 3) AS x")

    with database.connect(tcp=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)
    with psycopg.connect(database.uri()) as connection:
        assert connection.info.server_version // 10000 == pg.major
    assert database.rows("SELECT sum(x) FROM t") == [(6,)]


def test_roles_have_passwords_that_count_over_tcp(pg, fresh_role, fresh_database):
    role = fresh_role(pg)
    database = fresh_database(pg, options=f"OWNER {role.name}")

    with database.connect(role=role, tcp=True) as connection:
        connection.execute("CREATE SCHEMA mine")
        assert connection.info.user == role.name
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        database.connect(role=role, tcp=True, password="wrong")


def test_databases_are_gone_after_the_test_also_with_someone_connected(pg16, request):
    fresh_database = request.getfixturevalue("fresh_database")
    database = fresh_database(pg16, "ünïque 🐘 name")
    with database.connect():
        pg16.drop_database(database.name)
    with pg16.connect() as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname = %s", [database.name]
        ).fetchone() == (0,)


def test_debians_has_tls_and_contrib(pg15, fresh_database):
    database = fresh_database(pg15)
    certificate = pg15.embedded.data_dir / "server.crt"

    with database.connect(
        tcp=True, sslmode="verify-ca", sslrootcert=str(certificate)
    ) as connection:
        assert connection.pgconn.ssl_in_use
        connection.execute("CREATE EXTENSION pg_trgm")
        connection.execute("CREATE EXTENSION amcheck")


def run_pytest(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", folder],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TESTS), **environment},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_skip_fails_the_run_under_ci_and_is_named(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('no tool')\n"
    )

    under_ci = run_pytest(tmp_path, CI="true")
    assert under_ci.returncode == 1, under_ci.stdout + under_ci.stderr
    assert "skipped under CI: test_it.py::test_b" in under_ci.stdout
    assert run_pytest(tmp_path).returncode == 0


def test_a_module_that_skips_itself_fails_the_run_too(tmp_path):
    (tmp_path / "test_it.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tmp_path / "test_other.py").write_text("def test_a(): pass\n")

    assert run_pytest(tmp_path, CI="true").returncode == 1
