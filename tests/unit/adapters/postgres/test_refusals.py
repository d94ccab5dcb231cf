from __future__ import annotations

import pytest

from guardian.adapters.postgres.refusals import cause_of, may_have_sqlstate, mend_of
from guardian.watch.outage import ProbeCause

AT = 'connection to server at "10.0.0.9", port 5432 failed: '


@pytest.mark.parametrize(
    ("sqlstate", "message", "cause"),
    [
        ("28P01", "было плохо", ProbeCause.AUTHENTICATION),
        ("28000", "no pg_hba.conf entry", ProbeCause.AUTHENTICATION),
        ("42501", "Keine Berechtigung", ProbeCause.AUTHENTICATION),
        ("3D000", "", ProbeCause.NO_DATABASE),
        ("55000", "", ProbeCause.NO_DATABASE),
        ("53300", "", ProbeCause.TOO_MANY_CONNECTIONS),
        ("57P01", "", ProbeCause.SHUTTING_DOWN),
        ("57P02", "", ProbeCause.IN_RECOVERY),
        ("57P03", "the database system is starting up", ProbeCause.STARTING_UP),
        ("57P03", "the database system is not yet accepting connections", ProbeCause.STARTING_UP),
        ("57P03", "the database system is shutting down", ProbeCause.SHUTTING_DOWN),
        ("57P03", "the database system is in recovery mode", ProbeCause.IN_RECOVERY),
        ("57P03", "the database system is not accepting connections", ProbeCause.IN_RECOVERY),
        ("57P03", "das Datenbanksystem startet", ProbeCause.STARTING_UP),
        ("08P01", "no such database: x", ProbeCause.NO_DATABASE),  # PgBouncer
        ("08P01", "no more connections allowed (max_client_conn)", "too_many_connections"),
        ("XX000", "weird", ProbeCause.UNKNOWN),
    ],
)
def test_a_sqlstate_decides(sqlstate: str, message: str, cause: ProbeCause) -> None:
    assert cause_of(sqlstate, f"{AT}FATAL:  {message}") is ProbeCause(cause)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (f"{AT}Connection refused\n\tIs the server running on that host?", ProbeCause.REFUSED),
        (
            'connection to server on socket "/run/.s.PGSQL" failed: No such file or directory',
            ProbeCause.REFUSED,
        ),
        (f"{AT}No route to host", ProbeCause.UNREACHABLE),
        (f"{AT}Network is unreachable", ProbeCause.UNREACHABLE),
        (f"{AT}Connection timed out", ProbeCause.TIMEOUT),
        (f"{AT}timeout expired", ProbeCause.TIMEOUT),
        (f"{AT}SSL SYSCALL error: EOF detected", ProbeCause.CLOSED),
        (f"{AT}server closed the connection unexpectedly", ProbeCause.CLOSED),
        (f"{AT}could not receive data from server: Connection reset by peer", ProbeCause.CLOSED),
        ('could not translate host name "x" to address', ProbeCause.DNS),
        ("failed to resolve host 'x': [Errno -2] Name or service not known", ProbeCause.DNS),
        (f"{AT}SSL error: certificate verify failed", ProbeCause.TLS),
        (f"{AT}server does not support SSL, but SSL was required", ProbeCause.TLS),
        (f'{AT}server certificate for "a" does not match host name "b"', ProbeCause.TLS),
        (f"{AT}fe_sendauth: no password supplied", ProbeCause.AUTHENTICATION),
        (f'{AT}FATAL:  role "x" does not exist', ProbeCause.AUTHENTICATION),
        (f'{AT}FATAL:  database "x" does not exist', ProbeCause.NO_DATABASE),
        (f"{AT}FATAL:  sorry, too many clients already", ProbeCause.TOO_MANY_CONNECTIONS),
        (f"{AT}FATAL:  remaining connection slots are reserved", "too_many_connections"),
        (f"{AT}FATAL:  the database system is starting up", ProbeCause.STARTING_UP),
        ("something else", ProbeCause.UNKNOWN),
    ],
)
def test_without_one_the_words_do(message: str, cause: ProbeCause) -> None:
    assert cause_of(None, message) is ProbeCause(cause)


@pytest.mark.parametrize("words", ["no encryption", "SSL off"])
def test_a_server_that_wants_tls(words: str) -> None:
    message = f'{AT}FATAL:  no pg_hba.conf entry for host "h", user "u", database "d", {words}'
    assert cause_of("28000", message) is ProbeCause.AUTHENTICATION
    assert cause_of("28000", message, tls_disabled=True) is ProbeCause.TLS
    assert cause_of(None, message, tls_disabled=True) is ProbeCause.TLS
    assert cause_of("28P01", message, tls_disabled=True) is ProbeCause.AUTHENTICATION


def test_only_what_a_server_may_have_said_is_asked_for_again() -> None:
    assert not may_have_sqlstate(f"{AT}Connection refused")
    assert not may_have_sqlstate(f"{AT}server closed the connection unexpectedly")
    assert may_have_sqlstate(f'{AT}FATAL:  role "Connection refused" does not exist')
    assert may_have_sqlstate(f"{AT}致命错误:  密码认证失败")


def test_each_cause_that_a_server_gives_has_a_mend() -> None:
    without = {cause for cause in ProbeCause if mend_of(cause) is None}
    assert without == {ProbeCause.UNKNOWN, ProbeCause.WRONG_ANSWER}
