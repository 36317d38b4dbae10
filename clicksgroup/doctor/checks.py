"""The assumptions, one function each: what the answers say about it, and what to do where it does not hold."""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Sequence
from typing import TypeAlias

from clicksgroup.doctor.evidence import (
    NOTHING,
    SHOWN,
    Evidence,
    SeenPage,
    at,
    field,
    is_whole,
    is_whole_like,
    load,
    show,
)
from clicksgroup.doctor.findings import Answer, Finding, Verdict
from clicksgroup.protocol.requests import PAGE_SIZE

LARGEST_SKEW = 60.0
"""Seconds by which clocks may differ before a `Date` header is worth a word."""


UNREADABLE = "this version cannot read it: please report what came"
"""What to do about an answer that no setting makes readable."""


def judge(answers: Sequence[Answer], groups: tuple[int, ...] | None = None) -> list[Finding]:
    """What each assumption came to, from the answers alone.

    >>> from clicksgroup.doctor import Answer, judge
    >>> finding, *_ = judge([Answer(page=1, status=503, headers={}, body=b"", received_at=0.0)])
    >>> print(finding.assumption, "-", finding.verdict.value, "-", finding.came)
    the HTTP status is 200 - differs - HTTP 503

    Args:
        answers: to the first page of a date, to the last where there were several, and to the first again.
        groups: the ids that were asked for, or None for all.
    """
    seen = Evidence(answers, groups)
    return [Finding(assumption, *check(seen)) for assumption, check in _CHECKS]


_Judged: TypeAlias = tuple[Verdict, str, str]
_Check: TypeAlias = Callable[["Evidence"], _Judged]

_READ_BY_WARN = 'it can be read with check="warn" (--check warn)'
_CANNOT_TRUST = 'check="warn" (--check warn) gives the data all the same, with a warning'


def _held(came: str = "") -> _Judged:
    return Verdict.HELD, came, ""


def _differs(came: str, advice: str) -> _Judged:
    return Verdict.DIFFERS, came, advice


def _not_seen(why: str) -> _Judged:
    return Verdict.NOT_SEEN, why, ""


_NO_PAGE = _not_seen("no page came")


def _status(seen: Evidence) -> _Judged:
    statuses = [answer.status for answer in seen.answers]
    odd = [status for status in statuses if status != 200]
    if not odd:
        return _held(f"200, {len(statuses)} times")
    advice = {
        401: "check the API key",
        403: "name your company or brand with user_agent (--user-agent), and check that the plan has this API",
        429: "another program uses the key: share its quota (FileQuota, RedisQuota, --redis), or set quota= lower",
    }
    return _differs(f"HTTP {odd[0]}", advice.get(odd[0], "check base_url; try again later where it is 5xx"))


def _content_type(seen: Evidence) -> _Judged:
    kinds = {answer.headers.get("content-type", "none") for answer in seen.answers if answer.status == 200}
    if not kinds:
        return _NO_PAGE
    odd = [kind for kind in kinds if kind.partition(";")[0].strip().lower() != "application/json"]
    return _differs(odd[0], "nothing to set: it is not relied upon") if odd else _held(", ".join(kinds))


def _compression(seen: Evidence) -> _Judged:
    codings = {answer.headers.get("content-encoding", "identity").lower() for answer in seen.answers}
    odd = codings - {"identity", "gzip"}
    if odd:
        return _differs(f"Content-Encoding: {odd.pop()}", "only gzip was asked for: please report what came")
    return _held(", ".join(sorted(codings)))


def _envelope(seen: Evidence) -> _Judged:
    if not seen.answers:
        return _NO_PAGE
    for answer in seen.answers:
        envelope = load(answer)
        if envelope is NOTHING:
            return _differs(f"no JSON: {answer.body[:SHOWN].decode('utf-8', 'replace')!r}", UNREADABLE)
        for name, wanted in (("code", int), ("result", dict)):
            value = field(envelope, name)
            if type(value) is not wanted and not (name == "result" and field(envelope, "code") != 0):
                advice = _READ_BY_WARN if name == "code" and is_whole_like(value) else UNREADABLE
                return _differs(f"{name}: {show(value)}", advice)
        if field(envelope, "code") == 0:
            for name, kind in (("extra", dict), ("list", list)):
                if type(value := at(envelope, "result", name)) is not kind:
                    return _differs(f"result.{name}: {show(value)}", UNREADABLE)
        if not isinstance(message := envelope.get("message"), (str, type(None))):
            return _differs(f"message: {show(message)}", "nothing to set: it is shown in errors only")
    return _held()


def _code(seen: Evidence) -> _Judged:
    codes = [(field(envelope, "code"), field(envelope, "message")) for envelope in seen.envelopes]
    if not codes:
        return _not_seen("no envelope came")
    for code, message in codes:
        if not is_whole_like(code) or int(code) != 0:
            return _differs(f"code {show(code)}: {show(message)}", "what the message says; then ask again")
    return _held()


def _extra_types(seen: Evidence) -> _Judged:
    if not seen.pages:
        return _NO_PAGE
    for page in seen.pages:
        for name in ("pages", "count", "totalCount", "nextPages"):
            value = page.extra.get(name, NOTHING)
            optional = name == "nextPages" and value in (None, NOTHING)  # its own check says what came
            if not is_whole(value) and not optional:
                advice = _READ_BY_WARN if is_whole_like(value) else UNREADABLE
                return _differs(f"result.extra.{name}: {show(value)}", advice)
        if page.extra.get("nextYn") not in ("Y", "N"):
            return _differs(f"result.extra.nextYn: {show(page.extra.get('nextYn', NOTHING))}", UNREADABLE)
    return _held()


def _record_types(seen: Evidence) -> _Judged:
    rows = [(place, row) for page in seen.pages for place, row in enumerate(page.rows)]
    if not rows:
        return _not_seen("no record came")
    for place, row in rows:
        for name in ("grpIdx", "acesCnt", "pernCnt"):
            value = field(row, name)
            if not is_whole(value):
                advice = _READ_BY_WARN if is_whole_like(value) else UNREADABLE
                return _differs(f"result.list[{place}].{name}: {show(value)}", advice)
        if not isinstance(name := field(row, "grpNm"), str):
            return _differs(f"result.list[{place}].grpNm: {show(name)}", _READ_BY_WARN if name is None else UNREADABLE)
    return _held(f"{len(rows)} records")


def _no_more_fields(seen: Evidence) -> _Judged:
    if not seen.pages:
        return _NO_PAGE
    known = (
        ("", seen.envelopes, {"code", "message", "result"}),
        (
            "result.",
            [envelope.get("result") for envelope in seen.envelopes if type(envelope) is dict],
            {"extra", "list"},
        ),
        ("result.extra.", [page.extra for page in seen.pages], {"pages", "nextPages", "nextYn", "count", "totalCount"}),
        (
            "result.list[].",
            [row for page in seen.pages for row in page.rows],
            {"grpIdx", "grpNm", "acesCnt", "pernCnt"},
        ),
    )
    more = [
        f"{path}{name}: {show(part[name])}"
        for path, parts, names in known
        for part in parts
        if isinstance(part, dict)
        for name in part.keys() - names
    ]
    return _differs(more[0], "nothing to set: fields that are not known are ignored") if more else _held()


def _page_echoed(seen: Evidence) -> _Judged:
    if not seen.pages:
        return _NO_PAGE
    for page in seen.pages:
        if page.extra.get("pages") != page.number:
            return _differs(
                f"asked for page {page.number}, pages is {show(page.extra.get('pages', NOTHING))}",
                "pages cannot be told apart, so this version refuses them: please report what came",
            )
    return _held(", ".join(str(page.number) for page in seen.pages))


def _count(seen: Evidence) -> _Judged:
    if not seen.pages:
        return _NO_PAGE
    for page in seen.pages:
        if page.extra.get("count") != len(page.rows):
            return _differs(f"count is {show(page.extra.get('count'))}, list holds {len(page.rows)}", _CANNOT_TRUST)
    return _held()


def _page_size(seen: Evidence) -> _Judged:
    full = [page for page in seen.pages if page.extra.get("nextYn") == "Y"]
    odd = [page for page in full if len(page.rows) != PAGE_SIZE] or [p for p in seen.pages if len(p.rows) > PAGE_SIZE]
    if odd:
        return _differs(
            f"page {odd[0].number} holds {len(odd[0].rows)}", "estimates are wrong by that much; nothing else is"
        )
    return _held() if full else _not_seen("one page was enough; ask about a date with more than 30 groups")


def _next_page(seen: Evidence) -> _Judged:
    more = [page for page in seen.pages if page.extra.get("nextYn") == "Y"]
    for page in more:
        if page.extra.get("nextPages") != page.number + 1:
            return _differs(
                f"page {page.number} says Y and nextPages {show(page.extra.get('nextPages'))}",
                "the chain of pages cannot be followed: please report what came",
            )
    return _held() if more else _not_seen("one page was enough; ask about a date with more than 30 groups")


def _last_page_says(seen: Evidence) -> _Judged:
    last = seen.last()
    if last is None:
        return _not_seen("no last page came")
    came = last.extra.get("nextPages", NOTHING)
    if came == last.number:
        return _held(f"{came} on page {last.number}")
    accepted = came in (None, NOTHING, 0, last.number + 1)
    return _differs(
        f"{show(came)} on page {last.number}", "nothing to set: it is accepted" if accepted else _CANNOT_TRUST
    )


def _total(seen: Evidence) -> _Judged:
    last = seen.last()
    if last is None:
        return _not_seen("no last page came")
    records = (last.number - 1) * PAGE_SIZE + len(last.rows)
    if last.extra.get("totalCount") != records:
        return _differs(f"totalCount is {show(last.extra.get('totalCount'))}, the pages hold {records}", _CANNOT_TRUST)
    return _held(f"{records}")


def _groups_once(seen: Evidence) -> _Judged:
    if not any(page.rows for page in seen.pages):
        return _not_seen("no record came")
    for pages in (seen.pages, seen.pages[::-1]):  # the first page as it came at first, and as it came again
        of_number: dict[int, SeenPage] = {}
        for page in pages:
            of_number.setdefault(page.number, page)
        ids = [group for page in of_number.values() for group in page.column("grpIdx")]
        again = next((group for i, group in enumerate(ids) if group in ids[:i]), None)
        if again is not None:
            return _differs(f"grpIdx {show(again)} twice", _CANNOT_TRUST)
    return _held()


def _asked_for(seen: Evidence) -> _Judged:
    if seen.groups is None:
        return _not_seen("all were asked for; name some with --groups")
    listed = [group for page in seen.pages for group in page.column("grpIdx")]
    if not listed:
        return _not_seen("no record came")
    for group in listed:
        if is_whole_like(group) and int(group) not in seen.groups:
            return _differs(
                f"grpIdx {show(group)} was not asked for",
                "groups= (--groups) does not restrict what comes: ask for all, and take what you need",
            )
    return _held()


def _users(seen: Evidence) -> _Judged:
    rows = [(page, row) for page in seen.pages for row in page.rows if isinstance(row, dict)]
    if not rows:
        return _not_seen("no record came")
    for _, row in rows:
        clicks, users = row.get("acesCnt"), row.get("pernCnt")
        if type(clicks) is int and type(users) is int and users > clicks:
            return _differs(
                f"grpIdx {show(row.get('grpIdx'))}: pernCnt {users}, acesCnt {clicks}",
                "nothing to set: the numbers are given as they came; ask the vendor what they count",
            )
    return _held()


def _same_order(seen: Evidence) -> _Judged:
    twice = seen.twice()
    if twice is None:
        return _not_seen("the first page did not come twice")
    before, after = (page.column("grpIdx") for page in twice)
    if before == after:
        return _held(_order(twice[0]))
    advice = "pages may lose groups between them: use days() or backfill, which check"
    if sorted(map(str, before)) == sorted(map(str, after)):
        return _differs("the first page came in another order", advice)
    if twice[0].extra.get("totalCount") == twice[1].extra.get("totalCount"):
        return _differs("the first page came with other groups", advice)
    return _not_seen("the date changed in between")


def _order(page: SeenPage) -> str:
    for name, what in (("grpIdx", "group id"), ("acesCnt", "clicks"), ("pernCnt", "users"), ("grpNm", "name")):
        column = page.column(name)
        if {type(value) for value in column} in ({int}, {str}) and len(set(column)) > 1:
            if column == sorted(column):
                return f"by {what}, ascending"
            if column == sorted(column, reverse=True):
                return f"by {what}, descending"
    return "neither by id, clicks, users nor name"


def _repeated(seen: Evidence) -> _Judged:
    twice = seen.twice()
    if twice is None:
        return _not_seen("the first page did not come twice")
    before, after = twice
    totals = before.extra.get("totalCount"), after.extra.get("totalCount")
    moving = "the date is still changing: ask about older ones, and give backfill --settle 3d"
    if totals[0] != totals[1]:
        return _differs(f"totalCount {show(totals[0])}, then {show(totals[1])}", moving)
    counts = dict(zip(map(str, before.column("grpIdx")), before.rows, strict=True))
    for group, row in zip(map(str, after.column("grpIdx")), after.rows, strict=True):
        if group in counts and counts[group] != row:
            return _differs(f"grpIdx {group}: {show(counts[group])}, then {show(row)}", moving)
    return _held()


def _silent_groups(seen: Evidence) -> _Judged:
    if not seen.pages:
        return _NO_PAGE
    silent = [
        group
        for page in seen.pages
        for group, n in zip(page.column("grpIdx"), page.column("acesCnt"), strict=True)
        if n == 0
    ]
    if silent:
        return _held(f"listed with 0, such as {show(silent[0])}")
    last = seen.last()
    if last is not None and last.number <= 2:  # so all pages were seen
        listed = [group for page in seen.pages for group in page.column("grpIdx")]
        if left_out := [group for group in seen.groups or () if group not in listed]:
            return _held(f"left out, such as {left_out[0]}")
    return _held("none listed")


def _limit_headers(seen: Evidence) -> _Judged:
    found = [
        f"{name}: {value}"
        for answer in seen.answers
        for name, value in answer.headers.items()
        if name == "retry-after" or "ratelimit" in name.replace("-", "")
    ]
    if not found:
        return _held("none")
    return _differs(
        ", ".join(dict.fromkeys(found))[: 2 * SHOWN],
        "if a limit in it is not your plan's, set quota=Quota((N, SECONDS)) (--quota N/SECONDS)",
    )


def _clock(seen: Evidence) -> _Judged:
    for answer in seen.answers:
        try:
            told = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (TypeError, ValueError):
            continue
        skew = told - answer.received_at
        if abs(skew) > LARGEST_SKEW:
            return _differs(
                f"the server's is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}",
                "set this machine's clock, or take care with today and yesterday; waiting is not affected",
            )
        return _held(f"within {max(1, round(abs(skew)))} s")
    return _not_seen("no Date header")


_CHECKS: Sequence[tuple[str, _Check]] = (
    ("the HTTP status is 200", _status),
    ("the content type is application/json", _content_type),
    ("the body is plain or gzip", _compression),
    ("the envelope holds code, message and result", _envelope),
    ("code is 0", _code),
    ("extra holds whole numbers, and nextYn Y or N", _extra_types),
    ("records hold whole numbers, and a name", _record_types),
    ("there are no fields but those documented", _no_more_fields),
    ("pages is the page that was asked for", _page_echoed),
    ("count is the length of list", _count),
    (f"a page that is not the last holds {PAGE_SIZE} records", _page_size),
    ("nextPages is the next page", _next_page),
    ("on the last page nextPages is that page", _last_page_says),
    ("totalCount is the number of records on all pages", _total),
    ("a group is listed once", _groups_once),
    ("no groups are listed but those asked for", _asked_for),
    ("no group has more users than clicks", _users),
    ("a page asked for twice lists the same order", _same_order),
    ("a page asked for twice has the same totals", _repeated),
    ("groups without clicks are left out, or listed with 0", _silent_groups),
    ("there are no rate limit headers", _limit_headers),
    ("the clocks agree", _clock),
)
