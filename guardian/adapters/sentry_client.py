"""A Sentry client that is ours alone, and that knows what became of each thing it sent.

The SDK's own transport sends from a queue in the background and tells nobody whether it arrived. So
the client here gets a transport of ours: the SDK makes the envelope, we post it, and what Sentry
answers is the result. No integration is on, nothing global is touched: no hook for exceptions, no
scope of an application that embeds us, no background thread.

Sources: develop.sentry.dev on envelopes, rate limiting (``X-Sentry-Rate-Limits``, ``Retry-After``)
and check-ins.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import Dsn

from guardian import __version__
from guardian.adapters.web import USER_AGENT, Answer, WebClient
from guardian.errors import ConfigError, DeliveryError

_CONTENT_TYPE = "application/x-sentry-envelope"


class SentryClient:
    """Sends events and check-ins of one project, each as a call that returns when it is accepted.

    For several threads at once. Raises ConfigError when the DSN is none.
    """

    def __init__(
        self,
        thing: str,
        dsn: str,
        *,
        environment: str = "production",
        tls: ssl.SSLContext | None = None,
        seconds: float = 15.0,
    ) -> None:
        self._web = WebClient(thing, tls=tls)
        self._seconds = seconds
        self._thing = thing
        try:
            parsed = Dsn(dsn)
        except ValueError:
            raise ConfigError(
                f"{thing}: its DSN is none",
                mend="copy it from the project's settings, Client Keys",
            ) from None
        auth = parsed.to_auth(USER_AGENT)
        self._url = str(auth.get_api_url())
        self._headers = {"X-Sentry-Auth": str(auth.to_header())}
        self._kept = _Keeping()
        self._client = sentry_sdk.Client(
            dsn=dsn,
            transport=self._kept,
            environment=environment,
            release=f"guardian@{__version__}",
            debug=False,
            spotlight=False,
            sample_rate=1.0,
            default_integrations=False,
            auto_enabling_integrations=False,
            enable_backpressure_handling=False,
            auto_session_tracking=False,
            send_client_reports=False,
            include_local_variables=False,
            include_source_context=False,
            attach_stacktrace=False,
            max_breadcrumbs=0,
            max_value_length=8192,
        )

    def send(self, event: Mapping[str, Any]) -> Answer:
        """Send an event, or a check-in (``type: check_in``). Raises DeliveryError."""
        envelope = self._kept.made_by(lambda: self._client.capture_event(dict(event)))  # type: ignore[arg-type]
        if envelope is None:
            raise DeliveryError(f"{self._thing}: its SDK drops the event", permanent=True)
        answer = self._web.post(
            self._url,
            envelope.serialize(),
            headers=self._headers,
            content_type=_CONTENT_TYPE,
            seconds=self._seconds,
        )
        if answer.is_success:
            return answer
        raise self._web.refusal(answer, mend=_mend(answer))

    def close(self) -> None:
        """Let the SDK's client go."""
        self._client.close(timeout=0)


class _Keeping(Transport):
    """Keeps the envelope that the SDK makes, for the thread in which it makes it."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def made_by(self, work: Callable[[], object]) -> Envelope | None:
        self._local.envelope = None
        work()
        made: Envelope | None = self._local.envelope
        return made

    def capture_envelope(self, envelope: Envelope) -> None:
        self._local.envelope = envelope


def _mend(answer: Answer) -> str | None:
    if answer.status in {401, 403}:
        return "give the DSN of a project whose key is active"
    if answer.status == 400:
        return "check the DSN: its project or key may be gone"
    return None
