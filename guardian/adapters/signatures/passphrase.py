"""Signatures by means of the passphrase: HMAC-SHA256 under a key that is derived from it.

The derivation costs a guesser as much as gpg's own at its highest count, with which the parts are
encrypted; so the signature is no shorter way to the passphrase. Its salt is random and kept in a
file, so that one derivation serves for all signatures of a host. Whoever has the passphrase can
sign as well as read: on a host that only ever restores, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from guardian.backup.fields import DAMAGE, Fields
from guardian.backup.signature import HMAC
from guardian.errors import EncryptionError, ForgedError, UncheckedSignatureError

FORMAT = 1
ITERATIONS = 300_000
"""Of PBKDF2-HMAC-SHA512, twice a compression each; gpg's highest count makes 508,000."""
LABEL = b"guardian signature 1"
"""Goes before the salt, so that the same passphrase gives no other program's key."""

_SALT_BYTES = 16
_MOST_KEYS = 32
"""Derived keys that are remembered, of as many salts and passphrases."""


class _Key(NamedTuple):
    secret: bytes
    name: str
    """Tells one passphrase from another without telling of it."""


class PassphraseSigner:
    """Implements the Signer port. ``passphrase`` reads it anew for each use.

    ``salt_file`` is made at the first signature. Where it cannot be, each process has a salt of its
    own, which costs whoever checks many signatures a derivation more each.
    """

    def __init__(self, passphrase: Callable[[], bytes], salt_file: Path) -> None:
        self._passphrase = passphrase
        self._salt_file = salt_file
        self._own_salt: bytes | None = None
        self._lock = threading.Lock()
        self._keys: dict[tuple[bytes, bytes], _Key] = {}

    def describe(self) -> str | None:
        """By what algorithm."""
        return HMAC

    def check(self) -> None:
        """Raise EncryptionError unless there is a passphrase that may be used."""
        self._passphrase()

    def get_ready(self) -> None:
        """Derive this host's key on a thread, which takes a sixth of a second."""
        with contextlib.suppress(RuntimeError):  # no thread to be had: it is derived when needed
            threading.Thread(target=self._derive, name="signature", daemon=True).start()

    def _derive(self) -> None:
        with contextlib.suppress(EncryptionError):  # told to whoever signs
            self._key(self._salt())

    def sign(self, document: bytes) -> bytes | None:
        """A few lines of JSON, for people and machines."""
        salt = self._salt()
        key = self._key(salt)
        words = {
            "format": FORMAT,
            "name": HMAC,
            "kdf": "pbkdf2-hmac-sha512",
            "iterations": ITERATIONS,
            "salt": salt.hex(),
            "key": key.name,
            "mac": _mac(key, document),
        }
        return (json.dumps(words, indent=1) + "\n").encode()

    def recognises(self, signature: bytes) -> bool:
        """Whether it is one of this kind."""
        return signature.lstrip()[:1] == b"{"

    def verify(self, document: bytes, signature: bytes) -> None:
        """Judge it. Another passphrase's is not called forged: the passphrase may have changed."""
        try:
            fields = Fields(json.loads(signature))
            known = (fields.count("format"), fields.text("name"), fields.count("iterations"))
            salt = bytes.fromhex(fields.text("salt"))
            name, mac = fields.text("key"), fields.text("mac").encode()
        except DAMAGE as error:
            raise ForgedError("has a signature that is damaged") from error
        if known[0] > FORMAT:
            raise UncheckedSignatureError(
                "is signed by a newer guardian", mend="upgrade guardian on this host"
            )
        # Ours alone: whoever writes to the store shall not choose how long we work, nor how little.
        if known != (FORMAT, HMAC, ITERATIONS) or len(salt) != _SALT_BYTES:
            raise ForgedError("has a signature that is none of guardian's")
        try:
            key = self._key(salt)
        except EncryptionError as error:
            raise UncheckedSignatureError(
                f"cannot be checked: {error.message}", mend=error.mend
            ) from error
        if not hmac.compare_digest(key.name.encode(), name.encode()):
            raise UncheckedSignatureError(
                "is signed by means of another passphrase, or forged",
                mend="use the passphrase that this backup was made with",
            )
        if not hmac.compare_digest(_mac(key, document).encode(), mac):
            raise ForgedError("is forged or damaged: its signature is not of these contents")

    def _key(self, salt: bytes) -> _Key:
        passphrase = self._passphrase()
        with self._lock:  # so that a crowd of threads does not derive the same key at once
            known = self._keys.get((passphrase, salt))
            if known is None:
                made = hashlib.pbkdf2_hmac("sha512", passphrase, LABEL + salt, ITERATIONS)
                known = _Key(made[:32], made[32:40].hex())
                while len(self._keys) >= _MOST_KEYS:
                    del self._keys[next(iter(self._keys))]
                self._keys[passphrase, salt] = known
            return known

    def _salt(self) -> bytes:
        with self._lock:
            if self._own_salt is None:
                self._own_salt = _kept_salt(self._salt_file)
            return self._own_salt


def _mac(key: _Key, document: bytes) -> str:
    return hmac.new(key.secret, document, "sha256").hexdigest()


def _kept_salt(file: Path) -> bytes:
    """The host's salt, made if there is none. No secret, and not worth failing for."""
    made = secrets.token_bytes(_SALT_BYTES)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        known = _read_salt(file)
        if known is None:  # whoever made it died before it was written
            with contextlib.suppress(OSError):
                file.write_text(made.hex() + "\n")
        return known or made
    except OSError:
        return made
    with contextlib.suppress(OSError), os.fdopen(place, "w") as stream:
        stream.write(made.hex() + "\n")
    return made


def _read_salt(file: Path) -> bytes | None:
    try:
        salt = bytes.fromhex(file.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return salt if len(salt) == _SALT_BYTES else None
