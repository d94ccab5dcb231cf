"""pg_dumpall's script taken apart; none of its statements is lost."""

from __future__ import annotations

import pytest

from guardian.restore.archive import Section, TocEntry
from guardian.restore.globals_script import read_globals, without_attributes
from guardian.restore.roles_needed import roles_needed

SCRIPT = r"""--
-- PostgreSQL database cluster dump
--

\restrict tW39c

SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE ROLE b;
ALTER ROLE b WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y==$z:w=';
COMMENT ON ROLE b IS E'it''s;
\\restrict \\\\ x';
CREATE ROLE "Weird ""r; ROLE";
ALTER ROLE "Weird ""r; ROLE" SET search_path TO 'a b', 'C';
ALTER ROLE b IN DATABASE d SET work_mem TO '1MB';
SECURITY LABEL FOR 'p' ON ROLE b IS 'x';

GRANT b TO "Weird ""r; ROLE" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres;
GRANT SET ON PARAMETER work_mem TO b;
CREATE TABLESPACE fast OWNER b LOCATION '/disk;1';
ALTER TABLESPACE fast SET (seq_page_cost=1);
GRANT ALL ON TABLESPACE fast TO b;
COMMENT ON TABLESPACE fast IS 'x';
DO $$ secret 'thing' $$;
\unrestrict tW39c
"""


def test_every_statement_finds_its_place() -> None:
    script = read_globals(SCRIPT.encode())
    assert script.settings[1] == "SET client_encoding = 'UTF8'"
    assert list(script.roles) == ["b", 'Weird "r; ROLE']
    assert [line[:12] for line in script.roles["b"]] == [
        "CREATE ROLE ",
        "ALTER ROLE b",
        "COMMENT ON R",
        "SECURITY LAB",
    ]
    assert len(script.roles['Weird "r; ROLE']) == 2
    (membership,) = script.memberships
    assert (membership.role, membership.member) == ("b", 'Weird "r; ROLE')
    assert membership.statement.endswith("GRANTED BY postgres")
    assert membership.without_grantor.endswith("INHERIT TRUE")
    assert [grant.member for grant in script.parameters] == ["b"]
    assert len(script.tablespaces["fast"]) == 4
    assert script.unknown == ["ALTER ROLE b IN DATABASE", "DO"]
    assert script.missing({"b"}) == ['Weird "r; ROLE']


def test_a_script_that_is_cut_short_is_told_without_its_words() -> None:
    with pytest.raises(ValueError, match="does not end") as caught:
        read_globals(b"ALTER ROLE b WITH PASSWORD 'secret")
    assert "secret" not in str(caught.value)


def test_attributes_that_only_a_superuser_may_set_are_taken_out() -> None:
    statement = (
        "ALTER ROLE \"SUPERUSER\" WITH SUPERUSER INHERIT NOREPLICATION LOGIN PASSWORD 'SUPERUSER'"
    )
    rest, granted = without_attributes(statement, {"SUPERUSER", "REPLICATION"})
    assert " ".join(rest.split()) == (
        "ALTER ROLE \"SUPERUSER\" WITH INHERIT LOGIN PASSWORD 'SUPERUSER'"
    )
    assert granted == ["SUPERUSER"]


def entry(kind: str, owner: str, definition: str = "") -> TocEntry:
    return TocEntry(1, "t", kind, Section.PRE_DATA, "s", owner, definition, "", (), False)


ENTRIES = [
    entry("TABLE", "maker", "CREATE TABLE x ();"),
    entry("ACL", "maker", 'GRANT SELECT("to") ON TABLE s.t TO r1;\nREVOKE ALL ON t FROM "R 2";'),
    entry("ACL", "maker", "SET SESSION AUTHORIZATION r3;\nGRANT a ON b TO PUBLIC;\n"
          "RESET SESSION AUTHORIZATION;"),
    entry("DEFAULT ACL", "x", "ALTER DEFAULT PRIVILEGES FOR ROLE r4 IN SCHEMA s GRANT ALL ON TABLES"
          " TO pg_monitor;"),
    entry("POLICY", "maker", "CREATE POLICY p ON s.t TO r5, r6 USING ((EXISTS (SELECT 1 FROM u)))"),
]  # fmt: skip


def test_roles_that_a_restore_needs() -> None:
    assert roles_needed(ENTRIES) == ("R 2", "maker", "r1", "r3", "r4", "r5", "r6", "x")
    assert roles_needed(ENTRIES, grants=False) == ("maker", "r5", "r6", "x")
    assert roles_needed(ENTRIES, owners=False, grants=False) == ("r5", "r6")
    assert roles_needed([entry("ACL", "", "GRANT 'x")]) == ()
