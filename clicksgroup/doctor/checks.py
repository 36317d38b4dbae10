"""The doctor's checks: whether each assumption holds, and what to do if it does not."""

from __future__ import annotations

import datetime
import enum
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import orjson

from clicksgroup.doctor.recording import Answer
from clicksgroup.errors import APIError, DecodeError
from clicksgroup.protocol import PAGE_SIZE, Check, Decoder, Extra, PageResponse, Query
from clicksgroup.protocol.decoding import ClickItem, field_names, load_json
from clicksgroup.protocol.error_responses import bounded, snippet, unchanged
from clicksgroup.retries import parse_http_date

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
    pages = read_pages(answers)
    seen = [finding for answer in answers for finding in (*_check_head(answer), *_check_body(answer))]
    if answers:
        seen.append(_check_limit_headers(answers))
    if pages:
        seen += [*_check_date(pages), *_check_groups(pages, groups)]
    firsts = [page for page in pages if page.request.number == 1]
    if len(firsts) > 1:
        seen += _check_repetition(firsts[0], firsts[-1])
    findings = []
    for assumption in _Assumption:
        words, lacking = assumption.value
        found = [finding for finding in seen if finding.assumption == words]
        differing = [finding for finding in found if finding.verdict is Verdict.DIFFERS]
        findings.append(next(iter(differing or found), Finding(words, Verdict.NOT_SEEN, lacking)))
    return findings


def read_pages(answers: Sequence[Answer]) -> list[PageResponse]:
    """The pages among the answers, as far as a client with `check="warn"` can read them."""
    read = (_decode(answer, "warn") for answer in answers)
    return [page for page in read if isinstance(page, PageResponse)]


_NO_ANSWER = "no answer came"
_NO_PAGE = "no page came"
_NO_RECORD = "no record came"
_ONE_PAGE = "one page was enough; ask about a date with more than 30 groups"


class _Assumption(enum.Enum):
    """What the client relies on, in the order of the findings; and why nothing may have been seen of it."""

    STATUS = "the HTTP status is 200", _NO_ANSWER
    CONTENT_TYPE = "the content type is application/json", _NO_PAGE
    COMPRESSION = "the body is plain or gzip", _NO_ANSWER
    ENVELOPE = "the envelope holds code, message and result", _NO_PAGE
    CODE = "code is 0", _NO_PAGE
    EXTRA = "extra holds whole numbers, and nextYn Y or N", _NO_PAGE
    RECORDS = "records hold whole numbers, and a name", _NO_RECORD
    FIELDS = "there are no fields but those documented", _NO_PAGE
    PAGE_NUMBER = "pages is the page that was asked for", _NO_PAGE
    COUNT = "count is the length of list", _NO_PAGE
    FULL_PAGES = f"a page that is not the last holds {PAGE_SIZE} records", _ONE_PAGE
    NEXT_PAGE = "nextPages is the next page", _ONE_PAGE
    LAST_NEXT_PAGE = "on the last page nextPages is that page", "no last page came"
    TOTAL = "totalCount is the number of records on all pages", "no last page came"
    GROUPS_ONCE = "a group is listed once", _NO_RECORD
    REQUESTED_GROUPS = (
        "no groups are listed but those asked for",
        "no record came, or all were asked for; name some with --groups",
    )
    USERS = "no group has more users than clicks", _NO_RECORD
    SAME_ORDER = "a page asked for twice lists the same order", "the first page did not come twice, or it changed"
    SAME_TOTALS = "a page asked for twice has the same totals", "the first page did not come twice"
    SILENT_GROUPS = "groups without clicks are left out, or listed with 0", _NO_PAGE
    LIMIT_HEADERS = "there are no rate limit headers", _NO_ANSWER
    CLOCKS = "the clocks agree", "no Date header"

    def check(self, holds: bool, came: str, advice: str = "") -> Finding:
        """The finding of a part of the evidence. The advice is for where it does not hold."""
        words, _ = self.value
        return Finding(words, Verdict.HELD, came) if holds else Finding(words, Verdict.DIFFERS, came, advice)


_REPORT = "this version cannot read it: please report what came"
_USE_WARN = 'it can be read with check="warn" (--check warn)'
_WARN_GIVES_DATA = 'check="warn" (--check warn) gives the data all the same, with a warning'

_STATUS_ADVICE = {
    401: "check the API key",
    403: "name your company or brand with user_agent (--user-agent), and check that the plan has this API",
    429: "another program uses the key: share its quota (FileQuota, RedisQuota, --redis), or set quota= lower",
}

_LIMIT_HEADER = re.compile("^retry-after$|rate-?limit")


def _check_head(answer: Answer) -> Iterator[Finding]:
    advice = _STATUS_ADVICE.get(answer.status, "check base_url; try again later if it is 5xx")
    yield _Assumption.STATUS.check(answer.status == 200, f"HTTP {answer.status}", advice)
    if answer.status == 200:
        name = answer.headers.get("content-type", "none")
        is_json = name.partition(";")[0].strip().lower() == "application/json"
        advice = "nothing to set: the client does not rely on it"
        yield _Assumption.CONTENT_TYPE.check(is_json, name, advice)
    coding = answer.headers.get("content-encoding", "identity").lower()
    advice = "only gzip was asked for: please report what came"
    yield _Assumption.COMPRESSION.check(coding in ("identity", "gzip"), coding, advice)
    if date := parse_http_date(answer.headers.get("date", "")):
        skew = date.timestamp() - answer.received_at
        came = f"the server's is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}"
        advice = "set this machine's clock, or take care with today and yesterday; waiting is not affected"
        yield _Assumption.CLOCKS.check(abs(skew) <= MAX_SKEW, came, advice)


def _check_limit_headers(answers: Sequence[Answer]) -> Finding:
    headers = [header for answer in answers for header in answer.headers.items()]
    limits = dict.fromkeys(f"{name}: {value}" for name, value in headers if _LIMIT_HEADER.search(name))
    advice = "if a limit in it is not your plan's, set quota=Quota((N, SECONDS)) (--quota N/SECONDS)"
    return _Assumption.LIMIT_HEADERS.check(not limits, bounded(", ".join(limits) or "none"), advice)


def _check_body(answer: Answer) -> Iterator[Finding]:
    """What the strict and the lenient decoder say about a body, and then about the page in it."""
    strict, lenient = _decode(answer, "strict"), _decode(answer, "warn")
    if isinstance(strict, DecodeError):
        # Nothing is documented about the body that comes with another status.
        if answer.status != 200:
            return
        advice = {strict.field: _USE_WARN}
        if isinstance(lenient, DecodeError):
            advice[lenient.field] = _REPORT
        for field, what in advice.items():
            yield _part(field).check(False, _came(answer, field), what)
    if isinstance(lenient, APIError):
        came = f"code {lenient.code}: {_show(lenient.message)}"
        yield _Assumption.CODE.check(False, came, "do what the message says, then ask again")
    elif isinstance(lenient, PageResponse):
        for problem in lenient.problems:
            yield _part(problem.partition(":")[0]).check(False, problem, _USE_WARN)
        yield _Assumption.CODE.check(True, "")
        yield from _check_page(lenient, load_json(answer.body, lenient.request))
    yield _Assumption.ENVELOPE.check(True, "")


def _decode(answer: Answer, check: Check) -> PageResponse | APIError | DecodeError:
    try:
        return Decoder(check).read(answer.body, _ANY_DATE.page(answer.page))
    except (APIError, DecodeError) as error:
        return error


_ANY_DATE = Query(datetime.date.min, datetime.date.min)


def _part(field: str) -> _Assumption:
    """The assumption about the part of a body that has a field."""
    if "list[" in field:
        return _Assumption.RECORDS
    return _Assumption.EXTRA if "extra." in field else _Assumption.ENVELOPE


def _came(answer: Answer, field: str) -> str:
    """The value at the path that a `DecodeError` names."""
    if not field:
        return f"no JSON: {snippet(answer.body, unchanged)!r}"
    value = load_json(answer.body, _ANY_DATE.page(1))
    for name in re.findall(r"[^.$\[\]]+", field):
        try:
            value = value[int(name) if isinstance(value, list) else name]
        except KeyError:
            return f"{field}: nothing"
    return f"{'the body' if field == '$' else field}: {_show(value)}"


def _show(value: Any) -> str:
    """A value as JSON, bounded."""
    return bounded(orjson.dumps(value).decode())


def _check_page(page: PageResponse, body: dict[str, Any]) -> Iterator[Finding]:
    """A page alone. `body` is its JSON as it came."""
    extra, size, number = page.extra, len(page.records), page.request.number
    yield _Assumption.EXTRA.check(extra.nextYn in ("Y", "N"), f"result.extra.nextYn: {_show(extra.nextYn)}", _REPORT)
    if not isinstance(message := body.get("message"), (str, type(None))):
        advice = "nothing to set: it is shown only in errors"
        yield _Assumption.ENVELOPE.check(False, f"message: {_show(message)}", advice)
    others = bounded(", ".join(_undocumented(body)))
    yield _Assumption.FIELDS.check(not others, others, "nothing to set: unknown fields are ignored")
    came = f"asked for page {number}, pages is {extra.pages}"
    advice = "pages cannot be told apart, so this version refuses them: please report what came"
    yield _Assumption.PAGE_NUMBER.check(extra.pages == number, came, advice)
    yield _Assumption.COUNT.check(extra.count == size, f"count is {extra.count}, list holds {size}", _WARN_GIVES_DATA)
    if extra.nextYn == "Y" or size > PAGE_SIZE:
        advice = "estimates are wrong by that much; nothing else is"
        yield _Assumption.FULL_PAGES.check(size == PAGE_SIZE, f"page {number} holds {size}", advice)
    if extra.nextYn == "Y":
        came = f"page {number} says Y and nextPages {_show(extra.nextPages)}"
        advice = "the chain of pages cannot be followed: please report what came"
        yield _Assumption.NEXT_PAGE.check(extra.nextPages == number + 1, came, advice)
    if extra.nextYn == "N":
        shown = _show(extra.nextPages) if "nextPages" in body["result"]["extra"] else "nothing"
        accepted = extra.nextPages in (None, 0, number + 1)
        advice = "nothing to set: it is accepted" if accepted else _WARN_GIVES_DATA
        yield _Assumption.LAST_NEXT_PAGE.check(extra.nextPages == number, f"{shown} on page {number}", advice)
    for record in page.records:
        yield _Assumption.RECORDS.check(True, f"{size} on page {number}")
        advice = "nothing to set: the numbers are given as they came; ask the vendor what they count"
        came = f"grpIdx {record.group_id}: pernCnt {record.unique_users}, acesCnt {record.clicks}"
        yield _Assumption.USERS.check(record.unique_users <= record.clicks, came, advice)


def _undocumented(body: dict[str, Any]) -> list[str]:
    """Each field that is not documented, with its first value."""
    result = body["result"]
    parts = [
        ("", body, {"code", "message", "result"}),
        ("result.", result, {"extra", "list"}),
        ("result.extra.", result["extra"], {*field_names(Extra)}),
        *(("result.list[].", row, {*field_names(ClickItem)}) for row in result["list"]),
    ]
    found: dict[str, Any] = {}
    for path, part, documented in parts:
        for name in sorted(part.keys() - documented):
            found.setdefault(f"{path}{name}", part[name])
    return [f"{name}: {_show(value)}" for name, value in found.items()]


def _check_date(pages: Sequence[PageResponse]) -> Iterator[Finding]:
    """All pages of the date together."""
    size = max((len(page.records) for page in pages if page.extra.nextYn == "Y"), default=PAGE_SIZE)
    for page in pages:
        if page.extra.nextYn == "N":
            records = (page.request.number - 1) * size + len(page.records)
            came = f"totalCount is {page.extra.totalCount}, the pages hold {records}"
            yield _Assumption.TOTAL.check(page.extra.totalCount == records, came, _WARN_GIVES_DATA)
    # The first page as it came at first, and as it came again.
    for ordered in (pages, pages[::-1]):
        ids = {page.request.number: _group_ids(page) for page in ordered}
        for group_id, times in Counter(itertools.chain(*ids.values())).items():
            came = f"grpIdx {group_id} twice" if times > 1 else ""
            yield _Assumption.GROUPS_ONCE.check(times == 1, came, _WARN_GIVES_DATA)


def _check_groups(pages: Sequence[PageResponse], asked: tuple[int, ...] | None) -> Iterator[Finding]:
    """The groups that were asked for and those that are listed."""
    listed = dict.fromkeys(group_id for page in pages for group_id in _group_ids(page))
    if asked and listed:
        others = [group_id for group_id in listed if group_id not in asked]
        came = f"asked for {_show_ids(asked)}, grpIdx {_show_ids(others)} came too" if others else ""
        advice = (
            "the server seems to ignore grpIdxList, which an earlier version of the vendor's page names grpIdx: "
            'check="warn" (--check warn) keeps only the groups asked for; ask the vendor which name holds'
        )
        yield _Assumption.REQUESTED_GROUPS.check(not others, came, advice)
    silent = [record.group_id for page in pages for record in page.records if record.clicks == 0]
    # All pages were seen if the last is the second at most.
    whole = any(page.extra.nextYn == "N" and page.request.number <= 2 for page in pages)
    left_out = [group_id for group_id in asked or () if group_id not in listed] if whole else []
    for kind, ids in {"listed with 0": silent, "left out": left_out}.items():
        if ids:
            yield _Assumption.SILENT_GROUPS.check(True, f"{kind}, such as {ids[0]}")
    yield _Assumption.SILENT_GROUPS.check(True, "none listed")


def _group_ids(page: PageResponse) -> list[int]:
    return [record.group_id for record in page.records]


def _show_ids(ids: Sequence[int]) -> str:
    """The first five ids, and how many more there are."""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(map(str, ids[:5])) + more


def _check_repetition(before: PageResponse, after: PageResponse) -> Iterator[Finding]:
    """The first page, as it came at first and at last."""
    totals = before.extra.totalCount, after.extra.totalCount
    advice = "the date is still changing: ask about older ones, and give backfill --settle 3d"
    came = "totalCount {}, then {}".format(*totals)
    yield _Assumption.SAME_TOTALS.check(totals[0] == totals[1], came, advice)
    earlier = {record.group_id: record for record in before.records}
    for record in after.records:
        both = earlier.get(record.group_id, record), record
        counts = [f"{each.group_name!r} acesCnt {each.clicks} pernCnt {each.unique_users}" for each in both]
        came = f"grpIdx {record.group_id}: {', then '.join(counts)}"
        yield _Assumption.SAME_TOTALS.check(both[0] == record, came, advice)
    ids = _group_ids(before), _group_ids(after)
    advice = "pages may lose groups between them: use days() or backfill, which check"
    if ids[0] == ids[1]:
        yield _Assumption.SAME_ORDER.check(True, _sorted_by(before))
    elif sorted(ids[0]) == sorted(ids[1]):
        yield _Assumption.SAME_ORDER.check(False, "the first page came in another order", advice)
    elif totals[0] == totals[1]:
        yield _Assumption.SAME_ORDER.check(False, "the first page came with other groups", advice)


def _sorted_by(page: PageResponse) -> str:
    fields = {"id": "group_id", "name": "group_name", "clicks": "clicks", "users": "unique_users"}
    for field, attribute in fields.items():
        column = [getattr(record, attribute) for record in page.records]
        if len(set(column)) > 1 and column in (sorted(column), sorted(column, reverse=True)):
            return f"by {field}, {'ascending' if column[0] < column[-1] else 'descending'}"
    return "neither by id, name, clicks nor users"
