"""`doctor` with a server that is as documented, and with servers that differ in one point each."""

from __future__ import annotations

import datetime
import functools
import warnings
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import Quota, RetryPolicy
from clicksgroup.doctor import REQUESTS, Answer, Finding, Recorder, Verdict, check_answers, examine
from clicksgroup.errors import DecodeError, PaginationWarning, RequestError
from clicksgroup.protocol import Decoder, Paginator, Query
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from clicksgroup.transport import MAX_BODY_BYTES

Envelope = dict[str, Any]
FAST = Quota(in_flight=4)
DATE = "2025-01-03"

ENVELOPE = "the envelope holds code, message and result"
EXTRA = "extra holds whole numbers, and nextYn Y or N"
RECORDS = "records hold whole numbers, and a name"
FIELDS = "there are no fields but those documented"
LAST_NEXT = "on the last page nextPages is that page"
SAME_ORDER = "a page asked for twice lists the same order"
SAME_TOTALS = "a page asked for twice has the same totals"
ONCE = "a group is listed once"


async def examined(sandbox: Sandbox, *, groups: tuple[int, ...] | None = None) -> dict[str, Finding]:
    recorder = Recorder()
    async with (
        aiohttp.ClientSession(middlewares=(recorder,)) as session,
        sandbox.client(session=session, check="warn", retry=RetryPolicy(attempts=1)) as client,
    ):
        findings = await examine(client, recorder, DATE, groups=groups)
        assert client.stats.requests <= REQUESTS
        return {finding.assumption: finding for finding in findings}


def changed(*path: str | int, **fields: Any) -> Callable[[Envelope], Envelope]:
    """Set fields of the part of an envelope that is at a path."""

    def change(envelope: Envelope) -> Envelope:
        part: Any = envelope
        for name in path:
            part = part[name]
        part.update(fields)
        return envelope

    return change


in_envelope = changed
in_result = functools.partial(changed, "result")
in_extra = functools.partial(changed, "result", "extra")
in_record = functools.partial(changed, "result", "list", 1)


def without_extra(name: str) -> Callable[[Envelope], Envelope]:
    def change(envelope: Envelope) -> Envelope:
        del envelope["result"]["extra"][name]
        return envelope

    return change


def shorter(envelope: Envelope) -> Envelope:
    del envelope["result"]["list"][20:]
    envelope["result"]["extra"]["count"] = len(envelope["result"]["list"])
    return envelope


def backwards(envelope: Envelope) -> Envelope:
    envelope["result"]["list"].reverse()
    return envelope


def twice(envelope: Envelope) -> Envelope:
    envelope["result"]["list"][1] = envelope["result"]["list"][0]
    return envelope


DIFFERENCES: list[tuple[str, Fault, str, str]] = [
    # the assumption, what comes instead, and parts of the finding and of its advice
    ("the HTTP status is 200", Fault(status=403), "403", "user_agent"),
    ("the HTTP status is 200", Fault(status=503), "503", "try again"),
    ("the HTTP status is 200", Fault(retry_after=7), "429", "quota"),
    ("the HTTP status is 200", Fault(page=4, status=404), "404", "base_url"),
    ("the content type is application/json", Fault(headers={"Content-Type": "text/html"}), "text/html", "nothing"),
    (ENVELOPE, Fault(body="<html>"), "<html>", "report"),
    (ENVELOPE, Fault(body='{"result": ' + "[" * 1000), "no JSON", "report"),
    (ENVELOPE, Fault(body=b"\xff\xfe"), "no JSON", "report"),
    (ENVELOPE, Fault(change=in_envelope(result=None)), "result: null", "report"),
    (ENVELOPE, Fault(change=in_envelope(code="0")), 'code: "0"', "check="),
    (ENVELOPE, Fault(change=in_envelope(message=[])), "message: []", "nothing"),
    (ENVELOPE, Fault(change=lambda e: [e]), 'the body: [{"code"', "report"),
    (ENVELOPE, Fault(change=in_result(extra=None)), "extra: null", "report"),
    (ENVELOPE, Fault(page=4, change=in_result(list={})), "list: {}", "report"),
    ("code is 0", Fault(change=in_envelope(code=17, message="no such plan", result=None)), '17: "no such plan"', "ask"),
    (EXTRA, Fault(change=in_extra(totalCount="95")), 'totalCount: "95"', "warn"),
    (EXTRA, Fault(change=in_extra(nextYn="y")), 'nextYn: "y"', "report"),
    (EXTRA, Fault(change=without_extra("count")), "count: nothing", "report"),
    (RECORDS, Fault(change=in_record(acesCnt="181")), '[1].acesCnt: "181"', "warn"),
    (RECORDS, Fault(change=in_record(pernCnt=1.5)), "[1].pernCnt: 1.5", "report"),
    (RECORDS, Fault(change=in_record(grpNm=None)), "grpNm: null", "warn"),
    (FIELDS, Fault(change=in_record(color="red")), 'list[].color: "red"', "ignored"),
    (FIELDS, Fault(change=in_extra(size=30)), "extra.size: 30", "ignored"),
    (FIELDS, Fault(change=in_envelope(took=3)), "took: 3", "ignored"),
    ("pages is the page that was asked for", Fault(page=4, change=in_extra(pages=1)), "page 4, pages is 1", "report"),
    ("count is the length of list", Fault(change=in_extra(count=29)), "count is 29, list holds 30", "warn"),
    ("a page that is not the last holds 30 records", Fault(page=1, change=shorter), "holds 20", "estimates"),
    ("nextPages is the next page", Fault(page=1, change=in_extra(nextPages=3)), "nextPages 3", "report"),
    (LAST_NEXT, Fault(page=4, change=in_extra(nextPages=0)), "0 on page 4", "accepted"),
    (LAST_NEXT, Fault(page=4, change=in_extra(nextPages=None)), "null", "accepted"),
    (LAST_NEXT, Fault(page=4, change=without_extra("nextPages")), "nothing", "accepted"),
    (LAST_NEXT, Fault(page=4, change=in_extra(nextPages=9)), "9 on page 4", "warn"),
    ("totalCount is the number of records on all pages", Fault(page=4, change=in_extra(totalCount=96)), "96", "warn"),
    (ONCE, Fault(page=1, change=twice), "grpIdx 151 twice", "warn"),
    ("no group has more users than clicks", Fault(change=in_record(pernCnt=10**9)), "pernCnt 1000000000", "vendor"),
    ("there are no rate limit headers", Fault(headers={"X-RateLimit-Limit": "60"}), "x-ratelimit-limit: 60", "quota"),
    ("there are no rate limit headers", Fault(headers={"RateLimit-Policy": "9;w=60"}), "9;w=60", "--quota"),
    ("the clocks agree", Fault(headers={"Date": "Fri, 03 Jan 2025 00:00:00 GMT"}), "behind", "clock"),
]


@pytest.mark.parametrize(
    ("assumption", "fault", "came", "advice"), DIFFERENCES, ids=[f"{row[0]}: {row[2]}" for row in DIFFERENCES]
)
async def test_difference(assumption: str, fault: Fault, came: str, advice: str) -> None:
    """A difference is reported with what came and what to do."""
    async with Sandbox(quota=FAST, faults=[attrs.evolve(fault, attempts=None)]) as sandbox:
        finding = (await examined(sandbox))[assumption]
    assert finding.verdict is Verdict.DIFFERS
    assert came in finding.came
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("assumption", "fault", "came"),
    [
        (SAME_ORDER, Fault(change=backwards), "another order"),
        (SAME_ORDER, Fault(change=in_record(grpIdx=9)), "other groups"),
        (SAME_TOTALS, Fault(change=in_extra(totalCount=96)), "95, then 96"),
        (SAME_TOTALS, Fault(change=in_record(acesCnt=1)), "grpIdx 207"),
        (ONCE, Fault(change=twice), "grpIdx 151 twice"),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
async def test_difference_at_one_attempt(assumption: str, fault: Fault, came: str, attempt: int) -> None:
    """A difference that only one of the two answers to the first page has is reported too."""
    if came == "95, then 96" and attempt == 1:
        came = "96, then 95"

    def at_one_attempt(seen: SeenRequest) -> Fault | None:
        return fault if seen.page == 1 and seen.attempt == attempt else None

    async with Sandbox(quota=FAST, faults=at_one_attempt) as sandbox:
        finding = (await examined(sandbox))[assumption]
    assert finding.verdict is Verdict.DIFFERS
    assert came in finding.came
    assert finding.advice


async def test_differences_in_two_parts() -> None:
    """Values of other types are reported in `extra` and in the records, with the advice to use check="warn"."""
    both = [Fault(change=lambda envelope: in_record(acesCnt="181")(in_extra(totalCount="95")(envelope)), attempts=None)]
    async with Sandbox(quota=FAST, faults=both) as sandbox:
        findings = await examined(sandbox)
    for assumption, field in ((EXTRA, "totalCount"), (RECORDS, "acesCnt")):
        assert findings[assumption].verdict is Verdict.DIFFERS
        assert field in findings[assumption].came
        assert "--check warn" in findings[assumption].advice


@pytest.mark.parametrize(("groups", "requests"), [(95, [1, 4, 1]), (31, [1, 2, 1]), (30, [1, 1]), (0, [1, 1])])
async def test_no_difference(groups: int, requests: list[int]) -> None:
    """A server as documented holds in every point, after two or three requests."""
    async with Sandbox(groups=groups, quota=FAST) as sandbox:
        findings = (await examined(sandbox)).values()
        assert [request.page for request in sandbox.requests] == requests
    assert not [finding for finding in findings if finding.verdict is Verdict.DIFFERS]
    unseen = {finding.assumption for finding in findings if finding.verdict is Verdict.NOT_SEEN}
    assert len(unseen) == 1 + (0 if groups > 30 else 2 if groups else 5)


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 96)
    | st.floats(allow_nan=False)
    | st.sampled_from(["Y", "N", "95", "²"]),
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(st.sampled_from(["grpIdx", "grpNm", "acesCnt", "pernCnt", "more"]), part, max_size=5)
    ),
    max_leaves=8,
)
extras = st.dictionaries(st.sampled_from(["pages", "nextPages", "nextYn", "count", "totalCount", "more"]), json)
results = st.dictionaries(st.sampled_from(["extra", "list"]), json | extras | st.lists(json, max_size=4))
envelopes = json | st.dictionaries(st.sampled_from(["code", "message", "result"]), json | results)


@given(st.lists(st.tuples(st.integers(1, 4), envelopes, st.sampled_from([200, 301, 500])), max_size=3))
def test_any_answer(came: list[tuple[int, Any, int]]) -> None:
    """Any answer can be checked, and every difference comes with advice."""
    answers = [Answer(page, status, {"date": "?"}, orjson.dumps(envelope), 0.0) for page, envelope, status in came]
    findings = check_answers(answers, (151,))
    assert all(finding.advice for finding in findings if finding.verdict is Verdict.DIFFERS)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", [b"a", b"\\ud800"])
@pytest.mark.parametrize("clicks", [181, "181"])
def test_mended_body(mark: bytes, name: bytes, clicks: object) -> None:
    """Bodies that the client mends before it reads them can be checked: a byte order mark, half a character."""
    extra = {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 1, "totalCount": 1}
    record = {"grpIdx": 1, "grpNm": "NAME", "acesCnt": clicks, "pernCnt": 1}
    envelope = {"code": 0, "message": "", "result": {"extra": extra, "list": [record]}}
    body = mark + orjson.dumps(envelope).replace(b"NAME", name)
    answer = Answer(1, 200, {"content-type": "application/json"}, body, 0.0)
    came = [finding.came for finding in check_answers([answer]) if finding.verdict is Verdict.DIFFERS]
    assert came == ([] if clicks == 181 else ['result.list[0].acesCnt: "181"'])


def page(number: int, size: int, total: int, following: int, *, more: bool) -> Answer:
    """An answer with so many records, all of them different from those of other pages."""
    ids = range(number * 1000, number * 1000 + size)
    extra = {"pages": number, "nextPages": following, "nextYn": "Y" if more else "N", "count": size}
    records = [{"grpIdx": group, "grpNm": "a", "acesCnt": 1, "pernCnt": 1} for group in ids]
    result = {"extra": extra | {"totalCount": total}, "list": records}
    body = orjson.dumps({"code": 0, "message": "", "result": result})
    return Answer(number, 200, {"content-type": "application/json"}, body, 0.0)


def test_other_page_size() -> None:
    """Pages of another size are one difference: the totals are right all the same."""
    answers = [page(1, 50, 120, 2, more=True), page(3, 20, 120, 3, more=False)]
    differs = [finding.assumption for finding in check_answers(answers) if finding.verdict is Verdict.DIFFERS]
    assert differs == ["a page that is not the last holds 30 records"]


def test_second_answer() -> None:
    """A difference in the second answer is found too."""
    answers = [page(1, 3, 3, 1, more=False), page(1, 3, 3, 9, more=False)]
    (finding,) = [finding for finding in check_answers(answers) if finding.assumption == LAST_NEXT]
    assert (finding.verdict, finding.came) == (Verdict.DIFFERS, "9 on page 1")


async def test_later_request_fails() -> None:
    """Where a later request fails, the answers before it are checked all the same."""
    faults = [Fault(page=2, attempts=None, reset=True)]
    async with Sandbox(groups=40, quota=FAST, faults=faults) as sandbox:
        findings = await examined(sandbox)
    assert findings[ENVELOPE].verdict is Verdict.HELD
    assert findings[LAST_NEXT].verdict is Verdict.NOT_SEEN


async def test_unlisted_groups() -> None:
    """Groups that were asked for and are not listed are reported."""
    async with Sandbox(groups=3, quota=FAST) as sandbox:
        findings = await examined(sandbox, groups=(151, 99999))
    assert "99999" in findings["groups without clicks are left out, or listed with 0"].came


async def test_unrequested_groups() -> None:
    """Groups that were not asked for are a difference."""
    assumption = "no groups are listed but those asked for"
    async with Sandbox(groups=3, quota=FAST) as sandbox:
        assert (await examined(sandbox, groups=(151, 207)))[assumption].verdict is Verdict.HELD
    async with Sandbox(groups=3, quota=FAST, faults=[Fault(change=in_record(grpIdx=9), attempts=None)]) as sandbox:
        finding = (await examined(sandbox, groups=(151, 207)))[assumption]
    assert (finding.verdict, finding.came) == (Verdict.DIFFERS, "asked for 151, 207, grpIdx 9 came too")
    assert "grpIdxList" in finding.advice


async def test_endless_body() -> None:
    """A body that is too large to be a page is not read to its end."""
    async with Sandbox(groups=3, quota=FAST, faults=[Fault(body=b" " * (MAX_BODY_BYTES + 1))]) as sandbox:
        with pytest.raises(DecodeError, match="2,097,153 bytes"):
            await examined(sandbox)


VALUES: list[Any] = [None, True, -1, 0, 1, 2, 3, 1.5, "2", "Y", "N", "y", 2**63, 2**64 - 1, [], {}]


@pytest.mark.parametrize("rows", [0, 1, 30])
@pytest.mark.parametrize(
    "path", ["code", "result", "extra", "list", "pages", "nextPages", "nextYn", "count", "totalCount"]
)
def test_refused_answer(rows: int, path: str) -> None:
    """If one field makes a client with check="warn" refuse an answer, that is a difference."""
    refused = 0
    for value in VALUES:
        extra: dict[str, Any] = {"pages": 1, "nextPages": 1, "nextYn": "N", "count": rows, "totalCount": rows}
        if rows == 30:
            extra |= {"nextPages": 2, "nextYn": "Y", "totalCount": 31}
        records = [{"grpIdx": n, "grpNm": "a", "acesCnt": 2, "pernCnt": 1} for n in range(rows)]
        result: dict[str, Any] = {"extra": extra, "list": records}
        envelope: dict[str, Any] = {"code": 0, "message": "", "result": result}
        assert not is_refused(envelope)
        assert not differs(envelope)
        for part in (envelope, result, extra):
            if path in part:
                part[path] = value
        refused += is_refused(envelope)
        assert differs(envelope) or not is_refused(envelope)
    assert refused


def differs(envelope: Envelope) -> bool:
    answer = Answer(1, 200, {"content-type": "application/json"}, orjson.dumps(envelope), 0.0)
    return any(finding.verdict is Verdict.DIFFERS for finding in check_answers([answer]))


def is_refused(envelope: Envelope) -> bool:
    query = Query(datetime.date(2025, 1, 3), datetime.date(2025, 1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PaginationWarning)
        try:
            paginator = Paginator([query], None, "warn", single=True)
            request = paginator.next_request()
            assert request is not None
            paginator.receive(request, Decoder("warn").read(orjson.dumps(envelope), request))
            list(paginator.accepted())
        except RequestError:
            return True
    return False


def test_limit_headers_of_all_answers() -> None:
    """Rate limit headers are shown of each answer, not only of the first."""
    heads = [{"x-ratelimit-remaining": "9"}, {"x-ratelimit-remaining": "8", "retry-after": "3"}]
    findings = check_answers([Answer(1, 200, head, b"", 0.0) for head in heads])
    (finding,) = [finding for finding in findings if finding.assumption == "there are no rate limit headers"]
    assert finding.came == "x-ratelimit-remaining: 9, x-ratelimit-remaining: 8, retry-after: 3"


def test_no_record_of_groups() -> None:
    """Where groups are asked for and none is listed, nothing was seen of whether others would be."""
    result = {"extra": {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 0, "totalCount": 0}, "list": []}
    answer = Answer(1, 200, {}, orjson.dumps({"code": 0, "message": "", "result": result}), 0.0)
    findings = {finding.assumption: finding for finding in check_answers([answer], (5555,))}
    finding = findings["no groups are listed but those asked for"]
    assert (finding.verdict, finding.came) == (
        Verdict.NOT_SEEN,
        "no record came, or all were asked for; name some with --groups",
    )
    assert findings["groups without clicks are left out, or listed with 0"].came == "left out, such as 5555"


def test_new_fields_are_listed_once() -> None:
    """A new field of all records is named once, so that it does not hide others."""
    records = [
        {"grpIdx": n, "grpNm": "a", "acesCnt": 2, "pernCnt": 1, "colour": "#" + "f" * 50, "zone": n} for n in range(9)
    ]
    extra = {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 9, "totalCount": 9}
    envelope = {"code": 0, "message": "", "result": {"extra": extra, "list": records}}
    findings = check_answers([Answer(1, 200, {}, orjson.dumps(envelope), 0.0)])
    (finding,) = [finding for finding in findings if finding.assumption == "there are no fields but those documented"]
    assert finding.came == f'result.list[].colour: "#{"f" * 50}", result.list[].zone: 0'
