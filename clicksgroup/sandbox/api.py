"""The API as the vendor documents it: which requests it accepts, when, what it answers, and faults on request.

The vendor does not document its non-zero codes, nor what it says to an empty or unreadable `grpIdxList`: those here
are the sandbox's own. No rule is shared with the client's `protocol`, so that neither hides the other's mistakes.
"""

from __future__ import annotations

import datetime
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import attrs
import orjson
from aiohttp import web

from clicksgroup.dates import parse_date
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Group, GroupClicks, GroupTotals
from clicksgroup.plans import Plan, Quota

V1_PATH = "/api/link/v1/clicks-by-group"
V2_PATH = "/api/link/v2/clicks-by-group"
GROUPS_PATH = "/api/link-group/v2/list"

PAGE_SIZE = 30
"""Records on a page (vendor, Clicks by Group v1)."""

MAX_URL_LENGTH = 4000
"""Characters. The vendor does not document a limit; those of common web servers lie between 4,000 and 8,000."""

MAX_RANGE_DAYS = 31
"""Days in "at most 1 month" (vendor, Clicks by Group v2). How the vendor counts a month is not documented."""


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
        ids = query.get("grpIdx" if path == GROUPS_PATH else "grpIdxList")
        groups = None if ids is None else _numbers(ids)
        pages = _numbers(query.get("pages", "1"))
        page = pages[0] if len(pages) == 1 else None
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


def _numbers(text: str) -> tuple[int, ...]:
    """Positive numbers with commas between them; none if the text is anything else."""
    readable = re.fullmatch("[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*", text)
    return tuple(map(int, text.split(","))) if readable else ()


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong: first for which requests, then what. `Fault(delay=0.1, status=503)` is both.

    These requests count against the quota as any other.

    >>> import datetime
    >>> from clicksgroup.sandbox import Fault
    >>> down = Fault(date="2025-01-03", page=2, attempts=2, status=503)
    >>> slow = Fault(delay=0.5, attempts=None)
    >>> def one_more(envelope):
    ...     envelope["result"]["extra"]["totalCount"] += 1
    ...     return envelope
    >>> wrong_total = Fault(date=datetime.date(2025, 1, 4), change=one_more)

    Args:
        date: only requests for that date (or for a v2 range that starts then); None for any.
        page: only requests for the page of that number; None for any.
        attempts: only the first so many attempts at a page; None for all of them.
        status: the HTTP status, instead of 200. Unless `body` or `change` is given, the body is a small HTML page, as
            from a proxy.
        retry_after: the header `Retry-After`, in seconds or as an HTTP date; the default status is then 429.
        body: what is sent instead of the page.
        change: a function that gets the envelope (a dict) and returns the one to send.
        headers: further headers; they replace those of the same name.
        cut: the connection closes after so many bytes of the body, while `Content-Length` promises all of them.
        delay: seconds to wait before the response, in addition to the sandbox's `latency`.
        reset: the connection is aborted without a response.

    Raises:
        ConfigurationError: the fault does nothing, or cannot hit any request.
    """

    date: datetime.date | None = attrs.field(default=None, converter=attrs.converters.optional(parse_date))
    page: int | None = None
    attempts: int | None = 1
    status: int | None = None
    retry_after: float | str | None = None
    body: bytes | str | None = None
    change: Callable[[dict[str, Any]], Any] | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    cut: int | None = None
    delay: float = 0.0
    reset: bool = False

    def __attrs_post_init__(self) -> None:
        if not (self.delay or self.reset) and all(
            part is None for part in (self.status, self.retry_after, self.body, self.change, self.headers, self.cut)
        ):
            raise ConfigurationError("this Fault does nothing; say what goes wrong, such as Fault(status=503)")
        for name, least in {"page": 1, "attempts": 1, "cut": 0, "delay": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name}: {value!r} is too small; give at least {least}")

    def hits(self, request: SeenRequest) -> bool:
        """Whether this fault happens to that request."""
        return (
            (self.date is None or self.date == request.date)
            and (self.page is None or self.page == request.page)
            and (self.attempts is None or request.attempt <= self.attempts)
        )

    def response(self, page: bytes) -> web.Response:
        """The response to send instead of the page."""
        status = self.status or (200 if self.retry_after is None else 429)
        if self.body is not None:
            response = page_response(self.body.encode() if isinstance(self.body, str) else self.body, status)
        elif self.change is not None:
            response = page_response(orjson.dumps(self.change(orjson.loads(page))), status)
        elif self.status is not None or self.retry_after is not None:
            response = html_response(status)
        else:
            response = page_response(page)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        response.headers.update(self.headers or {})
        if self.cut is not None:
            body = response.body
            assert isinstance(body, bytes)
            response.body = body[: self.cut]
            response.headers["Content-Length"] = str(len(body))
            response.force_close()
        return response


def page_response(body: bytes, status: int = 200) -> web.Response:
    """A response of the API."""
    return web.Response(body=body, status=status, content_type="application/json")


def html_response(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response of a web server or proxy in front of the API, with the status in its body."""
    reason = f"{status} {web.Response(status=status).reason}".strip()
    body = f"<html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>\n"
    return web.Response(text=body, status=status, headers=headers, content_type="text/html")


def identifies_caller(user_agent: str) -> bool:
    """Whether a User-Agent names a company or brand, not only tools."""
    return any(word.partition("/")[0].lower() not in _TOOLS for word in user_agent.split())


# First words of User-Agents that name a tool instead of its user.
_TOOLS = frozenset({
    "aiohttp", "axios", "curl", "go-http-client", "got", "httpx", "java", "libcurl", "libwww-perl", "node",
    "node-fetch", "okhttp", "php", "postmanruntime", "python", "python-httpx", "python-requests", "python-urllib",
    "python-urllib3", "ruby", "undici", "urllib3", "wget",
})  # fmt: skip


class RateLimiter:
    """Admits a request if that keeps the quota, by strict sliding windows over the arrivals of admitted requests.

    `in_flight` is how many admitted requests are open, and `in_flight_peak` is the most there have been.
    """

    def __init__(self, quota: Quota) -> None:
        self.in_flight = 0
        self.in_flight_peak = 0
        self._quota = quota
        self._arrivals: deque[float] = deque(maxlen=max((count for count, _ in quota.limits), default=0))

    def acquire(self, now: float) -> bool:
        """Whether a request that arrives now is admitted. If so, it is in flight until `release`."""
        if self.in_flight >= self._quota.in_flight or self.seconds_until_room(now) > 0:
            return False
        self._arrivals.append(now)
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        return True

    def release(self) -> None:
        """An admitted request has been answered, or its connection is gone."""
        self.in_flight -= 1

    def seconds_until_room(self, now: float) -> float:
        """How long until every window has room for one more request; 0 or less if they have now."""
        limits = [(count, window) for count, window in self._quota.limits if len(self._arrivals) >= count]
        return max((self._arrivals[-count] - (now - window) for count, window in limits), default=0.0)


def rejection(request: SeenRequest, plan: Plan) -> tuple[int, str, str] | None:
    """The first rule that a request breaks, or None: its code, and its message in English and in Korean."""
    if request.path == V1_PATH and request.date is None:
        return 1001, "ymd must be a date in the form YYYY-MM-DD.", "ymd는 YYYY-MM-DD 형식의 날짜여야 합니다."
    if request.path == V2_PATH:
        if request.date is None or request.end is None or request.end < request.date:
            return (
                1002,
                "startYmd and endYmd must be dates in the form YYYY-MM-DD, in order.",
                "startYmd와 endYmd는 YYYY-MM-DD 형식의 날짜여야 하며 순서가 맞아야 합니다.",
            )
        if (request.end - request.date).days >= (plan.totals_days or MAX_RANGE_DAYS):
            return (
                1003,
                "The range is longer than your plan allows.",
                "조회 기간이 요금제에서 허용하는 범위를 초과했습니다.",
            )
    if request.page is None:
        return 1004, "pages must be a whole number from 1.", "pages는 1 이상의 정수여야 합니다."
    if request.path == GROUPS_PATH:
        if request.groups is not None and len(request.groups) != 1:
            return 1008, "grpIdx must be the id of one group.", "grpIdx는 그룹 번호 하나여야 합니다."
    elif request.groups is None:
        if plan.groups_required:
            return 1006, "grpIdxList is required on your plan.", "사용 중인 요금제에서는 grpIdxList가 필수입니다."
    elif not request.groups:
        return (
            1005,
            "grpIdxList must be group ids separated by commas.",
            "grpIdxList는 쉼표로 구분된 그룹 번호여야 합니다.",
        )
    elif plan.groups_per_request is not None and len(request.groups) > plan.groups_per_request:
        return (
            1007,
            "grpIdxList holds more ids than your plan allows.",
            "grpIdxList의 그룹 수가 요금제 한도를 초과했습니다.",
        )
    return None


def page_envelope(records: Sequence[GroupClicks | GroupTotals | Group], number: int) -> dict[str, Any]:
    """The envelope of one page; a page past the end is empty."""
    rows = records[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    more = number * PAGE_SIZE < len(records)
    extra = {
        "pages": number,
        "nextPages": number + 1 if more else number,
        "nextYn": "Y" if more else "N",
        "count": len(rows),
        "totalCount": len(records),
    }
    return {"code": 0, "message": "", "result": {"extra": extra, "list": [_item(row) for row in rows]}}


def _item(row: GroupClicks | GroupTotals | Group) -> dict[str, Any]:
    if not isinstance(row, Group):
        return {"grpIdx": row.group_id, "grpNm": row.group_name, "acesCnt": row.clicks, "pernCnt": row.unique_users}
    # A group without a memo has null, an empty text or no such field.
    memo: dict[str, Any] = {"memo": row.memo} if row.memo else ({"memo": None}, {"memo": ""}, {})[row.id % 3]
    settings = {name: value for bit, (name, value) in enumerate(_SETTINGS.items()) if row.id >> bit & 1}
    return {
        "idx": row.id,
        "nm": row.name,
        **memo,
        "linkCnt": row.link_count,
        **settings,
        "regYmdt": f"2024-{1 + row.id % 12:02}-{1 + row.id % 28:02} 09:{row.id % 60:02}:00",
        "modYmdt": "2024-12-31 18:00:00",
    }


# Settings of a group. Which of them an item has differs from item to item (vendor, list of link groups v2).
_SETTINGS = {
    "notfSubscYn": "N",
    "qrBypassYn": "Y",
    "pushNotifyYn": "N",
    "mailNotifyYn": "Y",
    "webhookUrl": None,
    "webhookActive": 0,
}
