from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from guardian.config import Config, load_config
from guardian.daemon.crashes import CrashReporter, Scrubber, secrets_of

CONFIG = r"""
catalog: postgresql://guardian:catalog-pw@db/guardian
encryption: {passphrase_file: /nowhere}
stores:
  bucket: {kind: s3, bucket: b, access_key_id: AKIAIDIDID, secret_access_key: s3-secret/+x}
servers:
  main: {dsn: 'postgresql://ann:p%40ss%2Fword@db.example/mina', password: other-password}
  side: {dsn: "host=db dbname=x password='it\\'s quoted'"}
escalation:
  channels:
    chat: {kind: slack, webhook_url: 'https://hooks.example/services/T000/B000/XXXX'}
    hook: {kind: webhook, url: 'https://h.example/x', headers: {Authorization: Bearer abcdef}}
service: {token: dashboard-token}
"""
SECRETS = (
    "catalog-pw", "AKIAIDIDID", "s3-secret/+x", "s3-secret%2F%2Bx", "p@ss/word", "p%40ss%2Fword",
    "other-password", "it's quoted", "T000/B000/XXXX", "abcdef", "dashboard-token",
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "guardian.yaml"
    file.write_text(CONFIG)
    return load_config(file, {})


@pytest.fixture
def scrub(config: Config) -> Scrubber:
    return Scrubber(secrets_of(config))


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_of_the_configuration_gets_through(scrub: Scrubber, secret: str) -> None:
    told = scrub(f"could not use <{secret}>, sorry")
    assert secret not in told
    assert told.startswith("could not use <")


def test_also_at_any_depth_and_where_the_configuration_does_not_know_it(scrub: Scrubber) -> None:
    event = {"a": [{"b": ("x other-password y", 1)}], "other-password": None}
    assert scrub(event) == {"a": [{"b": ["x … y", 1]}], "…": None}
    assert "hunter2" not in scrub("connect: host=x PASSWORD = 'hunter2 \\' x' user=y")
    assert scrub("host=x password=hunter2 user=y") == "host=x password=… user=y"


def test_a_configuration_without_secrets_changes_no_text() -> None:
    assert Scrubber([])("a text, untouched") == "a text, untouched"
    assert Scrubber(["ab"])("ab is too short to be told from words") == (
        "ab is too short to be told from words"
    )


def test_the_line_says_what_and_hides_secrets(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = CrashReporter.of(config, "k3f9")
    with caplog.at_level(logging.DEBUG):
        line = reporter.report("watch:main", RuntimeError("no\nanswer from p@ss/word"))
    assert line == "RuntimeError: no answer from …"
    assert "watch:main: internal error: RuntimeError: no answer from …" in caplog.text
    assert "p@ss/word" not in caplog.text


def test_the_line_says_where_in_our_code(config: Config) -> None:
    with pytest.raises(TypeError) as caught:
        Scrubber([None])  # type: ignore[list-item]
    line = CrashReporter.of(config, "k3f9").report("x", caught.value)
    assert "(guardian/daemon/crashes.py:" in line


def test_sentry_in_trouble_is_no_second_crash(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = CrashReporter(Scrubber([]), "k3f9", dsn="not a dsn")
    assert reporter.report("x", RuntimeError("y")) == "RuntimeError: y"
    assert "Sentry could not be told" in caplog.text
    reporter.close()


def test_only_a_channel_of_sentry_makes_it_send(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def remember(_self: CrashReporter, where: str, error: BaseException) -> None:
        if _self._dsn is not None:
            sent.append((where, _self._dsn, error))

    monkeypatch.setattr(CrashReporter, "_send", remember)
    CrashReporter.of(config, "k3f9").report("x", RuntimeError("y"))
    assert sent == []
    file = tmp_path / "guardian.yaml"
    channel = "    sentry: {kind: sentry, dsn: 'https://key@sentry.example/1'}\n"
    file.write_text(CONFIG.replace("service:", channel + "service:"))
    CrashReporter.of(load_config(file, {}), "k3f9").report("x", RuntimeError("y"))
    assert [dsn for _, dsn, _ in sent] == ["https://key@sentry.example/1"]
