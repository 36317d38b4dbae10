"""Faults of TLS: certificates that must not be accepted, and a port that does not speak TLS."""

from __future__ import annotations

import ssl

import aiohttp
import pytest
import trustme

from clicksgroup import (
    ClicksClient,
    TransportError,
)
from tests.certificates import serving
from tests.faults.cases import ATTEMPTS, DATE, FAST, KEY, Case, client_of, failure_of
from tests.pages import dumps, envelope
from tests.raw_server import CLOSE, RawServer, http

WHOLE = dumps(envelope())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def test_tls(authority: trustme.CA) -> None:
    """TLS works with a trusted certificate."""
    async with (
        RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server,
        trusting(authority) as session,
        client_of(server, session=session) as client,
    ):
        assert (await client.page(DATE)).total_count == 3


async def test_untrusted_certificate(authority: trustme.CA) -> None:
    """An untrusted certificate is raised at once, before a request is sent."""
    async with RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server:
        error = await failure_of(server)
        Case("", b"", TransportError, ["certificate is not accepted", "base_url"]).check(error, attempts=1)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert not server.requests


async def test_certificate_of_another_host(authority: trustme.CA) -> None:
    """A certificate of another host is raised at once."""
    async with RawServer([http(WHOLE)], tls=serving(authority, "other.example")) as server:
        async with trusting(authority) as session:
            error = await failure_of(server, session=session)
        Case("", b"", TransportError, ["certificate is not accepted"]).check(error, attempts=1)


async def test_wrong_fingerprint(authority: trustme.CA) -> None:
    """A certificate without the expected fingerprint is raised at once."""
    async with RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server:
        connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(bytes(32)))
        async with aiohttp.ClientSession(connector=connector) as session:
            error = await failure_of(server, session=session)
        Case("", b"", TransportError, ["certificate is not accepted"]).check(error, attempts=1)


async def test_no_tls() -> None:
    """A port that does not speak TLS is retried and costs no request."""
    async with RawServer([], greeting=[b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE]) as server:
        async with ClicksClient(KEY, retry=FAST, base_url=server.url.replace("http:", "https:")) as client:
            with pytest.raises(TransportError, match="TLS") as caught:
                await client.page(DATE)
        Case("", b"", TransportError).check(caught.value, attempts=ATTEMPTS)
        assert server.connections == ATTEMPTS
        assert client.stats.requests == 0
