"""What the sandbox saw of a request."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

import attrs

from clicksgroup.dates import parse_date
from clicksgroup.errors import ConfigurationError

V1_PATH = "/api/link/v1/clicks-by-group"
V2_PATH = "/api/link/v2/clicks-by-group"

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@attrs.frozen
class SeenRequest:
    """One request as the sandbox saw it.

    Args:
        at: when it arrived, in seconds of the monotonic clock.
        path: the path of the URL, which says v1 or v2.
        date: the date that was asked for, of a v2 range its start; None where there was no such date in it.
        end: the end of a v2 range; on v1 the same as `date`.
        page: the number of the page; 1 where it was left out, None where it was no number.
        groups: the ids that were asked for: None where they were left out, empty where they could not be read.
        user_agent: the header of that name; empty where there was none.
        attempt: which time this page (of these groups) passed the quota, from 1; 0 where this one did not.
        status: the HTTP status it was answered with; None until then, and where the connection was reset.
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

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked, whoever asked it and whenever."""
        return self.path, self.date, self.end, self.page, self.groups


def see(path: str, query: Mapping[str, str], user_agent: str, at: float) -> SeenRequest:
    """Read a request leniently: what cannot be read is None, and judged later."""
    if path == V2_PATH:
        date, end = _date(query.get("startYmd")), _date(query.get("endYmd"))
    else:
        date = end = _date(query.get("ymd"))
    return SeenRequest(at, path, date, end, _number(query.get("pages", "1")), _ids(query.get("grpIdxList")), user_agent)


def _date(text: str | None) -> datetime.date | None:
    try:
        return parse_date(text or "")
    except ConfigurationError:
        return None


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _ids(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    ids = tuple(_number(part) for part in text.split(","))
    return tuple(number for number in ids if number is not None) if None not in ids else ()
