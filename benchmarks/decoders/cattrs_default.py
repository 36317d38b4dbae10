"""orjson, then cattrs as it comes, into frozen slotted attrs classes."""

# ruff: noqa: N815 - the fields have the vendor's names

from __future__ import annotations

from typing import TypeAlias

import attrs
import cattrs
import orjson


@attrs.frozen
class Row:
    grpIdx: int
    grpNm: str
    acesCnt: int
    pernCnt: int


Rows: TypeAlias = list[Row]


@attrs.frozen
class Extra:
    pages: int
    nextPages: int
    nextYn: str
    count: int
    totalCount: int


@attrs.frozen
class Listing:
    extra: Extra
    list: Rows


@attrs.frozen
class Envelope:
    code: int
    message: str
    result: Listing


_converter = cattrs.Converter()


def decode(body: bytes) -> Rows:
    """The records of a page."""
    return _converter.structure(orjson.loads(body), Envelope).result.list
