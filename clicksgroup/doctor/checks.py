"""The doctor's checks: whether each assumption holds, and what to do if it does not."""

from __future__ import annotations

import enum
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import attrs

from clicksgroup.doctor.evidence import UNREADABLE, Answer, DecodedPage, Evidence, show, show_ids
from clicksgroup.protocol.error_responses import bounded
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
    evidence = Evidence(answers, groups)
    return [_find(evidence, *check) for check in _CHECKS]


def _find(evidence: Evidence, assumption: str, needs: tuple[str, ...], check: _Check) -> Finding:
    seen = next(check(evidence), "")
    if not isinstance(seen, str):
        return Finding(assumption, Verdict.DIFFERS, *seen)
    for need in needs:
        if not getattr(evidence, need):
            return Finding(assumption, Verdict.NOT_SEEN, _LACKING[need])
    return Finding(assumption, Verdict.HELD, seen)


_WARN_GIVES_DATA = 'check="warn" (--check warn) gives the data all the same, with a warning'

_Seen: TypeAlias = Iterator[str | tuple[str, str]]
"""What a check sees: a difference with the advice what to do about it, or else what it saw that held."""

_Check: TypeAlias = Callable[[Evidence], _Seen]
_CHECKS: list[tuple[str, tuple[str, ...], _Check]] = []

# Why a check cannot say anything without some evidence.
_LACKING = {
    "envelopes": "no page came",
    "content_types": "no page came",
    "pages": "no page came",
    "records": "no record came",
    "last": "no last page came",
    "more": "one page was enough; ask about a date with more than 30 groups",
    "twice": "the first page did not come twice",
    "comparable": "the date changed in between",
    "groups": "all were asked for; name some with --groups",
    "skews": "no Date header",
}


def _check(assumption: str, *needs: str) -> Callable[[_Check], None]:
    """Add a check, which says nothing without the evidence that it needs. Findings are in the order of this file."""
    return lambda check: _CHECKS.append((assumption, needs, check))


@_check("the HTTP status is 200")
def _status(seen: Evidence) -> _Seen:
    advice = {
        401: "check the API key",
        403: "name your company or brand with user_agent (--user-agent), and check that the plan has this API",
        429: "another program uses the key: share its quota (FileQuota, RedisQuota, --redis), or set quota= lower",
    }
    for answer in seen.answers:
        if answer.status != 200:
            yield f"HTTP {answer.status}", advice.get(answer.status, "check base_url; try again later if it is 5xx")
    yield f"200, {len(seen.answers)} times"


@_check("the content type is application/json", "content_types")
def _content_type(seen: Evidence) -> _Seen:
    for name in seen.content_types:
        if name.partition(";")[0].strip().lower() != "application/json":
            yield name, "nothing to set: the client does not rely on it"
    yield ", ".join(seen.content_types)


@_check("the body is plain or gzip")
def _compression(seen: Evidence) -> _Seen:
    codings = {answer.headers.get("content-encoding", "identity").lower() for answer in seen.answers}
    for coding in codings - {"identity", "gzip"}:
        yield f"Content-Encoding: {coding}", "only gzip was asked for: please report what came"
    yield ", ".join(sorted(codings))


@_check("the envelope holds code, message and result", "envelopes")
def _envelope(seen: Evidence) -> _Seen:
    for page in seen.pages:
        if not isinstance(message := page.body.get("message"), (str, type(None))):
            yield f"message: {show(message)}", "nothing to set: it is shown only in errors"
    yield from seen.mismatches["envelope"]


@_check("code is 0", "pages")
def _code(seen: Evidence) -> _Seen:
    for refusal in seen.refusals:
        yield f"code {refusal.code}: {show(refusal.message)}", "do what the message says, then ask again"


@_check("extra holds whole numbers, and nextYn Y or N", "pages")
def _extra(seen: Evidence) -> _Seen:
    for page in seen.pages:
        if page.extra.nextYn not in ("Y", "N"):
            yield f"result.extra.nextYn: {show(page.extra.nextYn)}", UNREADABLE
    yield from seen.mismatches["extra"]


@_check("records hold whole numbers, and a name", "records")
def _records(seen: Evidence) -> _Seen:
    yield from seen.mismatches["records"]
    yield f"{len(seen.records)} records"


@_check("there are no fields but those documented", "pages")
def _no_more_fields(seen: Evidence) -> _Seen:
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
                yield f"{path}{name}: {show(part[name])}", "nothing to set: unknown fields are ignored"


@_check("pages is the page that was asked for", "pages")
def _page_number(seen: Evidence) -> _Seen:
    for page in seen.pages:
        if page.extra.pages != page.number:
            yield (
                f"asked for page {page.number}, pages is {page.extra.pages}",
                "pages cannot be told apart, so this version refuses them: please report what came",
            )
    yield ", ".join(str(page.number) for page in seen.pages)


@_check("count is the length of list", "pages")
def _count(seen: Evidence) -> _Seen:
    for page in seen.pages:
        if page.extra.count != len(page.records):
            yield f"count is {page.extra.count}, list holds {len(page.records)}", _WARN_GIVES_DATA


@_check(f"a page that is not the last holds {PAGE_SIZE} records", "more")
def _page_size(seen: Evidence) -> _Seen:
    for page in seen.pages:
        size = len(page.records)
        if size > PAGE_SIZE or (page.extra.nextYn == "Y" and size != PAGE_SIZE):
            yield f"page {page.number} holds {size}", "estimates are wrong by that much; nothing else is"


@_check("nextPages is the next page", "more")
def _next_page(seen: Evidence) -> _Seen:
    for page in seen.more:
        if page.extra.nextPages != page.number + 1:
            yield (
                f"page {page.number} says Y and nextPages {show(page.extra.nextPages)}",
                "the chain of pages cannot be followed: please report what came",
            )


@_check("on the last page nextPages is that page", "last")
def _last_next_page(seen: Evidence) -> _Seen:
    for last in seen.last:
        came = last.extra.nextPages
        if came != last.number:
            shown = "nothing" if "nextPages" not in last.body["result"]["extra"] else show(came)
            accepted = came in (None, 0, last.number + 1)
            yield f"{shown} on page {last.number}", "nothing to set: it is accepted" if accepted else _WARN_GIVES_DATA
    yield ", ".join(dict.fromkeys(f"{last.extra.nextPages} on page {last.number}" for last in seen.last))


@_check("totalCount is the number of records on all pages", "last")
def _total(seen: Evidence) -> _Seen:
    size = max((len(page.records) for page in seen.more), default=PAGE_SIZE)
    for last in seen.last:
        records = (last.number - 1) * size + len(last.records)
        if last.extra.totalCount != records:
            yield f"totalCount is {last.extra.totalCount}, the pages hold {records}", _WARN_GIVES_DATA
    yield ", ".join(dict.fromkeys(str(last.extra.totalCount) for last in seen.last))


@_check("a group is listed once", "records")
def _groups_once(seen: Evidence) -> _Seen:
    # The first page as it came at first, and as it came again.
    for pages in (seen.pages, seen.pages[::-1]):
        by_number = {page.number: page.ids for page in pages}
        for group_id, times in Counter(itertools.chain(*by_number.values())).items():
            if times > 1:
                yield f"grpIdx {group_id} twice", _WARN_GIVES_DATA


@_check("no groups are listed but those asked for", "groups", "records")
def _only_requested_groups(seen: Evidence) -> _Seen:
    asked = seen.groups or seen.listed
    others = [group_id for group_id in seen.listed if group_id not in asked]
    if others:
        yield (
            f"asked for {show_ids(asked)}, grpIdx {show_ids(others)} came too",
            "the server seems to ignore grpIdxList, which an earlier version of the vendor's page names grpIdx: "
            'check="warn" (--check warn) keeps only the groups asked for; ask the vendor which name holds',
        )


@_check("no group has more users than clicks", "records")
def _users(seen: Evidence) -> _Seen:
    for record in seen.records:
        if record.unique_users > record.clicks:
            yield (
                f"grpIdx {record.group_id}: pernCnt {record.unique_users}, acesCnt {record.clicks}",
                "nothing to set: the numbers are given as they came; ask the vendor what they count",
            )


@_check("a page asked for twice lists the same order", "twice", "comparable")
def _same_order(seen: Evidence) -> _Seen:
    advice = "pages may lose groups between them: use days() or backfill, which check"
    for before, after in seen.comparable:
        if sorted(before.ids) != sorted(after.ids):
            yield "the first page came with other groups", advice
        if before.ids != after.ids:
            yield "the first page came in another order", advice
        yield _order(before)


def _order(page: DecodedPage) -> str:
    for field in ("group_id", "clicks", "unique_users", "group_name"):
        column = [getattr(record, field) for record in page.records]
        if len(set(column)) > 1 and column in (sorted(column), sorted(column, reverse=True)):
            return f"by {field}, {'ascending' if column == sorted(column) else 'descending'}"
    return "neither by id, clicks, users nor name"


@_check("a page asked for twice has the same totals", "twice")
def _same_counts(seen: Evidence) -> _Seen:
    advice = "the date is still changing: ask about older ones, and give backfill --settle 3d"
    for before, after in seen.twice:
        if before.extra.totalCount != after.extra.totalCount:
            yield f"totalCount {before.extra.totalCount}, then {after.extra.totalCount}", advice
        records = {record.group_id: record for record in before.records}
        for record in after.records:
            both = (records.get(record.group_id, record), record)
            if both[0] != record:
                counts = [f"{one.group_name!r} acesCnt {one.clicks} pernCnt {one.unique_users}" for one in both]
                yield f"grpIdx {record.group_id}: {', then '.join(counts)}", advice


@_check("groups without clicks are left out, or listed with 0", "pages")
def _silent_groups(seen: Evidence) -> _Seen:
    for record in seen.records:
        if record.clicks == 0:
            yield f"listed with 0, such as {record.group_id}"
    # All pages were seen if the last is the second at most.
    left_out = set(seen.groups or ()) - {*seen.listed}
    if left_out and seen.last and seen.last[0].number <= 2:
        yield f"left out, such as {min(left_out)}"
    yield "none listed"


@_check("there are no rate limit headers")
def _limit_headers(seen: Evidence) -> _Seen:
    headers = dict.fromkeys(header for answer in seen.answers for header in answer.headers.items())
    found = [f"{name}: {value}" for name, value in headers if re.search("^retry-after$|rate-?limit", name)]
    if found:
        advice = "if a limit in it is not your plan's, set quota=Quota((N, SECONDS)) (--quota N/SECONDS)"
        yield bounded(", ".join(found)), advice
    yield "none"


@_check("the clocks agree", "skews")
def _clock(seen: Evidence) -> _Seen:
    for skew in seen.skews:
        if abs(skew) > MAX_SKEW:
            yield (
                f"the server's is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}",
                "set this machine's clock, or take care with today and yesterday; waiting is not affected",
            )
    yield f"within {max([1, *(round(abs(skew)) for skew in seen.skews)])} s"
