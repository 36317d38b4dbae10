"""A body as JSON, or why it is none: cut on its way, or something else."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import orjson

from clicksgroup.errors import DecodeError
from clicksgroup.protocol.error_responses import Redact, snippet
from clicksgroup.protocol.requests import PageRequest


def load_json(body: bytes, request: PageRequest, redact: Redact) -> Any:
    """The body as JSON.

    Raises:
        DecodeError: it is none. It is retryable where the body may have been cut on its way.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = error.msg
    if (mended := _LONE_SURROGATE.sub(_mend, body)) != body:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(mended)
    cut = was_cut(body)
    what = "nothing" if not body.strip() else "a part of it" if cut else "something else"
    advice = "it was cut on its way" if cut else "does base_url name the API, or is the server in maintenance?"
    raise DecodeError(
        f"{request}: expected a JSON envelope, got {what} ({reason}): {snippet(body, redact)!r}; {advice}",
        snippet=snippet(body, redact),
        date=request.query.start,
        page=request.number,
        retryable=cut,
    )


def was_cut(body: bytes) -> bool:
    """Whether a body that is not JSON may be the beginning of some: it is empty, or ends within an object or text."""
    body = body.strip()
    if body and body[:1] not in b"{[":
        return False
    outside = _STRING.sub(b"", body)
    opened = outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
    return not body or opened > 0 or b'"' in outside


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

# An escape of JSON: a pair of surrogates, a surrogate alone (which cut-off names leave), or any other.
_LONE_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mend(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]
