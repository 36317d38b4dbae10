"""Thirty bodies that no client should accept as a page of clicks."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.page_server import page_body

PAGE = page_body(1, 2)
"""A correct body: the first of two pages."""


def _with(path: str, value: object) -> bytes:
    """The page with another value at a path such as `result.list.3.acesCnt`."""
    page: dict[str, Any] = json.loads(PAGE)
    *way, last = path.split(".")
    place: Any = page
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(page, ensure_ascii=False).encode()


def _without(path: str) -> bytes:
    marked = json.loads(_with(path, "\0"))
    drop = json.JSONDecoder(object_hook=lambda found: {key: value for key, value in found.items() if value != "\0"})
    return json.dumps(drop.decode(json.dumps(marked)), ensure_ascii=False).encode()


CLICKS = "result.list.3.acesCnt"

BODIES: dict[str, bytes] = {
    "nothing at all": b"",
    "an HTML page": b"<html><body>Maintenance</body></html>",
    "cut in the middle": PAGE[: len(PAGE) // 2],
    "followed by another": PAGE + PAGE,
    "a byte order mark of UTF-16 before it": b"\xff\xfe" + PAGE,
    "UTF-16": PAGE.decode().encode("utf-16"),
    "a name that is not UTF-8": PAGE.replace("캠페인".encode(), b"\xff\xfe"),
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "clicks NaN": _with(CLICKS, float("nan")),
    "null": b"null",
    "a list": b"[]",
    "no code": _without("code"),
    'code "0"': _with("code", "0"),
    "code false": _with("code", False),
    "code 401, with a result": _with("code", 401),
    "result null": _with("result", None),
    "extra missing": _without("result.extra"),
    "list null": _with("result.list", None),
    "list an object": _with("result.list", {}),
    "a record null": _with("result.list.3", None),
    "clicks missing": _without(CLICKS),
    "clicks null": _with(CLICKS, None),
    'clicks "181"': _with(CLICKS, "181"),
    "clicks 181.0": _with(CLICKS, 181.0),
    "clicks 181.7": _with(CLICKS, 181.7),
    "clicks true": _with(CLICKS, True),
    "clicks -1": _with(CLICKS, -1),
    "clicks 2^64": _with(CLICKS, 2**64),
    "name a number": _with("result.list.3.grpNm", 181),
    "nextYn true": _with("result.extra.nextYn", True),
}
