"""No secret of the configuration can be printed, by accident or by `config show`."""

import json
import traceback
from pathlib import Path

import pytest

from guardian.config import InvalidConfigError, load, load_config
from guardian.config.show import mask_dsn, shown, shown_lines

TEXT = """\
catalog: postgresql+psycopg://g:canary-1@cat.example/g
encryption: {passphrase_file: pass}
stores:
  local: {kind: local, path: backups}
  s3: {kind: s3, bucket: bucket, access_key_id: canary-2, secret_access_key: canary-3,
       session_token: canary-4}
servers:
  main:
    dsn: "host=db.example user=u password='canary-5 \\\\' canary-6' dbname=d"
    password_file: password
    verify: {scratch: "postgresql://s:canary-7@x@scratch.example/d?sslpassword=canary-8"}
escalation:
  channels:
    a: {kind: slack, webhook_url: "https://hooks.example/canary-9"}
    b: {kind: slack, bot_token: canary-10, channel: "#x"}
    c: {kind: pagerduty, routing_key: canary-11}
    d: {kind: email, host: h, from: a@b.example, to: [c@d.example], username: u,
        password: canary-12}
    e: {kind: sentry, dsn: "https://canary-13@sentry.example/1"}
    f: {kind: webhook, url: "https://hook.example/canary-14", secret: canary-15,
        headers: {Authorization: Bearer canary-16}}
    g: {kind: apprise, url: "tgram://canary-17/x"}
    h: {kind: discord, webhook_url: "https://discord.example/api/webhooks/1/canary-22"}
    i: {kind: teams, webhook_url: "https://flow.example/workflows?sig=canary-23"}
    j: {kind: telegram, bot_token: "1:canary-24", chat: -100}
heartbeat:
  - {kind: ping, url: "https://hc.example/canary-18"}
  - {kind: sentry-cron, dsn: "https://canary-19@sentry.example/1"}
service: {token: canary-20}
"""


@pytest.fixture
def path(write, tmp_path: Path) -> Path:
    (tmp_path / "password").write_text("canary-21\n")
    return write(TEXT)


def test_nothing_prints_a_secret(path: Path) -> None:
    loaded = load(path, {})
    config = loaded.config
    printed = [
        repr(config),
        str(config),
        config.model_dump_json(),
        repr(config.model_dump()),
        json.dumps(shown(loaded)),
        "\n".join(shown_lines(loaded)),
        repr(loaded),
    ]
    assert [text for text in printed if "canary" in text] == []


def test_show_leaves_what_is_no_secret(path: Path) -> None:
    text = json.dumps(shown(load(path, {})))
    for name in ("db.example", "cat.example", "scratch.example", "bucket", "c@d.example"):
        assert name in text


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:canary@h/d",
        "postgres://u:can%40ary@h/d",
        "postgresql://u:canary@canary@h/d",
        "postgresql://u:canary/canary@h/d",
        "postgresql://u:canary?canary@h/d",
        "postgresql://:canary@h/d",
        "postgresql://h/d?user=u&password=canary",
        "postgresql://h/d?password=canary#canary",
        "postgresql://h/d?sslpassword=canary&x=1",
        "postgresql://h/d?user=u&p%61ssword=canary",
        "postgresql+psycopg://u:canary@h,h2:5433/d",
        "host=h password=canary",
        "host=h password = canary user=u",
        "host=h password='canary canary'",
        "host=h password='can\\'ary canary'",
        "host=h password=can\\ ary\\ canary",
        "host=h password=canary@canary",
        "PASSWORD=canary host=h",
        "host=h sslpassword=canary",
        "host=h password='canary",
    ],
)
def test_a_masked_dsn_has_no_password(dsn: str) -> None:
    masked = mask_dsn(dsn)
    assert "ary" not in masked, masked
    assert "h" in masked


def test_a_mistake_beside_a_secret_does_not_tell_it(write, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary-21\n")
    text = TEXT.replace("service: {token: canary-20}", "service: {token: [canary-20]}")
    text = text.replace("access_key_id: canary-2", "access_key_id: {a: canary-2}")
    text = text.replace("routing_key: canary-11", "routing_key: canary-11, nonsense: canary-22")
    with pytest.raises(InvalidConfigError) as caught:
        load_config(write(text), {})
    assert len(caught.value.problems) == 3
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert "canary" not in told
