"""What the vendor documents about a request that reached the API: whether it may be asked, and the answer's envelope.

Which non-zero codes the vendor uses is not documented: those here are the sandbox's own. So is what it says to an
empty or unreadable `grpIdxList`. It shares no rule with the client's `protocol`, so that neither hides the other's
mistakes.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from clicksgroup.models import GroupClicks, GroupTotals
from clicksgroup.plans import Plan
from clicksgroup.sandbox.seen import V2_PATH, SeenRequest

PAGE_SIZE = 30
"""Records a page (vendor, Clicks by Group v1)."""

LONGEST_URL = 4000
"""Characters. The vendor does not say; what front servers take ends between 4,000 and 8,000."""

MONTH_DAYS = 31
"""How many days "at most 1 month" is taken to be (vendor, v2): how it is counted is not documented."""

# First words of User-Agents that name a tool, not who uses it.
_TOOLS = frozenset({
    "aiohttp", "axios", "curl", "go-http-client", "got", "httpx", "java", "libcurl", "libwww-perl", "node",
    "node-fetch", "okhttp", "php", "postmanruntime", "python", "python-httpx", "python-requests", "python-urllib",
    "python-urllib3", "ruby", "undici", "urllib3", "wget",
})  # fmt: skip


class Refusal(enum.Enum):
    """Why an envelope says no: its code, and its message in English and Korean."""

    DATE = (1001, "ymd must be a date in the form YYYY-MM-DD.", "ymd는 YYYY-MM-DD 형식의 날짜여야 합니다.")
    RANGE = (
        1002,
        "startYmd and endYmd must be dates in the form YYYY-MM-DD, in order.",
        "startYmd와 endYmd는 YYYY-MM-DD 형식의 날짜여야 하며 순서가 맞아야 합니다.",
    )
    SPAN = (1003, "The range is longer than your plan allows.", "조회 기간이 요금제에서 허용하는 범위를 초과했습니다.")
    PAGE = (1004, "pages must be a whole number from 1.", "pages는 1 이상의 정수여야 합니다.")
    GROUPS = (
        1005,
        "grpIdxList must be group ids separated by commas.",
        "grpIdxList는 쉼표로 구분된 그룹 번호여야 합니다.",
    )
    GROUPS_REQUIRED = (1006, "grpIdxList is required on your plan.", "사용 중인 요금제에서는 grpIdxList가 필수입니다.")
    TOO_MANY_GROUPS = (
        1007,
        "grpIdxList holds more ids than your plan allows.",
        "grpIdxList의 그룹 수가 요금제 한도를 초과했습니다.",
    )

    def envelope(self, language: str) -> dict[str, Any]:
        """The answer that says so."""
        code, english, korean = self.value
        return {"code": code, "message": korean if language.lower().startswith("ko") else english, "result": None}


def identifies_caller(user_agent: str) -> bool:
    """Whether a User-Agent names a company or brand: more in it than the names of tools."""
    return any(word.partition("/")[0].lower() not in _TOOLS for word in user_agent.split())


def refusal(seen: SeenRequest, plan: Plan) -> Refusal | None:
    """The first rule that a question breaks, or None."""
    if seen.path == V2_PATH:
        if seen.date is None or seen.end is None or seen.end < seen.date:
            return Refusal.RANGE
        if (seen.end - seen.date).days >= (plan.totals_days or MONTH_DAYS):
            return Refusal.SPAN
    elif seen.date is None:
        return Refusal.DATE
    if seen.page is None:
        return Refusal.PAGE
    if seen.groups is None:
        return Refusal.GROUPS_REQUIRED if plan.groups_required else None
    if not seen.groups:
        return Refusal.GROUPS
    if plan.groups_per_request is not None and len(seen.groups) > plan.groups_per_request:
        return Refusal.TOO_MANY_GROUPS
    return None


def page_envelope(records: Sequence[GroupClicks | GroupTotals], number: int) -> dict[str, Any]:
    """The page of that number; one past the end is empty."""
    rows = records[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    more = number * PAGE_SIZE < len(records)
    return {
        "code": 0,
        "message": "",
        "result": {
            "extra": {
                "pages": number,
                "nextPages": number + 1 if more else number,
                "nextYn": "Y" if more else "N",
                "count": len(rows),
                "totalCount": len(records),
            },
            "list": [
                {"grpIdx": row.group_id, "grpNm": row.group_name, "acesCnt": row.clicks, "pernCnt": row.unique_users}
                for row in rows
            ],
        },
    }
