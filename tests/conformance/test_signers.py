"""The Signer port, kept by a passphrase and by an OpenPGP key: real ones, and every forgery."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keys import Homes

from guardian.adapters.signatures.openpgp import KeySigner
from guardian.adapters.signatures.passphrase import ITERATIONS, LABEL, PassphraseSigner
from guardian.adapters.signatures.several import SeveralSigners
from guardian.backup.signature import LARGEST
from guardian.errors import EncryptionError, ForgedError, SignatureError, UncheckedSignatureError
from guardian.ports import Signer

DOCUMENT = b'{"id": "20261123T020000Z-7f3a9c"}\n'
SECRET = "correct horse ÄÖ 🐎 : \\ $(true)".encode()


class Both(Signer, Protocol):
    def recognises(self, signature: bytes) -> bool: ...


@pytest.fixture(scope="module")
def home() -> Iterator[Homes]:
    home = Homes()
    yield home
    home.remove()


@pytest.fixture
def other_home() -> Iterator[Homes]:
    home = Homes()
    yield home
    home.remove()


@pytest.fixture(scope="module")
def key(home: Homes) -> str:
    return home.make_key("Guardian <guardian@example.org>", "sign")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("salts")


def by_passphrase(folder: Path, secret: bytes = SECRET, name: str = "salt") -> PassphraseSigner:
    return PassphraseSigner(lambda: secret, folder / name)


def signed(signer: Signer, document: bytes = DOCUMENT) -> bytes:
    signature = signer.sign(document)
    assert signature is not None
    return signature


@pytest.fixture(params=["passphrase", "key"])
def signer(request: pytest.FixtureRequest, folder: Path, home: Homes) -> Both:
    if request.param == "passphrase":
        return by_passphrase(folder)
    return KeySigner(sign_with=request.getfixturevalue("key"), homedir=home.path)


def test_what_is_signed_is_good_and_small(signer: Both) -> None:
    signer.check()
    signature = signed(signer)
    assert len(signature) < LARGEST
    assert signer.recognises(signature)
    signer.verify(DOCUMENT, signature)
    signer.verify(b"", signed(signer, b""))


def test_getting_ready_is_no_more_than_that(signer: Both, folder: Path) -> None:
    signer.get_ready()
    signer.verify(DOCUMENT, signed(signer))
    SeveralSigners(signer, [signer]).get_ready()
    SeveralSigners(None, []).get_ready()

    def missing() -> bytes:
        raise EncryptionError("there is no passphrase")

    without = PassphraseSigner(missing, folder / "other")
    without.get_ready()  # told to whoever signs
    with pytest.raises(EncryptionError, match="no passphrase"):
        without.sign(DOCUMENT)


@pytest.mark.parametrize("changed", [DOCUMENT[:-1], DOCUMENT + b" ", b"", DOCUMENT.upper()])
def test_any_other_document_is_refused(signer: Both, changed: bytes) -> None:
    with pytest.raises(ForgedError, match="not of these contents"):
        signer.verify(changed, signed(signer))


def test_a_keys_signature_of_which_a_byte_is_changed_is_refused(home: Homes, key: str) -> None:
    signer = KeySigner(sign_with=key, homedir=home.path)
    signature = signed(signer)
    for place in range(signature.index(b"\n\n") + 2, signature.index(b"\n="), 29):
        byte = b"0" if signature[place : place + 1] != b"0" else b"1"
        with pytest.raises(SignatureError):
            signer.verify(DOCUMENT, signature[:place] + byte + signature[place + 1 :])


@pytest.mark.parametrize("name", ["salt", "key", "mac"])
def test_a_mac_of_which_a_digit_is_changed_is_refused(
    one_signer: PassphraseSigner, name: str
) -> None:
    words = json.loads(signed(one_signer))
    words[name] = words[name][:-1] + ("0" if words[name][-1] != "0" else "1")
    with pytest.raises(SignatureError):
        one_signer.verify(DOCUMENT, json.dumps(words).encode())


@pytest.fixture(scope="module")
def one_signer(folder: Path) -> PassphraseSigner:
    return by_passphrase(folder)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_lies_there_is_refused_in_words(
    one_signer: PassphraseSigner, rubbish: bytes
) -> None:
    signer = one_signer
    for signature in (rubbish, b"{" + rubbish, signed(signer)[: len(rubbish)]):
        with pytest.raises(SignatureError):
            signer.verify(DOCUMENT, signature)


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"-----BEGIN PGP SIGNATURE-----\n\nxx\n"])
def test_gpg_makes_nothing_of_rubbish(home: Homes, key: str, rubbish: bytes) -> None:
    with pytest.raises(ForgedError, match="damaged"):
        KeySigner(signed_by=[key], homedir=home.path).verify(DOCUMENT, rubbish)


# --- by means of the passphrase ---


def test_another_host_with_the_passphrase_agrees_and_another_passphrase_is_told_apart(
    folder: Path,
) -> None:
    signature = signed(by_passphrase(folder))
    by_passphrase(folder, name="another host's salt").verify(DOCUMENT, signature)
    with pytest.raises(UncheckedSignatureError, match="another passphrase, or forged"):
        by_passphrase(folder, b"battery staple").verify(DOCUMENT, signature)
    with pytest.raises(UncheckedSignatureError, match="another passphrase, or forged"):
        by_passphrase(folder).verify(DOCUMENT, signed(by_passphrase(folder, b"intruder's")))


def test_an_intruders_mac_under_our_keys_name_is_forged(folder: Path) -> None:
    ours = json.loads(signed(by_passphrase(folder)))
    theirs = json.loads(signed(by_passphrase(folder, b"intruder's"), b"forged"))
    mixed = json.dumps(ours | {"mac": theirs["mac"]}).encode()
    with pytest.raises(ForgedError):
        by_passphrase(folder).verify(b"forged", mixed)


@pytest.mark.parametrize(
    "change", [{"iterations": 1}, {"iterations": 10**9}, {"salt": "00"}, {"name": "none"}]
)
def test_nobody_else_chooses_how_a_key_is_derived(folder: Path, change: dict[str, object]) -> None:
    words = json.loads(signed(by_passphrase(folder)))
    with pytest.raises(ForgedError, match="none of guardian's"):
        by_passphrase(folder).verify(DOCUMENT, json.dumps(words | change).encode())


def test_a_newer_format_is_not_called_forged(folder: Path) -> None:
    words = json.loads(signed(by_passphrase(folder)))
    with pytest.raises(UncheckedSignatureError, match="newer"):
        by_passphrase(folder).verify(DOCUMENT, json.dumps(words | {"format": 2}).encode())


def test_guessing_costs_as_much_as_with_gpg(folder: Path) -> None:
    """Two compressions an iteration; gpg's 65,011,712 bytes are 507,904 blocks of 128."""
    assert 2 * ITERATIONS > 65_011_712 / 128
    assert json.loads(signed(by_passphrase(folder)))["iterations"] == ITERATIONS
    assert LABEL == b"guardian signature 1"


def test_one_salt_a_host_and_no_secret_in_it(folder: Path) -> None:
    first, second = (json.loads(signed(by_passphrase(folder))) for _ in range(2))
    assert first == second
    file = folder / "salt"
    assert file.read_text().strip() == first["salt"]
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("")  # a process died while it wrote it
    assert json.loads(signed(by_passphrase(folder))) == json.loads(signed(by_passphrase(folder)))
    unwritable = PassphraseSigner(lambda: SECRET, Path("/dev/null/salt"))
    by_passphrase(folder).verify(DOCUMENT, signed(unwritable))


def test_without_its_passphrase_it_can_neither_sign_nor_tell(folder: Path) -> None:
    def gone() -> bytes:
        raise EncryptionError("passphrase file x does not exist")

    signer = PassphraseSigner(gone, folder / "salt")
    for use in (signer.check, lambda: signer.sign(DOCUMENT)):
        with pytest.raises(EncryptionError, match="does not exist"):
            use()
    with pytest.raises(UncheckedSignatureError, match="does not exist"):
        signer.verify(DOCUMENT, signed(by_passphrase(folder)))


# --- by keys ---


def test_stock_gpg_checks_it_and_the_public_key_suffices(
    home: Homes, key: str, other_home: Homes, tmp_path: Path
) -> None:
    signature = signed(KeySigner(sign_with=key, homedir=home.path))
    (tmp_path / "manifest.json").write_bytes(DOCUMENT)
    (tmp_path / "manifest.json.sig").write_bytes(signature)
    other_home.take(home, key)
    files = [str(tmp_path / "manifest.json.sig"), str(tmp_path / "manifest.json")]
    other_home.gpg("--verify", *files)
    KeySigner(signed_by=[key.lower()], homedir=other_home.path).verify(DOCUMENT, signature)


def test_a_good_signature_by_a_key_that_does_not_count_is_refused(home: Homes, key: str) -> None:
    intruder = home.make_key("Mallory <mallory@example.org>", "sign")
    signature = signed(KeySigner(sign_with=intruder, homedir=home.path))
    with pytest.raises(ForgedError, match=f"does not count: {intruder}"):
        KeySigner(signed_by=[key], homedir=home.path).verify(DOCUMENT, signature)


def test_of_several_signatures_one_that_counts_suffices(home: Homes, key: str) -> None:
    intruder = home.make_key("Trudy <trudy@example.org>", "sign")
    packets = b""
    for one in (intruder, key):
        armoured = signed(KeySigner(sign_with=one, homedir=home.path))
        packets += home.gpg("--dearmor", data=armoured).stdout
    lines = base64.encodebytes(packets).decode()
    both = f"-----BEGIN PGP SIGNATURE-----\n\n{lines}-----END PGP SIGNATURE-----\n".encode()
    KeySigner(signed_by=[key], homedir=home.path).verify(DOCUMENT, both)
    with pytest.raises(ForgedError):
        KeySigner(signed_by=["AB" * 20], homedir=home.path).verify(DOCUMENT, both)


def test_where_the_public_key_is_missing_it_cannot_be_told(
    home: Homes, key: str, other_home: Homes
) -> None:
    signature = signed(KeySigner(sign_with=key, homedir=home.path))
    with pytest.raises(UncheckedSignatureError, match=f"{key}") as told:
        KeySigner(signed_by=[key], homedir=other_home.path).verify(DOCUMENT, signature)
    assert "--import" in str(told.value)
    with pytest.raises(ForgedError, match="does not count"):
        KeySigner(signed_by=["AB" * 20], homedir=other_home.path).verify(DOCUMENT, signature)
    with pytest.raises(UncheckedSignatureError, match="cannot be run"):
        KeySigner(signed_by=[key], binary="/nonexistent").verify(DOCUMENT, signature)


def test_an_expired_key_signs_nothing_and_what_it_signed_before_still_counts(
    home: Homes, other_home: Homes
) -> None:
    old = home.make_key("Old <old@example.org>", "sign", "1y")
    with pytest.raises(EncryptionError, match="has expired"):
        KeySigner(sign_with=old, homedir=home.path).check()
    other_home.take(home, old, secret=True)
    other_home.gpg("--passphrase", "", "--quick-set-expire", old, "0")
    made = {}
    for when in ("20200601", "20220601"):
        faked = ["--faked-system-time", f"{when}T000000", "--local-user", old]
        words = [*faked, "--passphrase", "", "--armor", "--detach-sign"]
        made[when] = other_home.gpg(*words, data=DOCUMENT).stdout
    judge = KeySigner(signed_by=[old], homedir=home.path)
    judge.verify(DOCUMENT, made["20200601"])
    with pytest.raises(ForgedError, match="after its key had expired"):
        judge.verify(DOCUMENT, made["20220601"])


def test_a_revoked_key_counts_for_nothing(home: Homes) -> None:
    revoked = home.make_key("Revoked <revoked@example.org>", "sign")
    signer = KeySigner(sign_with=revoked, homedir=home.path)
    signature = signed(signer)
    home.revoke(revoked)
    with pytest.raises(ForgedError, match="revoked"):
        signer.verify(DOCUMENT, signature)
    with pytest.raises(EncryptionError, match="is revoked"):
        signer.check()


def test_a_key_that_is_not_here_or_wants_a_passphrase_is_told_with_its_mend(
    home: Homes, key: str, other_home: Homes
) -> None:
    with pytest.raises(EncryptionError, match="secret key of ABABAB") as told:
        KeySigner(sign_with="AB" * 20, homedir=home.path).check()
    assert "--import the-secret-key" in str(told.value)
    words = ["--passphrase", "secret", "--quick-gen-key", "locked@example.org", "ed25519", "sign"]
    other_home.gpg(*words)
    listing = other_home.gpg("--with-colons", "--list-keys").stdout.decode()
    (locked,) = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")]
    subprocess.run(["gpgconf", "--homedir", other_home.path, "--kill", "all"], check=True)
    with pytest.raises(EncryptionError, match="wants a passphrase"):
        KeySigner(sign_with=locked, homedir=other_home.path).check()
    with pytest.raises(EncryptionError, match="cannot be run"):
        KeySigner(sign_with=key, binary="/nonexistent").check()


# --- several kinds ---


def test_each_kind_is_judged_by_its_own_and_what_none_knows_is_not_good(
    folder: Path, home: Homes, key: str
) -> None:
    passphrase, keys = by_passphrase(folder), KeySigner(sign_with=key, homedir=home.path)
    both = SeveralSigners(keys, [keys, passphrase])
    assert both.describe() == f"openpgp:{key}"
    for one in (passphrase, keys, both):
        both.verify(DOCUMENT, signed(one))
        with pytest.raises(ForgedError):
            both.verify(b"another", signed(one))
    nobody = SeveralSigners(None, [])
    nobody.check()
    assert nobody.describe() is None
    assert nobody.sign(DOCUMENT) is None
    for one, mend in ((passphrase, "passphrase_file"), (keys, "signed_by")):
        with pytest.raises(UncheckedSignatureError) as told:
            nobody.verify(DOCUMENT, signed(one))
        assert mend in str(told.value)
    with pytest.raises(ForgedError, match="none of guardian's"):
        both.verify(DOCUMENT, b"rubbish")


def test_an_agent_that_is_started_knows_none_of_our_secrets(
    home: Homes, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays for days, and anybody of our user can read what it was given."""
    subprocess.run(["gpgconf", "--homedir", home.path, "--kill", "all"], check=True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0ur-s3cret")
    signed(KeySigner(sign_with=key, homedir=home.path))
    words = [
        "gpg-connect-agent",
        "--no-autostart",
        "--homedir",
        str(home.path),
        "getinfo pid",
        "/bye",
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    agent = Path("/proc") / told.split()[1]
    assert "gpg-agent" in (agent / "cmdline").read_text()
    assert "0ur-s3cret" not in (agent / "environ").read_text()


def test_no_secret_is_on_a_command_line(folder: Path, home: Homes, key: str) -> None:
    """An audit hook sees every program that is started."""
    script = """
import sys
from pathlib import Path
seen = []
sys.addaudithook(lambda name, words: seen.append(words) if name == "subprocess.Popen" else None)
from guardian.adapters.signatures.openpgp import KeySigner
signer = KeySigner(sign_with=sys.argv[2], homedir=Path(sys.argv[1]))
signer.verify(b"CONTENTS", signer.sign(b"CONTENTS"))
assert len(seen) == 2, seen
assert "CONTENTS" not in repr(seen)
"""
    words = [sys.executable, "-c", script, str(home.path), key]
    subprocess.run(words, check=True)
