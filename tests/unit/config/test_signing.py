"""Who signs, whose signatures count, and what is refused without one."""

import pytest

KEY = "0123456789abcdef0123456789ABCDEF01234567"
REST = """
stores:
  local: {kind: local, path: backups}
servers:
  main:
    dsn: host=db
"""


@pytest.mark.parametrize(
    ("encryption", "required"),
    [
        ("passphrase_file: pass", True),
        (f"recipients: [{KEY}]", False),
        (f"recipients: [{KEY}], sign_with: {KEY}", True),
        (f"recipients: [{KEY}], signed_by: {KEY}", True),
        ("passphrase_file: pass, require_signed: false", False),
        (f"recipients: [{KEY}], require_signed: true", True),
    ],
)
def test_what_is_unsigned_is_refused_where_signatures_can_be_checked(load, encryption, required):
    section = load(text=f"encryption: {{{encryption}}}{REST}").encryption
    assert section.is_signature_required is required


@pytest.mark.parametrize(
    "written",
    [KEY, KEY.lower(), f"'{KEY[:20]} {KEY[20:]}'", f"0x{KEY}", "9" * 40],
)
def test_a_fingerprint_is_the_same_however_it_is_written(load, written):
    section = load(
        text=f"encryption: {{passphrase_file: p, sign_with: {written}}}{REST}"
    ).encryption
    assert section.sign_with in {KEY.upper(), "9" * 40}


@pytest.mark.parametrize("written", ["ABCD1234", "ops@example.org", KEY[:-1], f"{KEY}00", "'*'"])
def test_what_could_mean_another_key_is_refused(problems, written):
    for key in ("sign_with", "signed_by"):
        (told,) = problems(text=f"encryption: {{passphrase_file: p, {key}: {written}}}{REST}")
        assert key in told
        assert "full fingerprint" in told
