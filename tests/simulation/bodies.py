"""What the simulated vendor sends: pages, also wrong ones, and answers without a page."""

from __future__ import annotations

import datetime
import email.utils
import json
import random

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""What the vendor's clock shows at 0 s."""

Row = tuple[int, str, int, int]

THROTTLED = b'{"code": 429, "message": "slow down"}'


def http(now: float, status: int, body: bytes, extra: str = "") -> bytes:
    """A whole response; `extra` are further header lines."""
    date = email.utils.format_datetime(START + datetime.timedelta(seconds=int(now)), usegmt=True)
    return f"HTTP/1.1 {status} X\r\nDate: {date}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


def without_length(body: bytes) -> bytes:
    """A response that ends where the connection ends."""
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body


def retry_after(kind: str, now: float, seconds: float) -> str:
    """The header line that asks to wait: "none", "seconds" or "date"."""
    if kind == "none":
        return ""
    if kind == "seconds":
        return f"Retry-After: {seconds:g}\r\n"
    until = START + datetime.timedelta(seconds=now + seconds)
    return f"Retry-After: {email.utils.format_datetime(until, usegmt=True)}\r\n"


def refusal(fault: str, now: float, rng: random.Random) -> bytes:
    """The whole response that a fault stands for."""
    match fault:
        case "html":
            return http(now, 200, b"<html><body>Maintenance</body></html>")
        case "empty":
            return http(now, 200, b"")
        case "429":
            return http(now, 429, THROTTLED)
        case "429 for 2 s":
            return http(now, 429, THROTTLED, retry_after("seconds", now, 2))
        case "429 until a date":
            return http(now, 429, THROTTLED, retry_after("date", now, 2))
    body = rng.choice((b"", b"<html>Bad gateway</html>", b'{"code": 9, "message": "down"}'))
    return http(now, int(fault[:3]), body, retry_after("seconds", now, 3) if fault == "503 for 3 s" else "")


def record(ordinal: int, group: int) -> Row:
    """The record of a group on a date."""
    clicks = (ordinal * 31 + group * 17) % 100_000
    return group, f"Group {group}", clicks, clicks // 2


CLICK_FIELDS = "grpIdx", "grpNm", "acesCnt", "pernCnt"
GROUP_FIELDS = "idx", "nm", "memo", "linkCnt"
"""The list of groups gives the clicks of a record as a memo, and its users as the number of links."""


def page_body(rows: list[Row], page: int, lie: str, given: int, *, of_groups: bool = False) -> bytes:
    """The body of a page of clicks, or of the list of groups, with a lie about it, or with none."""
    total, begin = len(rows), (page - 1) * 30
    listed, more = rows[begin : begin + 30], page * 30 < total
    following, number = page + 1 if more else page, page
    count = len(listed)
    match lie:
        case "total is too high":
            total += 3
        case "total is too low":
            total = max(0, total - 3) if total != 0 else 1
        case "total drifts":
            total += given + 1
        case "next page skips":
            following, more = page + 2, True
        case "never ends":
            following, more, listed = page + 1, True, rows[:30]
            count = len(listed)
        case "empty and more":
            following, more, listed, count = page + 1, True, [], 0
        case "another page":
            number = page + 1
        case "page repeats":
            listed, count = rows[:30], len(rows[:30])
            more, following = page < 3, page + 1 if page < 3 else page
        case "count is wrong":
            count += 1
        case "ends early":
            total, more, following = total + 30, False, page
    return json.dumps({
        "code": 0,
        "message": "",
        "result": {
            "extra": {
                "pages": number, "nextPages": following, "nextYn": "Y" if more else "N", "count": count,
                "totalCount": total,
            },
            "list": [
                dict(zip(GROUP_FIELDS, (a, b, str(c), d), strict=True))
                if of_groups
                else dict(zip(CLICK_FIELDS, (a, b, c, d), strict=True))
                for a, b, c, d in listed
            ],
        },
    }).encode()  # fmt: skip
