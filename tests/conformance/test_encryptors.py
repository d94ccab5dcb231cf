"""The Encryptor port, kept by gpg for a passphrase and for recipients."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.keys import Homes

from guardian.adapters.gnupg import GnupgEncryptor
from guardian.errors import EncryptionError
from guardian.model import EncryptionKind

SECRET = "correct horse ÄÖ 🐎 : \\ $(true)"


@pytest.fixture(scope="module")
def home() -> Iterator[Homes]:
    home = Homes()
    yield home
    home.remove()


@pytest.fixture(scope="module")
def key(home: Homes) -> str:
    return home.make_key("Ann Backup <ann@example.org>")


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "pass phrase"
    path.write_text(SECRET + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture(params=["symmetric", "recipients"])
def encryptor(request: pytest.FixtureRequest, home: Homes) -> GnupgEncryptor:
    if request.param == "symmetric":
        return GnupgEncryptor(passphrase_file=request.getfixturevalue("passphrase_file"))
    key = request.getfixturevalue("key")
    return GnupgEncryptor(recipients=[key], homedir=home.path)


def encrypted(encryptor: GnupgEncryptor, data: bytes) -> bytes:
    out = bytearray()
    encryptor.encrypt(io.BytesIO(data), out.extend)
    return bytes(out)


def decrypted(encryptor: GnupgEncryptor, data: bytes) -> bytes:
    out = bytearray()
    encryptor.decrypt(io.BytesIO(data), out.extend)
    return bytes(out)


def children() -> set[int]:
    """Our child processes, zombies too."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ends while we look
            found |= {int(pid) for pid in (thread / "children").read_text().split()}
    return found


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1, 20 << 20])
def test_what_goes_in_comes_out(encryptor: GnupgEncryptor, size: int) -> None:
    data = os.urandom(size)
    message = encrypted(encryptor, data)
    assert size < 64 or data[:64] not in message
    assert decrypted(encryptor, message) == data


def test_it_uses_aes256_and_an_integrity_check(encryptor: GnupgEncryptor, home: Homes) -> None:
    # 250,000 zeros: gpg must not compress them, which zstd did before.
    message = encrypted(encryptor, bytes(250_000))
    assert len(message) > 250_000
    options = ["--passphrase", SECRET] if encryptor.describe().kind == "symmetric" else []
    shown = home.gpg("-vv", *options, "--list-packets", data=message)
    words = (shown.stdout + shown.stderr).decode()
    assert "AES256" in words
    assert "mdc_method: 2" in words


def test_stock_gpg_opens_it(encryptor: GnupgEncryptor, home: Homes, passphrase_file: Path) -> None:
    message = encrypted(encryptor, b"dump" * 1000)
    # What RESTORE.txt says, word by word.
    command = ["gpg", "--batch", "--quiet", "--decrypt"]
    if encryptor.describe().kind is EncryptionKind.SYMMETRIC:
        command += ["--pinentry-mode", "loopback", "--passphrase-file", str(passphrase_file)]
    result = subprocess.run(
        command,
        input=message,
        capture_output=True,
        check=False,
        env={**os.environ, "GNUPGHOME": str(home.path)},
    )
    assert (result.returncode, result.stdout) == (0, b"dump" * 1000), result.stderr


def test_the_same_data_never_gives_the_same_message(encryptor: GnupgEncryptor) -> None:
    assert encrypted(encryptor, b"x") != encrypted(encryptor, b"x")


DAMAGE = {
    "nothing": lambda message, _: b"",
    "no message": lambda message, _: os.urandom(1) * 3000,
    "cut in its head": lambda message, _: message[:3],
    "cut in the middle": lambda message, _: message[: len(message) // 2],
    "cut at a block": lambda message, _: message[:8192],
    "last byte gone": lambda message, _: message[:-1],
    "flipped in the middle": lambda m, _: m[:50_000] + bytes([m[50_000] ^ 1]) + m[50_001:],
    "flipped at the end": lambda message, _: message[:-1] + bytes([message[-1] ^ 1]),
    "garbage behind": lambda message, _: message + b"garbage",
    "twice": lambda message, _: message + message,
    "a forgery in the clear": lambda _, home: home.gpg("--store", data=b"evil").stdout,
    "followed by one": lambda m, home: m + home.gpg("--store", data=b"evil").stdout,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_damage_is_never_taken_for_a_message(
    encryptor: GnupgEncryptor, home: Homes, damage: str
) -> None:
    message = encrypted(encryptor, os.urandom(100_000))
    with pytest.raises(EncryptionError) as raised:
        decrypted(encryptor, DAMAGE[damage](message, home))
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("size", [10, 10 << 20])
def test_a_wrong_passphrase_is_named(passphrase_file: Path, size: int) -> None:
    encryptor = GnupgEncryptor(passphrase_file=passphrase_file)
    message = encrypted(encryptor, os.urandom(size))
    passphrase_file.write_text("another")
    with pytest.raises(EncryptionError, match="wrong passphrase"):
        decrypted(encryptor, message)


def test_without_the_secret_key_nothing_opens(home: Homes, key: str, tmp_path: Path) -> None:
    message = encrypted(GnupgEncryptor(recipients=[key], homedir=home.path), b"x" * 3_000_000)
    empty = Homes()
    try:
        other = GnupgEncryptor(recipients=[key], homedir=empty.path)
        with pytest.raises(EncryptionError, match="secret key is not here"):
            decrypted(other, message)
        other.close()
    finally:
        empty.remove()


class Failing(io.BytesIO):
    """Raises where its data ends."""

    def __init__(self, error: BaseException, data: bytes) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if block := super().read(size):
            return block
        raise self.error


@pytest.mark.parametrize("error", [KeyError("mine"), OSError(5, "mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("size", [0, 3 << 20])
def test_what_the_source_raises_comes_out(encryptor, error: BaseException, size: int) -> None:
    message = encrypted(encryptor, os.urandom(5 << 20))[:size]
    for work, data in ((encryptor.encrypt, os.urandom(size)), (encryptor.decrypt, message)):
        with pytest.raises(type(error)) as raised:
            work(Failing(error, data), lambda _: None)
        assert raised.value is error


@pytest.mark.parametrize("error", [KeyError("mine"), BrokenPipeError(), KeyboardInterrupt()])
def test_what_the_sink_raises_comes_out_and_is_raised_once(encryptor, error) -> None:
    data = os.urandom(5 << 20)
    calls = []

    def sink(block: bytes) -> None:
        calls.append(block)
        raise error

    message = encrypted(encryptor, data)
    for work, source in ((encryptor.encrypt, data), (encryptor.decrypt, message)):
        calls.clear()
        with pytest.raises(type(error)) as raised:
            work(io.BytesIO(source), sink)
        assert raised.value is error
        assert len(calls) == 1


def test_the_secret_is_in_no_argv_and_no_environment(encryptor: GnupgEncryptor) -> None:
    seen: list[bytes] = []

    class Peeking:
        """Looks at the running gpg from within its input."""

        def read(self, size: int = -1, /) -> bytes:
            if seen:
                return b""
            deadline = time.monotonic() + 20
            while not any(b"gpg" in words for words in seen) and time.monotonic() < deadline:
                for pid in children():  # for a moment still ourselves, before it becomes gpg
                    with contextlib.suppress(OSError):
                        seen.append(Path(f"/proc/{pid}/cmdline").read_bytes())
                        seen.append(Path(f"/proc/{pid}/environ").read_bytes())
            return b"data"

    encryptor.encrypt(Peeking(), lambda _: None)
    assert any(b"gpg" in words for words in seen)
    assert not any(b"correct horse" in words for words in seen)


def test_a_passphrase_needs_no_agent(passphrase_file: Path) -> None:
    home = Homes()
    try:
        encryptor = GnupgEncryptor(passphrase_file=passphrase_file, homedir=home.path)
        assert decrypted(encryptor, encrypted(encryptor, b"x")) == b"x"
        sockets = subprocess.run(
            ["gpg-connect-agent", "--homedir", home.path, "--no-autostart", "/bye"],
            capture_output=True,
            check=False,
        )
        assert b"no gpg-agent running" in sockets.stderr
        encryptor.close()
    finally:
        home.remove()


# --- the passphrase file ------------------------------------------------------------------------


def refusal(encryptor: GnupgEncryptor) -> str:
    with pytest.raises(EncryptionError) as raised:
        encryptor.check()
    for work in (encryptor.encrypt, encryptor.decrypt):
        with pytest.raises(EncryptionError) as again:
            work(io.BytesIO(b"x"), lambda _: pytest.fail("something was given out"))
        assert str(again.value) == str(raised.value)
    assert "correct horse" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"correct horse\nsecond\n", "more than one line"),
        (b"correct horse\n\n", "more than one line"),
        (b"correct horse\r\n", "carriage return"),
        (b"correct horse\0tail", "more than one line"),
        (b"correct horse \xff\xfe", "not UTF-8"),
    ],
)
def test_a_passphrase_that_gpg_might_read_otherwise_is_refused(passphrase_file, content, why):
    passphrase_file.write_bytes(content)
    assert why in refusal(GnupgEncryptor(passphrase_file=passphrase_file))


@pytest.mark.needs_root
def test_a_credential_of_systemd_looks_readable_for_root_s_group_and_is_not(
    passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its access list shows so: r--r-----+ root root. In any other folder that is refused."""
    encryptor = GnupgEncryptor(passphrase_file=passphrase_file)
    passphrase_file.chmod(0o440)
    with pytest.raises(EncryptionError, match="read by others"):
        encryptor.check()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(passphrase_file.parent))
    encryptor.check()
    for mode in (0o444, 0o460):
        passphrase_file.chmod(mode)
        with pytest.raises(EncryptionError, match="read by others"):
            encryptor.check()
    passphrase_file.chmod(0o440)
    os.chown(passphrase_file, 0, 1)
    with pytest.raises(EncryptionError, match="read by others"):
        encryptor.check()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o644, 0o666])
def test_a_passphrase_file_that_others_reach_is_refused(passphrase_file: Path, mode: int) -> None:
    passphrase_file.chmod(mode)
    words = refusal(GnupgEncryptor(passphrase_file=passphrase_file))
    assert f"mode {mode:04o}" in words
    assert "chmod 600" in words


def test_a_passphrase_file_that_is_none(tmp_path: Path) -> None:
    assert "does not exist" in refusal(GnupgEncryptor(passphrase_file=tmp_path / "gone"))
    assert "is not a file" in refusal(GnupgEncryptor(passphrase_file=tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refusal(GnupgEncryptor(passphrase_file=tmp_path / "pipe"))


def test_no_passphrase_and_no_recipient() -> None:
    with pytest.raises(EncryptionError, match=r"passphrase_file"):
        GnupgEncryptor().check()


@pytest.mark.parametrize("content", ["no newline", " spaces about ", "\ufeffBOM", "x" * 200, "é€"])
def test_stock_gpg_reads_the_same_passphrase(passphrase_file: Path, content: str) -> None:
    passphrase_file.write_bytes(content.encode())
    message = encrypted(GnupgEncryptor(passphrase_file=passphrase_file), b"dump")
    command = ["gpg", "-q", "--batch", "--pinentry-mode", "loopback", "--passphrase-file"]
    result = subprocess.run(
        [*command, passphrase_file, "-d"], input=message, capture_output=True, check=False
    )
    assert result.stdout == b"dump", result.stderr


def test_gpg_missing(passphrase_file: Path) -> None:
    encryptor = GnupgEncryptor(passphrase_file=passphrase_file, binary="/nonexistent")
    assert "/nonexistent cannot be run" in refusal(encryptor)


def test_gpg_that_goes_away(passphrase_file: Path, tmp_path: Path) -> None:
    """It is asked for its version once, and missed all the same."""
    binary = tmp_path / "gpg"
    binary.symlink_to(shutil.which("gpg") or "gpg")
    encryptor = GnupgEncryptor(passphrase_file=passphrase_file, binary=str(binary))
    message = encrypted(encryptor, b"dump")
    binary.unlink()
    with pytest.raises(EncryptionError, match="gpg is not there any more"):
        encryptor.decrypt(io.BytesIO(message), lambda _: None)
    with pytest.raises(EncryptionError, match="cannot be run"):
        encryptor.encrypt(io.BytesIO(b"dump"), lambda _: None)
    binary.symlink_to(shutil.which("gpg") or "gpg")
    plain = io.BytesIO()
    encryptor.decrypt(io.BytesIO(message), plain.write)
    assert plain.getvalue() == b"dump"


# --- keys ---------------------------------------------------------------------------------------


def test_recipients_may_be_named_in_each_way(home: Homes, key: str) -> None:
    for name in (key, key[-16:], "ann@example.org", "=Ann Backup <ann@example.org>", "Ann Backup"):
        encryptor = GnupgEncryptor(recipients=[name], homedir=home.path)
        assert encryptor.describe().key_ids == (key,)
        assert decrypted(encryptor, encrypted(encryptor, b"x")) == b"x"


def test_each_of_several_recipients_can_read(home: Homes, key: str) -> None:
    second = home.make_key("Second Reader <second@example.org>")
    both = GnupgEncryptor(recipients=[key, second], homedir=home.path)
    shown = home.gpg("--list-packets", "--list-only", data=encrypted(both, b"x")).stdout.decode()
    assert shown.count(":pubkey enc packet:") == 2


@pytest.mark.parametrize("name", ["", " ", "-", "--version", "--output=stolen", "-r", "*", "@"])
def test_a_recipient_is_never_taken_for_an_option(home: Homes, key: str, name: str) -> None:
    with pytest.raises(EncryptionError, match="names no key"):
        GnupgEncryptor(recipients=[key, name], homedir=home.path).check()


@pytest.mark.parametrize("name", ["nobody@example.org", "0" * 40, "$(true)", "a\nb", "Ä"])
def test_an_unknown_key(home: Homes, key: str, name: str) -> None:
    encryptor = GnupgEncryptor(recipients=[key, name], homedir=home.path)
    with pytest.raises(EncryptionError, match="is not in") as raised:
        encryptor.encrypt(io.BytesIO(bytes(5 << 20)), lambda _: pytest.fail("gave something out"))
    assert "--import" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_expired_key(home: Homes) -> None:
    expired = home.make_key("Expired <expired@example.org>", expires="20200601T000000")
    with pytest.raises(EncryptionError, match="has expired"):
        GnupgEncryptor(recipients=[expired], homedir=home.path).check()


def test_a_revoked_key(home: Homes) -> None:
    revoked = home.make_key("Revoked <revoked@example.org>")
    home.revoke(revoked)
    with pytest.raises(EncryptionError, match="is revoked"):
        GnupgEncryptor(recipients=[revoked], homedir=home.path).check()


def test_a_key_that_only_signs(home: Homes) -> None:
    signing = home.make_key("Signer <signer@example.org>", usage="sign")
    with pytest.raises(EncryptionError, match="cannot encrypt"):
        GnupgEncryptor(recipients=[signing], homedir=home.path).check()


def test_an_ambiguous_name(home: Homes) -> None:
    home.make_key("Twin One <twin@example.org>")
    home.make_key("Twin Two <twin@example.org>")
    with pytest.raises(EncryptionError, match="fits 2 keys"):
        GnupgEncryptor(recipients=["twin@example.org"], homedir=home.path).check()


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    encryptor = GnupgEncryptor(recipients=["x"], homedir=tmp_path / "gone")
    with pytest.raises(EncryptionError, match="is not a folder"):
        encryptor.check()
    encryptor.close()


# --- memory -------------------------------------------------------------------------------------

_STREAM = """
import os, resource, sys
from pathlib import Path
from guardian.adapters.gnupg import GnupgEncryptor

class Source:
    def __init__(self, size): self.left = size
    def read(self, size=-1, /):
        block = min(self.left, 1 << 20)
        self.left -= block
        return bytes(block)

encryptor = GnupgEncryptor(passphrase_file=Path(sys.argv[1]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
encryptor.encrypt(Source(1 << 20), lambda _: None)
before = peak()
with open(sys.argv[2], "wb") as out:
    encryptor.encrypt(Source(200 << 20), out.write)
total = 0
def count(data):
    global total
    total += len(data)
with open(sys.argv[2], "rb") as message:
    encryptor.decrypt(message, count)
assert total == 200 << 20
print(peak() - before)
"""


def test_memory_stays_flat_over_200_mib(passphrase_file: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _STREAM, passphrase_file, tmp_path / "message"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(result.stdout) < 40 * 1024  # KiB


def test_an_agent_that_cannot_be_stopped_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryptor = GnupgEncryptor(recipients=["x"], homedir=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no gpgconf there
    encryptor.close()
