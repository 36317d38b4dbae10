"""The doctor's checks: whether each assumption holds, and what to do if it does not."""

from __future__ import annotations

import email.utils
import enum
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from clicksgroup.doctor.evidence import MAX_SHOWN, UNREADABLE, Answer, DecodedPage, Evidence, show, show_ids
from clicksgroup.protocol.requests import PAGE_SIZE

MAX_SKEW = 60.0
"""Seconds by which the server's clock may differ from this machine's."""


class Verdict(enum.Enum):
    """Whether an assumption holds."""

    HELD = "held"
    DIFFERS = "differs"
    NOT_SEEN = "not seen"


@attrs.frozen
class Finding:
    """The result of one check.

    Args:
        assumption: what the client relies on.
        verdict: whether it holds.
        came: what was seen.
        advice: what to do if it differs.
    """

    assumption: str
    verdict: Verdict
    came: str = ""
    advice: str = ""


def check_answers(answers: Sequence[Answer], groups: tuple[int, ...] | None = None) -> list[Finding]:
    """Check each assumption from the answers alone.

    >>> from clicksgroup.doctor import Answer, check_answers
    >>> finding, *_ = check_answers([Answer(page=1, status=503, headers={}, body=b"", received_at=0.0)])
    >>> print(finding.assumption, "-", finding.verdict.value, "-", finding.came)
    the HTTP status is 200 - differs - HTTP 503

    Args:
        answers: those to the first page of a date, to the last if there are several, and to the first again.
        groups: the ids that were asked for, or None for all.
    """
    seen = Evidence(answers, groups)
    return [Finding(assumption, *check(seen)) for assumption, check in _CHECKS.items()]


_Result: TypeAlias = tuple[Verdict, str, str]

_CANNOT_TRUST = 'check="warn" (--check warn) gives the data all the same, with a warning'


def _held(came: str = "") -> _Result:
    return Verdict.HELD, came, ""


def _differs(came: str, advice: str) -> _Result:
    return Verdict.DIFFERS, came, advice


def _not_seen(why: str) -> _Result:
    return Verdict.NOT_SEEN, why, ""


def _mismatch(seen: Evidence, part: str) -> _Result | None:
    return next((_differs(one.came, one.advice) for one in seen.mismatches if one.part == part), None)


_NO_PAGE = _not_seen("no page came")
_NO_RECORD = _not_seen("no record came")
_NO_LAST_PAGE = _not_seen("no last page came")
_ONE_PAGE = _not_seen("one page was enough; ask about a date with more than 30 groups")
_NOT_TWICE = _not_seen("the first page did not come twice")


_Check: TypeAlias = Callable[[Evidence], _Result]
_CHECKS: dict[str, _Check] = {}


def _check(assumption: str) -> Callable[[_Check], _Check]:
    """Add a check. Findings are in the order of this file."""
    return lambda check: _CHECKS.setdefault(assumption, check)


@_check("the HTTP status is 200")
def _status(seen: Evidence) -> _Result:
    odd = [answer.status for answer in seen.answers if answer.status != 200]
    if not odd:
        return _held(f"200, {len(seen.answers)} times")
    advice = {
        401: "check the API key",
        403: "name your company or brand with user_agent (--user-agent), and check that the plan has this API",
        429: "another program uses the key: share its quota (FileQuota, RedisQuota, --redis), or set quota= lower",
    }
    return _differs(f"HTTP {odd[0]}", advice.get(odd[0], "check base_url; try again later if it is 5xx"))


@_check("the content type is application/json")
def _content_type(seen: Evidence) -> _Result:
    types = {answer.headers.get("content-type", "none") for answer in seen.answers if answer.status == 200}
    if not types:
        return _NO_PAGE
    odd = [name for name in types if name.partition(";")[0].strip().lower() != "application/json"]
    return _differs(odd[0], "nothing to set: the client does not rely on it") if odd else _held(", ".join(types))


@_check("the body is plain or gzip")
def _compression(seen: Evidence) -> _Result:
    codings = {answer.headers.get("content-encoding", "identity").lower() for answer in seen.answers}
    odd = codings - {"identity", "gzip"}
    if odd:
        return _differs(f"Content-Encoding: {odd.pop()}", "only gzip was asked for: please report what came")
    return _held(", ".join(sorted(codings)))


@_check("the envelope holds code, message and result")
def _envelope(seen: Evidence) -> _Result:
    for page in seen.pages:
        if not isinstance(message := page.body.get("message"), (str, type(None))):
            return _differs(f"message: {show(message)}", "nothing to set: it is shown only in errors")
    return _mismatch(seen, "envelope") or (_held() if seen.pages or seen.refusals or seen.mismatches else _NO_PAGE)


@_check("code is 0")
def _code(seen: Evidence) -> _Result:
    for refusal in seen.refusals:
        return _differs(f"code {refusal.code}: {show(refusal.message)}", "do what the message says, then ask again")
    return _held() if seen.pages else _NO_PAGE


@_check("extra holds whole numbers, and nextYn Y or N")
def _extra(seen: Evidence) -> _Result:
    for page in seen.pages:
        if page.extra.nextYn not in ("Y", "N"):
            return _differs(f"result.extra.nextYn: {show(page.extra.nextYn)}", UNREADABLE)
    return _mismatch(seen, "extra") or (_held() if seen.pages else _NO_PAGE)


@_check("records hold whole numbers, and a name")
def _records(seen: Evidence) -> _Result:
    return _mismatch(seen, "records") or (_held(f"{len(seen.records)} records") if seen.records else _NO_RECORD)


@_check("there are no fields but those documented")
def _no_more_fields(seen: Evidence) -> _Result:
    for page in seen.pages:
        result = page.body["result"]
        parts = [
            ("", page.body, {"code", "message", "result"}),
            ("result.", result, {"extra", "list"}),
            ("result.extra.", result["extra"], {"pages", "nextPages", "nextYn", "count", "totalCount"}),
            *(("result.list[].", row, {"grpIdx", "grpNm", "acesCnt", "pernCnt"}) for row in result["list"]),
        ]
        for path, part, documented in parts:
            for name in part.keys() - documented:
                return _differs(f"{path}{name}: {show(part[name])}", "nothing to set: unknown fields are ignored")
    return _held() if seen.pages else _NO_PAGE


@_check("pages is the page that was asked for")
def _page_number(seen: Evidence) -> _Result:
    for page in seen.pages:
        if page.extra.pages != page.number:
            return _differs(
                f"asked for page {page.number}, pages is {page.extra.pages}",
                "pages cannot be told apart, so this version refuses them: please report what came",
            )
    return _held(", ".join(str(page.number) for page in seen.pages)) if seen.pages else _NO_PAGE


@_check("count is the length of list")
def _count(seen: Evidence) -> _Result:
    for page in seen.pages:
        if page.extra.count != len(page.records):
            return _differs(f"count is {page.extra.count}, list holds {len(page.records)}", _CANNOT_TRUST)
    return _held() if seen.pages else _NO_PAGE


@_check(f"a page that is not the last holds {PAGE_SIZE} records")
def _page_size(seen: Evidence) -> _Result:
    for page in seen.pages:
        size = len(page.records)
        if size > PAGE_SIZE or (page.extra.nextYn == "Y" and size != PAGE_SIZE):
            return _differs(f"page {page.number} holds {size}", "estimates are wrong by that much; nothing else is")
    return _held() if seen.more else _ONE_PAGE


@_check("nextPages is the next page")
def _next_page(seen: Evidence) -> _Result:
    for page in seen.more:
        if page.extra.nextPages != page.number + 1:
            return _differs(
                f"page {page.number} says Y and nextPages {show(page.extra.nextPages)}",
                "the chain of pages cannot be followed: please report what came",
            )
    return _held() if seen.more else _ONE_PAGE


@_check("on the last page nextPages is that page")
def _last_next_page(seen: Evidence) -> _Result:
    if seen.last is None:
        return _NO_LAST_PAGE
    number, came = seen.last.number, seen.last.extra.nextPages
    if came == number:
        return _held(f"{came} on page {number}")
    shown = "nothing" if "nextPages" not in seen.last.body["result"]["extra"] else show(came)
    accepted = came in (None, 0, number + 1)
    return _differs(f"{shown} on page {number}", "nothing to set: it is accepted" if accepted else _CANNOT_TRUST)


@_check("totalCount is the number of records on all pages")
def _total(seen: Evidence) -> _Result:
    if seen.last is None:
        return _NO_LAST_PAGE
    records = (seen.last.number - 1) * PAGE_SIZE + len(seen.last.records)
    if (total := seen.last.extra.totalCount) != records:
        return _differs(f"totalCount is {total}, the pages hold {records}", _CANNOT_TRUST)
    return _held(f"{records}")


@_check("a group is listed once")
def _groups_once(seen: Evidence) -> _Result:
    # The first page as it came at first, and as it came again.
    for pages in (seen.pages, seen.pages[::-1]):
        by_number = {page.number: page.ids for page in pages}
        for group_id, times in Counter(itertools.chain(*by_number.values())).items():
            if times > 1:
                return _differs(f"grpIdx {group_id} twice", _CANNOT_TRUST)
    return _held() if seen.records else _NO_RECORD


@_check("no groups are listed but those asked for")
def _only_requested_groups(seen: Evidence) -> _Result:
    if seen.groups is None:
        return _not_seen("all were asked for; name some with --groups")
    others = list(dict.fromkeys(record.group_id for record in seen.records if record.group_id not in seen.groups))
    if others:
        return _differs(
            f"asked for {show_ids(seen.groups)}, grpIdx {show_ids(others)} came too",
            "the server seems to ignore grpIdxList, which an earlier version of the vendor's page names grpIdx: "
            'check="warn" (--check warn) keeps only the groups asked for; ask the vendor which name holds',
        )
    return _held() if seen.records else _NO_RECORD


@_check("no group has more users than clicks")
def _users(seen: Evidence) -> _Result:
    for record in seen.records:
        if record.unique_users > record.clicks:
            return _differs(
                f"grpIdx {record.group_id}: pernCnt {record.unique_users}, acesCnt {record.clicks}",
                "nothing to set: the numbers are given as they came; ask the vendor what they count",
            )
    return _held() if seen.records else _NO_RECORD


@_check("a page asked for twice lists the same order")
def _same_order(seen: Evidence) -> _Result:
    if seen.twice is None:
        return _NOT_TWICE
    before, after = seen.twice
    advice = "pages may lose groups between them: use days() or backfill, which check"
    if before.ids == after.ids:
        return _held(_order(before))
    if sorted(before.ids) == sorted(after.ids):
        return _differs("the first page came in another order", advice)
    if before.extra.totalCount == after.extra.totalCount:
        return _differs("the first page came with other groups", advice)
    return _not_seen("the date changed in between")


def _order(page: DecodedPage) -> str:
    for field in ("group_id", "clicks", "unique_users", "group_name"):
        column = [getattr(record, field) for record in page.records]
        if len(set(column)) > 1 and column in (sorted(column), sorted(column, reverse=True)):
            return f"by {field}, {'ascending' if column == sorted(column) else 'descending'}"
    return "neither by id, clicks, users nor name"


@_check("a page asked for twice has the same totals")
def _same_counts(seen: Evidence) -> _Result:
    if seen.twice is None:
        return _NOT_TWICE
    before, after = seen.twice
    advice = "the date is still changing: ask about older ones, and give backfill --settle 3d"
    if before.extra.totalCount != after.extra.totalCount:
        return _differs(f"totalCount {before.extra.totalCount}, then {after.extra.totalCount}", advice)
    records = {record.group_id: record for record in before.records}
    for record in after.records:
        first = records.get(record.group_id, record)
        if first != record:
            both = [f"{one.group_name!r} acesCnt {one.clicks} pernCnt {one.unique_users}" for one in (first, record)]
            return _differs(f"grpIdx {record.group_id}: {', then '.join(both)}", advice)
    return _held()


@_check("groups without clicks are left out, or listed with 0")
def _silent_groups(seen: Evidence) -> _Result:
    if not seen.pages:
        return _NO_PAGE
    for record in seen.records:
        if record.clicks == 0:
            return _held(f"listed with 0, such as {record.group_id}")
    # All pages were seen if the last is the second at most.
    left_out = set(seen.groups or ()) - {record.group_id for record in seen.records}
    if left_out and seen.last is not None and seen.last.number <= 2:
        return _held(f"left out, such as {min(left_out)}")
    return _held("none listed")


@_check("there are no rate limit headers")
def _limit_headers(seen: Evidence) -> _Result:
    headers = dict.fromkeys(header for answer in seen.answers for header in answer.headers.items())
    found = [f"{name}: {value}" for name, value in headers if re.search("^retry-after$|rate-?limit", name)]
    if not found:
        return _held("none")
    advice = "if a limit in it is not your plan's, set quota=Quota((N, SECONDS)) (--quota N/SECONDS)"
    return _differs(", ".join(found)[: 2 * MAX_SHOWN], advice)


@_check("the clocks agree")
def _clock(seen: Evidence) -> _Result:
    for answer in seen.answers:
        try:
            date = email.utils.parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            continue
        skew = date.timestamp() - answer.received_at
        if abs(skew) > MAX_SKEW:
            return _differs(
                f"the server's is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}",
                "set this machine's clock, or take care with today and yesterday; waiting is not affected",
            )
        return _held(f"within {max(1, round(abs(skew)))} s")
    return _not_seen("no Date header")
