"""What a backup says of itself before it is restored: fingerprint, table of contents, roles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from guardian.backup.fingerprint import decode_fingerprint
from guardian.errors import ManifestError, UnrestorableError, UsageError
from guardian.model import Fingerprint, GlobalsLevel, PartKind
from guardian.restore.archive import Toc, TocReader, UnknownArchiveError
from guardian.restore.database_items import DatabaseItems, database_items, setting_item
from guardian.restore.globals_script import GlobalsScript, read_globals
from guardian.restore.opening import BackupReader
from guardian.restore.ports import Archive
from guardian.restore.roles_needed import roles_needed
from guardian.restore.selection import Selection, select
from guardian.restore.target import Needs, Wish

_BLOCK = 1 << 20
_SMALL = 256 << 20
"""Fingerprint and globals are held in memory."""
_NAMED = 5


class BackupContents:
    """Reads the small parts, and chooses what is wanted.

    ``fingerprint`` is None where there is none, or, with ``unreadable`` saying why, where it cannot
    be read. ``toc`` is None for a dump that is newer than what we know. ``selection`` is None for
    all of the archive.

    Raises:
        UsageError: the wish names what is not in the backup.
        UnrestorableError, StoreError, EncryptionError: it cannot be read.
    """

    def __init__(self, reader: BackupReader, archive: Archive, wish: Wish) -> None:
        self.warnings: list[str] = []
        self.fingerprint: Fingerprint | None = None
        self.unreadable: str | None = None
        self._reader = reader
        self._manifest = reader.manifest
        self._wish = wish
        self._read_fingerprint()
        self.toc = _read_toc(archive)
        self.selection = self._select()

    def _read_fingerprint(self) -> None:
        for part in self._manifest.parts_of(PartKind.FINGERPRINT):
            try:
                self.fingerprint = decode_fingerprint(self._reader.data(part, _SMALL))
            except (UnrestorableError, ManifestError) as error:
                self.unreadable = error.message
                self.warnings.append(f"the fingerprint cannot be read: {error.message}")

    def _select(self) -> Selection | None:
        wish = self._wish
        if not (wish.is_selective or wish.schema_only or wish.data_only):
            return None
        if self.toc is None:
            raise UnrestorableError(
                "this dump's table of contents is of a version that guardian does not read, so it "
                "can only be restored as a whole",
                mend="upgrade guardian on this host",
            )
        selection = select(
            self.toc,
            tables=wish.tables,
            schemas=wish.schemas,
            schema_only=wish.schema_only,
            data_only=wish.data_only,
        )
        self.warnings += selection.left_out
        if brought := selection.brought_along:
            names = ", ".join(".".join(name) for name in brought[:_NAMED])
            more = f" and {len(brought) - _NAMED} more" if len(brought) > _NAMED else ""
            self.warnings.append(f"brought along, for what was selected needs them: {names}{more}")
        return selection

    def globals_script(self) -> GlobalsScript:
        """The backup's roles and tablespaces."""
        parts = self._manifest.parts_of(PartKind.GLOBALS)
        if not parts:
            raise UsageError(
                f"backup {self._manifest.id} holds no roles",
                mend="leave --globals out; servers.*.globals: true saves them",
            )
        if self._manifest.globals is not GlobalsLevel.FULL:
            self.warnings.append("the backup holds no passwords: new roles have none")
        try:
            return read_globals(self._reader.data(parts[0], _SMALL))
        except ValueError as error:
            raise UnrestorableError(f"the backup's globals are no script: {error}") from error

    def needs(self, made: Collection[str]) -> Needs:
        """What a server must have; roles that are ``made`` before are not asked for."""
        facts = self._manifest.facts
        if self.selection is not None:
            wanted = {one.tag for one in self.selection.entries if one.kind == "EXTENSION"}
            kept = tuple(one for one in facts.extensions if one.name in wanted)
            facts = replace(facts, extensions=kept)
        roles = tuple(role for role in self._roles() if role not in made)
        return Needs(facts, self._manifest.dump_version, roles)

    def _roles(self) -> Collection[str]:
        wish = self._wish
        if wish.data_only or not (wish.owner or wish.privileges):
            return ()
        whole = self.selection is None and wish.owner and wish.privileges
        if whole and self.fingerprint is not None:
            return self.fingerprint.roles
        if self.toc is None:
            return ()
        entries = self.toc.entries if self.selection is None else self.selection.entries
        return roles_needed(entries, owners=wish.owner, grants=wish.privileges)

    def database_items(self) -> DatabaseItems:
        """What belongs to the database as a whole; with parts of one it does not come."""
        wish = self._wish
        if wish.is_selective or wish.data_only:
            return DatabaseItems()
        if self.toc is not None:
            items = database_items(self.toc.entries)
        else:
            settings = () if self.fingerprint is None else self.fingerprint.settings
            items = DatabaseItems(None, tuple(map(setting_item, settings)))
        return items.without(owner=not wish.owner, grants=not wish.privileges)

    def compared_tables(self) -> Collection[tuple[str, str]] | None:
        """The tables that alone can be compared; None where everything can."""
        wish = self._wish
        if self.selection is None or (wish.schema_only and not wish.is_selective):
            return None
        return self.selection.loaded if wish.data_only else self.selection.tables


def _read_toc(archive: Archive) -> Toc | None:
    reader = TocReader()
    with archive.open() as stream:
        try:
            while block := stream.read(_BLOCK):
                if (toc := reader.feed(block)) is not None:
                    return toc
            reader.close()
        except UnknownArchiveError:
            return None
    raise AssertionError
