"""Signatures by OpenPGP keys: made and checked by gpg, as anybody can by hand.

gpg's word that a signature is good means nothing yet: it says so of any key that it happens to
have. What counts is that the key is one of those that the configuration names by fingerprint.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from guardian.adapters.gpg_environment import gpg_environment
from guardian.backup.signature import OPENPGP
from guardian.errors import EncryptionError, ForgedError, UncheckedSignatureError

_TIMEOUT_SECONDS = 60
_COMMON = ["--batch", "--no-tty", "--no-auto-check-trustdb", "--no-auto-key-retrieve"]
_ARMOUR = b"-----BEGIN PGP SIGNATURE-----"
_SAMPLE = b"guardian\n"
_DAMAGED = "has a signature that is damaged, or does not hold any more"


@dataclass
class _Signature:
    """What gpg's status lines say of one signature."""

    words: set[str] = field(default_factory=set)
    keys: tuple[str, ...] = ()
    """Fingerprints: of the key that signed, and of the primary key that it belongs to."""
    made_at: int = 0


class KeySigner:
    """Implements the Signer port: signs with one secret key, takes the word of several.

    ``sign_with`` and ``signed_by`` are full fingerprints, of primary keys or of subkeys. Without
    ``sign_with`` it only checks.
    """

    def __init__(
        self,
        *,
        sign_with: str | None = None,
        signed_by: Sequence[str] = (),
        homedir: Path | None = None,
        binary: str = "gpg",
    ) -> None:
        self._sign_with = sign_with.upper() if sign_with else None
        self._counts = {one.upper() for one in (*signed_by, sign_with) if one}
        self._homedir = homedir
        self._binary = binary

    def describe(self) -> str | None:
        """By which key."""
        return None if self._sign_with is None else OPENPGP + self._sign_with

    def check(self) -> None:
        """Raise EncryptionError unless the key can sign now."""
        self.sign(_SAMPLE)

    def get_ready(self) -> None:
        """Nothing takes long here."""

    def sign(self, document: bytes) -> bytes | None:
        """An armoured detached signature."""
        if self._sign_with is None:
            return None
        # "error": who is asked for the key's passphrase at two in the morning?
        options = ["--status-fd", "2", "--pinentry-mode", "error", "--digest-algo", "SHA512"]
        words = [*options, "--armor", "--local-user", self._sign_with, "--detach-sign"]
        done = self._gpg(words, document)
        if done.returncode != 0 or not done.stdout.startswith(_ARMOUR):
            raise self._cannot_sign(done.stderr)
        return done.stdout

    def recognises(self, signature: bytes) -> bool:
        """Whether it is one of this kind."""
        return signature.lstrip().startswith(_ARMOUR)

    def verify(self, document: bytes, signature: bytes) -> None:
        """Judge it. A key that has expired since still counts; one that is revoked does not."""
        options = ["--status-fd", "1", "--enable-special-filenames"]
        try:
            with _as_file(signature) as place:
                done = self._gpg([*options, "--verify", "--", f"-&{place}", "-"], document, place)
        except EncryptionError as error:
            raise UncheckedSignatureError(
                f"cannot be checked: {error.message}", mend=error.mend
            ) from error
        found = _signatures(done.stdout)
        refusals = [self._refusal(one) for one in found]
        if any(refusal is None for refusal in refusals):
            return
        # The word of one that cannot be checked first: it may be the good one.
        unchecked = [one for one in refusals if isinstance(one, UncheckedSignatureError)]
        raise next(iter((*unchecked, *filter(None, refusals))), ForgedError(_DAMAGED))

    def _refusal(self, found: _Signature) -> ForgedError | UncheckedSignatureError | None:
        """Why this one does not count; None if it does."""
        whose = found.keys[-1] if found.keys else "an unknown key"
        if "NO_PUBKEY" in found.words and (not found.keys or self._counts & set(found.keys)):
            return UncheckedSignatureError(
                f"is signed by a key that is not in {self._where}: {whose}",
                mend=f"gpg{self._homedir_flag} --import the-public-key.asc",
            )
        if "BADSIG" in found.words:
            return ForgedError("is forged or damaged: its signature is not of these contents")
        if not self._counts & set(found.keys):
            return ForgedError(f"is signed by a key that does not count: {whose}")
        if "REVKEYSIG" in found.words:
            return ForgedError(f"is signed by a key that was revoked: {whose}")
        if "EXPSIG" in found.words or "VALIDSIG" not in found.words:
            return ForgedError(_DAMAGED)
        if "EXPKEYSIG" in found.words and found.made_at >= self._expiry(found.keys[0]):
            return ForgedError(f"was signed after its key had expired: {whose}")
        return None

    def _expiry(self, fingerprint: str) -> float:
        """When a key, or the primary one that it belongs to, ends; 0 when that is not known."""
        listed = self._gpg(["--with-colons", "--list-keys", fingerprint]).stdout.decode("latin-1")
        ends: list[float] = []
        for line in listed.splitlines():
            fields = line.split(":")
            if fields[0] in {"pub", "sub"}:
                ends.append(float(fields[6]) if fields[6].isdigit() else float("inf"))
            elif fields[0] == "fpr" and fields[9] == fingerprint:
                return min(ends[0], ends[-1])
        return 0.0

    def _gpg(
        self, words: Sequence[str], data: bytes = b"", *places: int
    ) -> subprocess.CompletedProcess[bytes]:
        command = [self._binary, *_COMMON]
        if self._homedir is not None:
            command += ["--homedir", str(self._homedir)]
        try:
            return subprocess.run(
                [*command, *words],
                input=data,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_SECONDS,
                pass_fds=places,
                env=gpg_environment(),
            )
        except OSError as error:
            raise EncryptionError(f"{self._binary} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise EncryptionError(f"gpg did not end within {_TIMEOUT_SECONDS} seconds") from error

    def _cannot_sign(self, told: bytes) -> EncryptionError:
        assert self._sign_with is not None
        key, other = f"the signing key {self._sign_with}", "set encryption.sign_with to another key"
        listing = self._gpg(["--with-colons", "--list-secret-keys", self._sign_with])
        found = [line.split(":") for line in listing.stdout.decode("latin-1").splitlines()]
        states = {one[1] for one in found if one[0] == "sec"}
        if not states:
            return EncryptionError(
                f"the secret key of {self._sign_with} is not in {self._where}",
                mend=f"gpg{self._homedir_flag} --import the-secret-key.asc",
            )
        if "e" in states:
            return EncryptionError(
                f"{key} has expired", mend=f"extend it with gpg --quick-set-expire, or {other}"
            )
        if "r" in states:
            return EncryptionError(f"{key} is revoked", mend=other)
        if any(word == "BEGIN_SIGNING" for word, _ in _status(told)):
            return EncryptionError(
                f"{key} wants a passphrase",
                mend="preset it in gpg-agent, or take the passphrase off the key",
            )
        return EncryptionError(f"{key} cannot sign", mend=other)

    @property
    def _where(self) -> str:
        return str(self._homedir) if self._homedir else "gpg's default home"

    @property
    def _homedir_flag(self) -> str:
        return f" --homedir {self._homedir}" if self._homedir else ""


def _status(told: bytes) -> Iterator[tuple[str, list[str]]]:
    """The status lines of gpg: a word and what follows."""
    for line in told.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["[GNUPG:]"] and len(words) > 1:
            yield words[1], words[2:]


def _signatures(told: bytes) -> list[_Signature]:
    """What is said of each signature; each begins with NEWSIG."""
    found: list[_Signature] = []
    for word, rest in _status(told):
        if word == "NEWSIG":
            found.append(_Signature())
        if not found:
            continue
        found[-1].words.add(word)
        if word == "VALIDSIG" and len(rest) > 2:
            found[-1].keys = (rest[0], rest[-1])
            found[-1].made_at = int(rest[2])
        elif word == "ERRSIG":
            found[-1].keys = tuple(one for one in rest[-1:] if len(one) >= 40)
    return found


@contextmanager
def _as_file(data: bytes) -> Iterator[int]:
    """A descriptor that gives these few bytes and ends: they fit a pipe, and no disk sees them."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)
        yield reading
    finally:
        os.close(reading)
