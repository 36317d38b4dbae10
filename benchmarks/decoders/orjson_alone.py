"""orjson and nothing else: dicts."""

from __future__ import annotations

from typing import Any

import orjson


def decode(body: bytes) -> list[Any]:
    """The records of a page."""
    rows: list[Any] = orjson.loads(body)["result"]["list"]
    return rows
