"""pydantic as it comes, from bytes."""

# ruff: noqa: N815 - the fields have the vendor's names

from __future__ import annotations

from typing import TypeAlias

from pydantic import BaseModel


class Row(BaseModel):
    grpIdx: int
    grpNm: str
    acesCnt: int
    pernCnt: int


Rows: TypeAlias = list[Row]


class Extra(BaseModel):
    pages: int
    nextPages: int
    nextYn: str
    count: int
    totalCount: int


class Listing(BaseModel):
    extra: Extra
    list: Rows


class Envelope(BaseModel):
    code: int
    message: str
    result: Listing


def decode(body: bytes) -> Rows:
    """The records of a page."""
    return Envelope.model_validate_json(body).result.list
