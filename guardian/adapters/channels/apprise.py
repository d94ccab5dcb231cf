"""Any service that apprise knows, one URL a channel. Needs the extra ``apprise``.

apprise tells whether it worked; why not stands in its log, of which the status alone is repeated,
since the rest may quote what we sent. It knows no ``Retry-After``, and must not try again by
itself: our outbox does that. Each message has an object of its own, so that its throttle delays
nobody.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.veil import secrets_of
from guardian.errors import DeliveryError
from guardian.escalate.markup import PLAIN, body
from guardian.escalate.model import Message, MessageKind, Receipt, Severity
from guardian.escalate.wording import cut, headline

if TYPE_CHECKING:
    from types import ModuleType

# They log addresses, which are secrets here; apprise's warnings, which say why a message was not
# taken, are read where it is sent and nowhere else.
logging.getLogger("apprise").setLevel(logging.WARNING)
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.ERROR)

_TITLE_LIMIT = 200
_BODY_LIMIT = 20_000
"""apprise cuts or splits further, as each service wants it."""
_STATUS = re.compile(r"\berror\s*[=:]\s*(\d{3})\b")
_FOR_GOOD = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})
INSTALL = "pip install 'pg-guardian[apprise]'"


class Apprise(Destination):
    """One apprise URL, such as ``ntfys://…`` or ``pover://…``."""

    kind = "apprise"

    def __init__(self, name: str, url: str, *, seconds: float = DEADLINE_SECONDS) -> None:
        super().__init__(name, (url, *secrets_of(url)), seconds=seconds)
        self._url = url

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        library = self._library()
        target = self._target(library)
        said = body(message, PLAIN, _BODY_LIMIT)
        title = cut(headline(message), _TITLE_LIMIT)
        try:
            outcome = target.notify(
                body=said or title,
                title=title if said else "",
                notify_type=_type_of(library, message),
                body_format=library.NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - a hundred plug-ins, each with its own
            raise DeliveryError(f"{self._thing}: its plug-in broke: {_name_of(error)}") from None
        if not outcome:
            raise self._failure(entry.message for entry in outcome.logs())
        return Receipt("accepted")

    def _library(self) -> ModuleType:
        try:
            import apprise  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise DeliveryError(
                f"{self._thing}: apprise is not installed", mend=INSTALL, permanent=True
            ) from None
        return apprise

    def _target(self, library: ModuleType) -> Any:
        asset = library.AppriseAsset(
            app_id="guardian",
            app_desc="guardian",
            async_mode=False,
            default_service_retry=0,
            http_redirects=False,
            service_timeout=self._seconds,
            storage_mode=library.PersistentStoreMode.MEMORY,
            pgp_autogen=False,
            pem_autogen=False,
        )
        try:
            one = library.Apprise.instantiate(self._url, asset=asset)
        except Exception:  # noqa: BLE001 - as above
            one = None
        if one is None:
            raise DeliveryError(
                f"{self._thing}: its url is none that apprise knows",
                mend="see https://github.com/caronc/apprise/wiki for how it is written",
                permanent=True,
            )
        one.retry = 0  # even where the URL asks for more
        target = library.Apprise(asset=asset)
        target.add(one)
        return target

    def _failure(self, logged: Iterable[str]) -> DeliveryError:
        found = [int(match[1]) for text in logged for match in _STATUS.finditer(text)]
        status = found[-1] if found else None
        return DeliveryError(
            f"{self._thing}: its service did not take it"
            + (f", status {status}" if status else ""),
            mend="check its url" if status in _FOR_GOOD else None,
            permanent=status in _FOR_GOOD,
        )


def _type_of(library: ModuleType, message: Message) -> Any:
    if message.kind is MessageKind.RESOLVED:
        return library.NotifyType.SUCCESS
    if message.kind in {MessageKind.ACKNOWLEDGED, MessageKind.TEST, MessageKind.DIGEST}:
        return library.NotifyType.INFO
    urgent = message.severity in {Severity.P0, Severity.P1}
    return library.NotifyType.FAILURE if urgent else library.NotifyType.WARNING


def _name_of(error: Exception) -> str:
    """Not its text, which may hold the URL."""
    return type(error).__name__
