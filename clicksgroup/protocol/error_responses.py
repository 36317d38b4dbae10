"""What an answer that is no page stands for: the vendor's refusals, and statuses without success."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from clicksgroup.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    ForbiddenError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
)
from clicksgroup.protocol.requests import PageRequest

Redact: TypeAlias = Callable[[str], str]

PROXY_AUTHENTICATION = 407
"""The HTTP status of a proxy that wants a user and a password."""

SNIPPET_LENGTH = 200
"""Characters of a body, or of a vendor's message, that an error shows."""


def unchanged(text: str) -> str:
    return text


def status_error(
    status: int, body: bytes, request: PageRequest, user_agent: str, retry_after: float | None, redact: Redact
) -> RequestError:
    """The error that an answer without success stands for.

    Args:
        status: not 2xx.
        body: what came with it; nothing is documented about its form.
        request: what was asked.
        user_agent: what was sent, which a 403 may be about.
        retry_after: the seconds that the answer asked to wait.
        redact: takes out of a text of the server's what no error may show.
    """
    envelope = _envelope(body)
    if 300 <= status < 400 and envelope is not None:
        code = envelope.get("code")
        if type(code) is int and code != 0:
            return api_error(envelope, code, request, redact)
    said = envelope.get("message") if envelope is not None else None
    said = f" The server says: {bounded(redact(said))!r}." if isinstance(said, str) and said else ""
    text = f"{request}: HTTP {status}: {_explain(status, user_agent, retry_after)}.{said}"
    kind = ServerError if status >= 500 else _KINDS.get(status, StatusError)
    stops_all = True if status == PROXY_AUTHENTICATION else None
    return kind(text, status=status, retry_after=retry_after, stops_all=stops_all, **request.where)


_KINDS: dict[int, type[StatusError]] = {401: AuthenticationError, 403: ForbiddenError, 429: RateLimitError}


def _explain(status: int, user_agent: str, retry_after: float | None) -> str:
    """What a status means and what its reader can do."""
    if status == 401:
        return "the API key is not accepted; check CLICKSGROUP_API_KEY or api_key"
    if status == 403:
        return (
            "access is refused; the vendor refuses a User-Agent that does not identify the caller by company or brand "
            f"name (sent: {user_agent!r}; set user_agent), and keys whose plan lacks this API"
        )
    if status == 429:
        wait = "does not say for how long" if retry_after is None else f"asks to wait {retry_after:g} s"
        return f"the quota is used up and the server {wait}; if the key is used elsewhere too, share its quota"
    if status == PROXY_AUTHENTICATION:
        return "the proxy wants authentication; give the session's proxy a user and a password"
    if status >= 500:
        wait = "" if retry_after is None else f" and asks to wait {retry_after:g} s"
        return f"the server failed{wait}; try again later"
    if 300 <= status < 400:
        return "a redirect, which is never followed; check base_url"
    return "expected 200; check base_url, the dates and the groups"


def too_large(size: str, limit: int, head: bytes, request: PageRequest, redact: Redact = unchanged) -> DecodeError:
    """The error for a body that is larger than any page can be."""
    return DecodeError(
        f"{request}: the body is {size}, more than the {limit:,} bytes that are read (a page is about 2 KiB); "
        "check base_url",
        snippet=snippet(head, redact),
        retryable=False,
        **request.where,
    )


def _envelope(body: bytes) -> dict[str, Any] | None:
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return envelope if isinstance(envelope, dict) else None


def api_error(envelope: dict[str, Any], code: int, request: PageRequest, redact: Redact) -> APIError:
    message = envelope.get("message")
    message = bounded(redact(message)) if isinstance(message, str) else ""
    return APIError(
        f"{request}: the server refuses with code {code}: {message or 'no message'}",
        code=code,
        message=message,
        **request.where,
    )


def snippet(body: bytes, redact: Redact) -> str:
    return bounded(redact(body[: 16 * SNIPPET_LENGTH].decode("utf-8", "replace")))


def bounded(text: str) -> str:
    return text if len(text) <= SNIPPET_LENGTH else text[:SNIPPET_LENGTH] + "…"
