"""Requests as the sandbox received them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Self

import attrs

from clicksgroup.dates import parse_date
from clicksgroup.errors import ConfigurationError

V1_PATH = "/api/link/v1/clicks-by-group"
V2_PATH = "/api/link/v2/clicks-by-group"
GROUPS_PATH = "/api/link-group/v2/list"


@attrs.frozen
class SeenRequest:
    """A request as the sandbox received it.

    Args:
        at: when it arrived, in seconds of the monotonic clock.
        path: the path of its URL: that of clicks v1 or v2, or of the list of groups.
        date: the requested date, or the start of a v2 range; None if it is missing or unreadable.
        end: the end of a v2 range; for v1 the same as `date`.
        page: the number of the page: 1 if it is missing, None if it is unreadable.
        groups: the requested ids: None if they are missing, empty if they are unreadable.
        user_agent: the header of that name; empty if it is missing.
        attempt: how many requests for this page (of these groups) the quota has admitted, this one included; 0 if it
            was rejected.
        status: the HTTP status of the response; None before it, and if the connection was reset.
        name: for the list of groups, the part of a name that was asked for; None if it is missing.
    """

    at: float
    path: str
    date: datetime.date | None
    end: datetime.date | None
    page: int | None
    groups: tuple[int, ...] | None
    user_agent: str
    attempt: int = 0
    status: int | None = None
    name: str | None = None

    @classmethod
    def parse(cls, path: str, query: Mapping[str, str], user_agent: str, at: float) -> Self:
        """Read a request. Parameters that are unreadable are not errors here: the API decides what to answer."""
        if path == V2_PATH:
            date, end = _date(query.get("startYmd")), _date(query.get("endYmd"))
        else:
            date = end = _date(query.get("ymd"))
        groups = _ids(query.get("grpIdx" if path == GROUPS_PATH else "grpIdxList"))
        page = _number(query.get("pages", "1"))
        return cls(at, path, date, end, page, groups, user_agent, name=query.get("nm"))

    @property
    def page_key(self) -> tuple[object, ...]:
        """Equal for all attempts at the same page."""
        return self.path, self.date, self.end, self.page, self.groups, self.name


def _date(text: str | None) -> datetime.date | None:
    try:
        return parse_date(text or "")
    except ConfigurationError:
        return None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,17}", text) else None


def _ids(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    ids = tuple(_number(part) for part in text.split(","))
    return tuple(number for number in ids if number is not None) if None not in ids else ()
