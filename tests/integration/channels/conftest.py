"""A certificate, and receivers for the channels that have more to show than all have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.certificates import Certificate, make_certificate
from support.channels import WEB, MailSubject, WebSubject, mail_subject, web_subject


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:localhost")


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[WebSubject]:
    """The channel that the test's parameter, or its module's ``KIND``, names."""
    kind = getattr(request, "param", None) or request.module.KIND
    with web_subject(WEB[kind]) as made:
        yield made


@pytest.fixture
def mail(certificate: Certificate) -> Iterator[MailSubject]:
    with mail_subject(certificate) as made:
        yield made
