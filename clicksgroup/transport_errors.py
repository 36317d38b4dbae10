"""What aiohttp's failures mean, for the errors that users meet: in words, and without what would show the key."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import aiohttp

from clicksgroup.errors import TransportError
from clicksgroup.protocol import PageRequest

_LONGEST_REASON = 300
"""Characters of what aiohttp says that an error shows: it may quote the server."""


def transport_error(
    failure: BaseException, request: PageRequest, seconds: float, redact: Callable[[str], str]
) -> TransportError:
    """The error for a request that got no usable answer.

    Args:
        failure: what aiohttp raised, or `TimeoutError` itself where our own bound was passed.
        request: what was asked.
        seconds: that bound.
        redact: takes out of a text what no error may show.
    """
    what = f"no whole answer within {seconds:g} s" if type(failure) is TimeoutError else _describe(failure)
    what = " ".join(redact(what).split())[:_LONGEST_REASON]
    permanent = _is_certificate_failure(failure)
    advice = "check base_url and the server's certificate" if permanent else "check the network, or try again later"
    error = TransportError(
        f"{request}: {what}; {advice}",
        date=request.query.start,
        page=request.number,
        retryable=not permanent,
        stops_all=permanent,
    )
    error.__cause__ = _cause(failure, redact)
    return error


def _describe(failure: BaseException) -> str:
    match failure:
        case aiohttp.ClientResponseError():  # its status is aiohttp's invention
            return f"malformed HTTP ({failure.message})"
        case aiohttp.ClientConnectorCertificateError():
            return f"the server's certificate is not accepted ({failure.certificate_error})"
        case aiohttp.ServerFingerprintMismatch():
            return f"the server's certificate is not accepted (its fingerprint is {failure.got.hex()})"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name cannot be resolved ({failure.os_error})"
        case aiohttp.ClientSSLError():
            return f"TLS failed ({failure.os_error})"
        case aiohttp.ClientConnectorError():
            return f"no connection ({failure.os_error})"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "the connection ended in the middle of the body"
    return f"{type(failure).__name__}: {failure}"


def _is_certificate_failure(failure: BaseException) -> bool:
    refused = (ssl.SSLCertVerificationError, aiohttp.ServerFingerprintMismatch)
    return isinstance(getattr(failure, "certificate_error", failure), refused)


def _cause(failure: BaseException, redact: Callable[[str], str]) -> BaseException | None:
    """What may be shown as the cause: nothing that holds the request, whose headers hold the key, or an echo of it."""
    shown = f"{failure!r} {vars(failure)!r}"
    if isinstance(failure, aiohttp.ClientResponseError) or redact(shown) != shown:
        return None
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        failure = failure.certificate_error
    elif isinstance(failure, aiohttp.ClientConnectorError):
        failure = failure.os_error
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
