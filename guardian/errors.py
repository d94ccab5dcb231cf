"""One tree of errors under :class:`GuardianError`.

An error is part of the product: it names the *thing* it is about, says the *cause*, and offers the
*mend*. ``str(error)`` is the one line that a person reads; it never holds a secret. Each class's
docstring says when it is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum


class Cause(StrEnum):
    """Why a backup failed. The values are fixed by the contract (``error.cause``)."""

    DISK_FULL = "disk_full"
    TIMEOUT = "timeout"
    PERMISSION = "permission"
    ENCRYPTION = "encryption"
    CONNECTION = "connection"
    VERSION_MISMATCH = "version_mismatch"
    STORE = "store"
    DUMP = "dump"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


class ExitCode(IntEnum):
    """What a command returns to the shell. Fixed by the contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNPROVEN = 3
    LOCKED = 4
    INTERRUPTED = 130


class GuardianError(Exception):
    """Anything that guardian tells a person about. Raised through one of the classes below.

    ``message`` names the thing and the cause in one line; ``mend`` says what to do about it;
    ``transient`` is true where trying again later may help.
    """

    cause: Cause = Cause.UNKNOWN
    exit_code: ExitCode = ExitCode.FAILED
    transient: bool = False

    def __init__(
        self,
        message: str,
        *,
        mend: str | None = None,
        cause: Cause | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.mend = " ".join(mend.split()) if mend else None
        if cause is not None:
            self.cause = cause
        if transient is not None:
            self.transient = transient

    def __reduce__(self) -> tuple[object, ...]:
        """Let an error cross from one process to another."""
        return type(self), (self.message,), self.__dict__

    def __str__(self) -> str:
        """Return the one line: thing, cause and, behind a semicolon, the mend."""
        return f"{self.message}; {self.mend}" if self.mend else self.message


class ConfigError(GuardianError):
    """The configuration cannot be used: syntax, unknown key, wrong value, unset variable."""

    exit_code = ExitCode.USAGE


class InvalidConfigError(ConfigError):
    """The configuration file holds mistakes. ``problems`` tells all of them, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = tuple(" ".join(problem.split()) for problem in problems)

    def __reduce__(self) -> tuple[object, ...]:
        """Let it cross from one process to another."""
        return type(self), (self.problems,), self.__dict__


class UsageError(GuardianError):
    """The command's words are off: an unknown server, an id that does not exist, a bad flag."""

    exit_code = ExitCode.USAGE


class NotFoundError(UsageError):
    """A named thing (backup, server, store, incident) does not exist."""


class ConnectionFailedError(GuardianError):
    """The server could not be reached, refused us, or went away in the middle."""

    cause = Cause.CONNECTION
    transient = True


class PermissionDeniedError(GuardianError):
    """A role lacks a privilege, or a file its mode. The mend carries the GRANT or the chmod."""

    cause = Cause.PERMISSION


class LockedError(GuardianError):
    """A table's lock could not be had in time, because of DDL that is running or waiting."""

    cause = Cause.LOCKED
    transient = True


class DumpError(GuardianError):
    """pg_dump or pg_dumpall failed, for a reason that has no class of its own."""

    cause = Cause.DUMP


class VersionMismatchError(GuardianError):
    """No PostgreSQL client tool on this host is new enough for the server, or there is none."""

    cause = Cause.VERSION_MISMATCH


class EncryptionError(GuardianError):
    """gpg is missing or failed, or a key or passphrase is missing, unusable or wrong."""

    cause = Cause.ENCRYPTION


class KeyMissingError(EncryptionError):
    """What would decrypt a message is not here: the secret key, or the right passphrase."""


class DamagedMessageError(EncryptionError):
    """gpg found a message that was changed or cut short, or that is none."""


class StoreError(GuardianError):
    """A store could not be read from or written to. ``transient`` tells throttling from refusal."""

    cause = Cause.STORE


class StoreNotFoundError(StoreError):
    """An object that was asked for is not in the store."""


class StoreExistsError(StoreError):
    """An exclusive write found its name taken. Nothing was overwritten."""


class StoreLockedError(StoreError):
    """An object is under object lock and cannot be deleted yet. The message says until when."""


class DiskFullError(StoreError):
    """A local store, or a scratch folder, has no room left."""

    cause = Cause.DISK_FULL


class TimedOutError(GuardianError):
    """Work took longer than its configured timeout and was stopped."""

    cause = Cause.TIMEOUT


class InterruptedRunError(GuardianError):
    """A person or the system asked us to stop (Ctrl-C, SIGTERM); what was begun is undone."""

    cause = Cause.INTERRUPTED
    exit_code = ExitCode.INTERRUPTED


class AlreadyRunningError(GuardianError):
    """Another process holds the lease for the same work. The message names the holder."""

    cause = Cause.LOCKED
    exit_code = ExitCode.LOCKED


class CatalogError(GuardianError):
    """The catalog database cannot be opened, migrated, read or written."""


class DamagedCatalogError(CatalogError):
    """The catalog's file is damaged, or no catalog at all. The stores can make it anew."""


class StaleIncidentError(CatalogError):
    """Another process changed the same incident meanwhile. Read it again and decide again."""

    transient = True


class DeliveryError(GuardianError):
    """A channel did not take a message.

    ``permanent``: trying again cannot help. ``retry_after``: seconds to wait, where the other side
    said so.
    """

    transient = True

    def __init__(
        self,
        message: str,
        *,
        mend: str | None = None,
        cause: Cause | None = None,
        transient: bool = True,
        permanent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, mend=mend, cause=cause, transient=transient and not permanent)
        self.permanent = not self.transient
        self.retry_after = retry_after


class ManifestError(GuardianError):
    """A manifest or fingerprint is not one of ours, is damaged, or is from a newer guardian."""


class SignatureError(ManifestError):
    """A document in a store does not carry the signature that it must. The base of three."""


class UnsignedError(SignatureError):
    """It has no signature at all, where one is required: older than signing, or stripped of it."""


class ForgedError(SignatureError):
    """Its signature is none of ours: it was altered, or written by somebody else."""


class UncheckedSignatureError(SignatureError):
    """Its signature cannot be judged on this host: the key, or that passphrase, is not here."""


class UnrestorableError(GuardianError):
    """A backup could not be restored: a part is damaged, or pg_restore reported errors."""


class DamagedPartError(UnrestorableError):
    """What a store gave for a part is not what was written there: missing, cut short, changed."""


class ScratchError(GuardianError):
    """A throw-away PostgreSQL server could not be made, started or reached on this host."""


class UnsuitableTargetError(GuardianError):
    """The server to restore to lacks something: an extension, a role, a locale, a privilege."""


class InconclusiveError(GuardianError):
    """A drill could not tell either way: something that it needs is missing here."""

    exit_code = ExitCode.UNPROVEN
