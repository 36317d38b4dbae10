"""The error that a user meets for a failure of aiohttp: in words, and without what would show the key."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp

from clicksgroup.errors import TransportError
from clicksgroup.protocol import PROXY_AUTHENTICATION, PageRequest

_LONGEST_REASON = 300
"""Characters of what aiohttp says that an error shows: it may quote the server."""


def timeout_text(seconds: float, bound: str, *, sent: bool) -> str:
    """What our own timeout means: no answer, or not even a connection to send the request on."""
    if sent:
        return f"no complete response within {seconds:g} s ({bound})"
    return f"nothing was sent within {seconds:g} s ({bound}): no connection was free, or none could be opened"


def transport_error(
    failure: BaseException | str, request: PageRequest, base_url: str, redact: Callable[[str], str]
) -> TransportError:
    """The error for a request that got no usable answer: `failure` is an exception of aiohttp's, or a text."""
    host = urlsplit(base_url).netloc
    permanent = _is_permanent(failure)
    what = " ".join(redact(_describe(failure, host)).split())[:_LONGEST_REASON]
    advice = "check base_url, the proxy and the certificates" if permanent else "check the network, or try again later"
    error = TransportError(
        f"{request}: {what}; {advice}",
        retryable=not permanent,
        stops_all=permanent,
        **request.where,
    )
    error.__cause__ = _cause(failure, redact)
    return error


def _is_permanent(failure: object) -> bool:
    """Whether every request will fail like this: the server is not trusted, or the proxy wants a password."""
    failure = getattr(failure, "certificate_error", failure)
    untrusted = isinstance(failure, (ssl.SSLCertVerificationError, aiohttp.ServerFingerprintMismatch))
    return untrusted or (isinstance(failure, aiohttp.ClientHttpProxyError) and failure.status == PROXY_AUTHENTICATION)


def _describe(failure: BaseException | str, host: str) -> str:
    match failure:
        case str():
            return f"{host}: {failure}"
        case aiohttp.ClientHttpProxyError(status=407):
            return "the proxy wants authentication"
        # Its status is aiohttp's invention.
        case aiohttp.ClientResponseError():
            return f"{host}: malformed HTTP ({failure.message})"
        case aiohttp.ClientConnectorCertificateError():
            return f"{host}: the certificate is not accepted ({failure.certificate_error})"
        case aiohttp.ServerFingerprintMismatch():
            return f"{host}: the certificate is not accepted (its fingerprint is {failure.got.hex()})"
        case aiohttp.ClientConnectorDNSError():
            return f"{host}: the host name cannot be resolved ({failure.os_error})"
        case aiohttp.ClientSSLError() if "WRONG_VERSION_NUMBER" in str(failure.os_error):
            return f"{host} does not speak TLS ({failure.os_error}); is base_url http?"
        case aiohttp.ClientSSLError():
            return f"{host}: TLS failed ({failure.os_error})"
        case aiohttp.ClientConnectorError():
            return f"{host}: no connection ({failure.os_error})"
        case aiohttp.ServerDisconnectedError():
            return f"{host} closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return f"{host}: the connection ended in the middle of the body"
    return f"{host}: {type(failure).__name__}: {failure}"


def _cause(failure: BaseException | str, redact: Callable[[str], str]) -> BaseException | None:
    """The cause to show: nothing that holds the request, whose headers hold the key, or an echo of it."""
    if isinstance(failure, (str, aiohttp.ClientResponseError)):
        return None
    shown = f"{failure!r} {vars(failure)!r}"
    if redact(shown) != shown:
        return None
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        failure = failure.certificate_error
    elif isinstance(failure, aiohttp.ClientConnectorError):
        failure = failure.os_error
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
