"""The catalog's schema: which revision a database is at, and bringing it to ours.

Alembic takes a third of a second to import, so it is imported only where there is something to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Select, column, func, inspect, select, table

from guardian.adapters.catalog.engine import Database
from guardian.errors import CatalogError

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""All revisions, oldest first; a test keeps them equal to the scripts in ``migrations``."""

HEAD = REVISIONS[-1]
VERSION_TABLE = "guardian_catalog_version"
MIGRATIONS = Path(__file__).parent / "migrations"

_ADVISORY_LOCK = 0x67756172_6469616E  # "guardian"
_LOCK_WAIT = "2min"
"""How long to wait for another process that migrates."""

_revision: Select[str] = select(column("version_num")).select_from(table(VERSION_TABLE))


def ensure_schema(database: Database, *, create: bool) -> None:
    """Bring the catalog to our revision; one query where it is there already.

    Any number of processes may call this at once.

    Raises:
        CatalogError: it cannot be used, is of a newer guardian, or is not there and ``create`` is
            false.
    """
    if not create and database.file is not None and not database.file.exists():
        raise _missing(database)
    if not database.make_file():
        found = _found(database)
        if found == HEAD:
            return
        if found is None and not create:
            raise _missing(database)
    if database.is_sqlite:
        database.enter_wal()
    with database.writing() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if current_revision(connection, database.place) != HEAD:
            upgrade(connection)


def current_revision(connection: Connection, place: str) -> str | None:
    """The revision that a catalog is at, None when there is no catalog yet.

    Raises:
        CatalogError: the revision is not one of ours.
    """
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return _ours(connection.scalar(_revision), place)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations within the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - slow to import, see above

    command.upgrade(alembic_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo migrations down to ``revision`` (``base`` for all); what they made is lost."""
    from alembic import command  # noqa: PLC0415 - slow to import, see above

    command.downgrade(alembic_config(connection), revision)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, for our scripts on this connection."""
    from alembic.config import Config  # noqa: PLC0415 - slow to import, see above

    config = Config()
    # A % in the path would be an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _found(database: Database) -> str | None:
    """What :func:`current_revision` gives, in one query where the catalog is there."""
    try:
        with database.reading() as connection:
            return _ours(connection.scalar(_revision), database.place)
    except CatalogError as error:
        if error.transient:
            raise
    # No such table, or something that the next line tells better.
    with database.reading() as connection:
        return current_revision(connection, database.place)


def _ours(found: str | None, place: str) -> str | None:
    if found is not None and found not in REVISIONS:
        raise CatalogError(
            f"catalog {place} is of a newer guardian (revision {found}, this one knows {HEAD})",
            mend="upgrade guardian here too, or give this one a `catalog` of its own",
        )
    return found


def _missing(database: Database) -> CatalogError:
    return CatalogError(
        f"catalog {database.place} is not there",
        mend="mend `catalog` or `state_dir`, or run `guardian catalog rebuild`",
    )
