"""GnuPG through python-gnupg: streams, never whole messages in memory, never a secret in argv.

What python-gnupg leaves to its caller, each measured: gpg compresses by default (seven times
slower); an exception in ``on_data`` is swallowed; an unknown recipient shows only as a broken
pipe; a source that raises leaves a valid, truncated message behind ``ok``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import subprocess
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import gnupg

from guardian.adapters.gpg_environment import gpg_environment
from guardian.errors import (
    DamagedMessageError,
    EncryptionError,
    GuardianError,
    KeyMissingError,
)
from guardian.model import Encryption, EncryptionKind
from guardian.ports import Readable, Sink

_BUFFER = 1 << 20
_CIPHER = "AES256"
_WIRE = "latin-1"
"""What python-gnupg reads gpg's words in: any byte, since a damaged message makes gpg print any."""
_COMMON = ["--no-auto-check-trustdb", "--trust-model", "always", "--compress-algo", "none"]
_DAMAGE = re.compile(r"manipulated|pending bytes|invalid packet|decryption incomplete")
_INSTALL = "install it (Debian: apt-get install gnupg; macOS: brew install gnupg)"

# python-gnupg logs every status line at DEBUG and gpg's failures at WARNING; we tell them better.
logging.getLogger("gnupg").setLevel(logging.CRITICAL)


def _readable_by_others(path: Path) -> int:
    """The mode's bits that would let somebody else read the passphrase.

    systemd gives a credential to the service's user by an access list, and its mask shows as the
    group's bits (systemd.exec(5), LoadCredential=); nobody else can enter that folder.
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if given and path.parent == Path(given) and path.stat().st_gid == 0:
        return stat.S_IRWXO | stat.S_IWGRP
    return stat.S_IRWXO | stat.S_IRWXG


class GnupgEncryptor:
    """Implements the Encryptor port, by a passphrase (file) or for recipients' public keys.

    The passphrase file is read anew for each operation, so that a rotation needs no restart.
    """

    suffix = ".gpg"

    def __init__(
        self,
        *,
        passphrase_file: Path | None = None,
        recipients: Sequence[str] = (),
        homedir: Path | None = None,
        binary: str = "gpg",
    ) -> None:
        self._passphrase_file = passphrase_file
        self._recipients = tuple(recipients)
        self._homedir = homedir
        self._binary = binary
        self._made: gnupg.GPG | None = None

    def describe(self) -> Encryption:
        """How it encrypts; the keys as full fingerprints."""
        if not self._recipients:
            return Encryption(EncryptionKind.SYMMETRIC, _CIPHER)
        gpg = self._gpg()
        keys = tuple(self._usable_key(gpg, recipient) for recipient in self._recipients)
        return Encryption(EncryptionKind.RECIPIENTS, _CIPHER, keys)

    def check(self) -> None:
        """Raise EncryptionError unless gpg, passphrase and every key are usable."""
        self._made = None  # gpg itself is asked again, too
        self._gpg()
        if not self._recipients:
            self._passphrase()
        self.describe()

    def encrypt(self, source: Readable, sink: Sink) -> None:
        """Encrypt; keys are checked first, since gpg's own refusal shows as a broken pipe."""
        self.check()
        flow = _Flow(source, sink)
        gpg = self._gpg(flow)
        options = [*_COMMON, "--no-symkey-cache", "--force-mdc"]
        if self._recipients:
            run = partial(
                gpg.encrypt_file,
                flow,
                list(self.describe().key_ids),
                armor=False,
                always_trust=True,
                extra_args=[*options, "--cipher-algo", _CIPHER],
            )
        else:
            # The highest count that RFC 4880 can express; costs 0.1 s, makes guessing dear.
            options += ["--s2k-mode", "3", "--s2k-digest-algo", "SHA512"]
            options += ["--s2k-count", "65011712"]
            run = partial(
                gpg.encrypt_file,
                flow,
                None,
                symmetric=_CIPHER,
                passphrase=self._passphrase(),
                armor=False,
                extra_args=options,
            )
        flow.settle(run, "encrypt")

    def decrypt(self, source: Readable, sink: Sink) -> None:
        """Decrypt. The sink sees plaintext before a damaged message is known to be one."""
        flow = _Flow(source, sink)
        gpg = self._gpg(flow)
        passphrase = self._passphrase() if self._passphrase_file is not None else None
        run = partial(
            gpg.decrypt_file, flow, passphrase=passphrase, extra_args=["--no-symkey-cache"]
        )
        flow.settle(run, "decrypt")

    def _gpg(self, flow: _Flow | None = None) -> gnupg.GPG:
        """A GPG object for one operation: ``on_data`` belongs to the object."""
        if self._homedir is not None and not self._homedir.is_dir():
            raise EncryptionError(
                f"encryption.homedir {self._homedir} is not a folder",
                mend="create it (mode 0700) and import the keys into it",
            )
        # To make one runs gpg for its version: once is enough.
        self._made = self._made or self._make()
        gpg = copy(self._made)
        if flow is not None:
            gpg.on_data = flow.take
        return gpg

    def _make(self) -> gnupg.GPG:
        try:
            gpg = gnupg.GPG(
                gpgbinary=self._binary,
                gnupghome=None if self._homedir is None else str(self._homedir),
                env=gpg_environment(),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise EncryptionError(f"{self._binary} cannot be run", mend=_INSTALL) from error
        gpg.encoding = _WIRE
        gpg.buffer_size = _BUFFER
        return gpg

    def passphrase(self) -> bytes:
        """The passphrase from its file, as gpg takes it.

        Raises:
            EncryptionError: missing, unreadable, empty, readable by others, or more than a line.
        """
        path = self._passphrase_file
        if path is None:
            raise EncryptionError(
                "no passphrase is configured", mend="set encryption.passphrase_file"
            )
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):  # a pipe would keep us waiting
                raise EncryptionError(f"passphrase file {path} is not a file")
            # Bytes, since text mode would turn CR into LF; gpg --passphrase-file keeps a CR.
            text = path.read_bytes().decode().removesuffix("\n")
        except FileNotFoundError as error:
            raise EncryptionError(
                f"passphrase file {path} does not exist",
                mend="put it back (without it no earlier backup can be read), or guardian init",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise EncryptionError(f"passphrase file {path} cannot be read: {reason}") from error
        if mode & _readable_by_others(path):
            raise EncryptionError(
                f"passphrase file {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                mend=f"chmod 600 {path}",
            )
        if not text:
            raise EncryptionError(f"passphrase file {path} is empty", mend="write the passphrase")
        if any(character in text for character in "\n\r\x00"):
            raise EncryptionError(
                f"passphrase file {path} holds more than one line, or a carriage return",
                mend="keep one line only, ended as Unix does: gpg --passphrase-file keeps a CR",
            )
        return text.encode()

    def _passphrase(self) -> str:
        return self.passphrase().decode(_WIRE)  # so that the very bytes reach gpg

    def _usable_key(self, gpg: gnupg.GPG, recipient: str) -> str:
        """The fingerprint of a recipient's key, which must be valid and able to encrypt."""
        # gpg would take a dash for an option, and a mark such as * alone for every key.
        if recipient.startswith("-") or not recipient.strip(" =<@*+&#"):
            raise EncryptionError(
                f"recipient {recipient!r} names no key", mend="write the key's full fingerprint"
            )
        where = self._homedir or "gpg's default home"
        keys = [dict(key) for key in gpg.list_keys(keys=[recipient])]
        if not keys:
            raise EncryptionError(
                f"public key {recipient} is not in {where}",
                mend=f"gpg{self._homedir_flag()} --import the-key.asc",
            )
        if len(keys) > 1:
            raise EncryptionError(
                f"recipient {recipient} fits {len(keys)} keys", mend="write the full fingerprint"
            )
        return _checked_key(keys[0], recipient)

    def _homedir_flag(self) -> str:
        return f" --homedir {self._homedir}" if self._homedir else ""

    def close(self) -> None:
        """Stop the agent that gpg may have started for our own home folder.

        One that cannot be stopped (a busy host, no gpgconf) spoils no work that is done.
        """
        if self._homedir is None or not self._homedir.is_dir():
            return
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["gpgconf", "--homedir", str(self._homedir), "--kill", "all"],
                check=False,
                capture_output=True,
                timeout=10,
                env=gpg_environment(),
            )


def _checked_key(key: dict[str, Any], recipient: str) -> str:
    fingerprint = str(key["fingerprint"])
    trust, expires = key.get("trust"), key.get("expires")
    if trust == "r":
        raise EncryptionError(f"public key {recipient} is revoked", mend="configure another key")
    if trust == "e" or (expires and float(expires) <= datetime.now(UTC).timestamp()):
        raise EncryptionError(
            f"public key {recipient} has expired",
            mend="extend it with gpg --quick-set-expire and import it again, or use another key",
        )
    # Upper-case letters are what the whole key can do with its valid subkeys.
    if "D" in key.get("cap", "") or "E" not in key.get("cap", ""):
        raise EncryptionError(
            f"public key {recipient} cannot encrypt (no valid encryption subkey, or disabled)",
            mend="configure a key that can",
        )
    return fingerprint


class _Flow:
    """The two ends of one gpg run; remembers what python-gnupg would swallow."""

    def __init__(self, source: Readable, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._source_error: BaseException | None = None
        self._sink_error: BaseException | None = None
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Feed gpg. After an error either way the input ends, so that gpg ends too."""
        if self._source_error is not None or self._sink_error is not None:
            return b""
        try:
            data = self._source.read(size)
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            self._source_error = error
            return b""
        self._ended = not data
        return data

    def close(self) -> None:
        """python-gnupg closes its input; ours belongs to the caller."""

    def take(self, data: bytes) -> bool:
        """Hand gpg's output on; False keeps python-gnupg from collecting it."""
        if data and self._sink_error is None and self._source_error is None:
            try:
                self._sink(data)
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                self._sink_error = error
        return False

    def settle(self, run: Callable[[], Any], verb: str) -> None:
        """Run gpg, and raise what went wrong anywhere: source, sink, gpg, in this order."""
        result, broken = None, None
        try:
            result = run()
        except FileNotFoundError as gone:
            raise EncryptionError("gpg is not there any more", mend=_INSTALL) from gone
        except OSError as pipe_error:  # gpg ended before it had read everything
            broken = pipe_error
        for error in (self._source_error, self._sink_error):
            if error is not None:
                raise error
        if result is None:
            raise EncryptionError(f"gpg could not {verb}: it ended too early") from broken
        failure = getattr(result, "on_data_failure", None)
        if result.ok and result.returncode == 0 and self._ended and failure is None:
            return
        raise _failure(result, verb)


def _failure(result: Any, verb: str) -> GuardianError:
    said = (result.stderr or "").encode(_WIRE).decode(errors="replace")
    words = [
        line.removeprefix("gpg: ").strip()
        for line in said.splitlines()
        if line.startswith("gpg: ") and "encrypted with" not in line
    ]
    reason = (words or [result.status or "it said nothing"])[-1]
    mend = None
    kind = EncryptionError
    lowered = " ".join(words).lower() + (result.status or "")
    if "bad session key" in lowered or "bad passphrase" in lowered or "bad key" in lowered:
        reason, mend = "wrong passphrase, or damaged data", "use the passphrase of that backup"
        kind = KeyMissingError
    elif "no secret key" in lowered:
        kind = KeyMissingError
        reason, mend = "the secret key is not here", "import it with gpg --import"
    elif "inappropriate ioctl" in lowered or "no pinentry" in lowered or "no_secret" in lowered:
        mend = "the secret key wants a passphrase: preset it in gpg-agent"
        kind = KeyMissingError
    elif result.status == "no data was provided" or not (words or result.status):
        reason = "this is no encrypted message"
        kind = DamagedMessageError
    elif _DAMAGE.search(lowered):
        reason = "the data is damaged or cut short"
        kind = DamagedMessageError
    return kind(f"gpg could not {verb}: {reason}", mend=mend)
