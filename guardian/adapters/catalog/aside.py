"""Putting a damaged catalog file aside, so that a new one can begin from the stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import inspect

from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.failures import folder_error
from guardian.adapters.catalog.models import METADATA
from guardian.adapters.catalog.schema import HEAD, current_revision
from guardian.errors import DamagedCatalogError
from guardian.ports import Clock

_BUSY_TIMEOUT = timedelta(seconds=10)
_COMPANIONS = ("-wal", "-shm", "-journal")


def set_aside_if_damaged(url: str, *, clock: Clock) -> Path | None:
    """Rename SQLite's file when it is damaged or no database; return its new name, or None.

    A file that is sound stays, and so does one that cannot be read for another reason (rights, a
    lock, a newer guardian): those have their own mends. Processes that still have it open go on
    with the file under its new name, until they are started again.

    Raises:
        CatalogError: it cannot be looked at, or not be renamed.
    """
    database = Database(url, clock=clock, busy_timeout=_BUSY_TIMEOUT)
    file = database.file
    try:
        if file is None or not file.exists():
            return None
        try:
            _look(database)
        except DamagedCatalogError:
            pass
        else:
            return None
    finally:
        database.close()
    return _set_aside(file, clock.now())


def _look(database: Database) -> None:
    """Read every page. Raises DamagedCatalogError when one is wrong, or a table is missing."""
    with database.reading() as connection:
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if found != "ok":
            raise DamagedCatalogError(f"catalog {database.place} is damaged ({found})")
        if current_revision(connection, database.place) == HEAD:
            missing = set(METADATA.tables) - set(inspect(connection).get_table_names())
            if missing:
                raise DamagedCatalogError(f"catalog {database.place} lacks {', '.join(missing)}")


def _set_aside(file: Path, now: datetime) -> Path:
    name = f"{file.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    aside, number = file.with_name(name), 1
    while aside.exists():
        number += 1
        aside = file.with_name(f"{name}-{number}")
    try:
        # The file itself goes last: SQLite would play a log that was left into the new catalog.
        for suffix in (*_COMPANIONS, ""):
            part = file.with_name(file.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise folder_error(error, str(file)) from error
    return aside
