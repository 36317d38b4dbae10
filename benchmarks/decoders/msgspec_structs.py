"""msgspec, from bytes into its own structs, frozen."""

# ruff: noqa: N815 - the fields have the vendor's names

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Row(msgspec.Struct, frozen=True):
    grpIdx: int
    grpNm: str
    acesCnt: int
    pernCnt: int


Rows: TypeAlias = list[Row]


class Extra(msgspec.Struct, frozen=True):
    pages: int
    nextPages: int
    nextYn: str
    count: int
    totalCount: int


class Listing(msgspec.Struct, frozen=True):
    extra: Extra
    list: Rows


class Envelope(msgspec.Struct, frozen=True):
    code: int
    message: str
    result: Listing


_decoder = msgspec.json.Decoder(Envelope)


def decode(body: bytes) -> Rows:
    """The records of a page."""
    return _decoder.decode(body).result.list
