"""`doctor` against a server that is as documented, and against one that differs in each point in turn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import Quota, RetryPolicy
from clicksgroup.doctor import REQUESTS, Answer, Finding, Recorder, Verdict, examine, judge
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import call, call_beside

PointAt = Callable[[Sandbox], None]
Envelope = dict[str, Any]
FAST = Quota(in_flight=4)
DATE = "2025-01-03"


async def examined(sandbox: Sandbox, *, groups: tuple[int, ...] | None = None) -> dict[str, Finding]:
    recorder = Recorder()
    async with (
        aiohttp.ClientSession(middlewares=(recorder,)) as session,
        sandbox.client(session=session, check="warn", retry=RetryPolicy(attempts=1)) as client,
    ):
        findings = await examine(client, recorder, DATE, groups=groups)
        assert client.stats.requests <= REQUESTS
        return {finding.assumption: finding for finding in findings}


def in_extra(**fields: Any) -> Callable[[Envelope], Envelope]:
    def change(envelope: Envelope) -> Envelope:
        envelope["result"]["extra"].update(fields)
        return envelope

    return change


def without_extra(name: str) -> Callable[[Envelope], Envelope]:
    def change(envelope: Envelope) -> Envelope:
        del envelope["result"]["extra"][name]
        return envelope

    return change


def in_record(**fields: Any) -> Callable[[Envelope], Envelope]:
    def change(envelope: Envelope) -> Envelope:
        envelope["result"]["list"][1].update(fields)
        return envelope

    return change


def in_envelope(**fields: Any) -> Callable[[Envelope], Envelope]:
    return lambda envelope: envelope | fields


def in_result(**fields: Any) -> Callable[[Envelope], Envelope]:
    return lambda envelope: envelope | {"result": envelope["result"] | fields}


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
    # what was assumed · what comes instead · what is said to have come · what is advised
    ("the HTTP status is 200", Fault(status=403), "403", "user_agent"),
    ("the HTTP status is 200", Fault(status=503), "503", "try again"),
    ("the HTTP status is 200", Fault(retry_after=7), "429", "quota"),
    ("the HTTP status is 200", Fault(page=4, status=404), "404", "base_url"),
    ("the content type is application/json", Fault(headers={"Content-Type": "text/html"}), "text/html", "nothing"),
    ("the envelope holds code, message and result", Fault(body="<html>"), "<html>", "report"),
    ("the envelope holds code, message and result", Fault(change=in_envelope(result=None)), "result: null", "report"),
    ("the envelope holds code, message and result", Fault(change=in_envelope(code="0")), 'code: "0"', "check="),
    ("the envelope holds code, message and result", Fault(change=in_envelope(message=[])), "message: []", "nothing"),
    ("the envelope holds code, message and result", Fault(change=lambda e: [e]), "code: nothing", "report"),
    ("the envelope holds code, message and result", Fault(change=in_result(extra=None)), "extra: null", "report"),
    ("the envelope holds code, message and result", Fault(page=4, change=in_result(list={})), "list: {}", "report"),
    ("code is 0", Fault(change=in_envelope(code=17, message="no such plan", result=None)), '17: "no such plan"', "ask"),
    (
        "extra holds whole numbers, and nextYn Y or N",
        Fault(change=in_extra(totalCount="95")),
        'totalCount: "95"',
        "warn",
    ),
    ("extra holds whole numbers, and nextYn Y or N", Fault(change=in_extra(nextYn="y")), 'nextYn: "y"', "report"),
    ("extra holds whole numbers, and nextYn Y or N", Fault(change=without_extra("count")), "count: nothing", "report"),
    ("records hold whole numbers, and a name", Fault(change=in_record(acesCnt="181")), '[1].acesCnt: "181"', "warn"),
    ("records hold whole numbers, and a name", Fault(change=in_record(pernCnt=1.5)), "[1].pernCnt: 1.5", "report"),
    ("records hold whole numbers, and a name", Fault(change=in_record(grpNm=None)), "grpNm: null", "warn"),
    (
        "there are no fields but those documented",
        Fault(change=in_record(color="red")),
        'list[].color: "red"',
        "ignored",
    ),
    ("there are no fields but those documented", Fault(change=in_extra(size=30)), "extra.size: 30", "ignored"),
    ("there are no fields but those documented", Fault(change=in_envelope(took=3)), "took: 3", "ignored"),
    ("pages is the page that was asked for", Fault(page=4, change=in_extra(pages=1)), "page 4, pages is 1", "report"),
    ("count is the length of list", Fault(change=in_extra(count=29)), "count is 29, list holds 30", "warn"),
    ("a page that is not the last holds 30 records", Fault(page=1, change=shorter), "holds 20", "estimates"),
    ("nextPages is the next page", Fault(page=1, change=in_extra(nextPages=3)), "nextPages 3", "report"),
    ("on the last page nextPages is that page", Fault(page=4, change=in_extra(nextPages=0)), "0 on page 4", "accepted"),
    ("on the last page nextPages is that page", Fault(page=4, change=in_extra(nextPages=None)), "null", "accepted"),
    (
        "on the last page nextPages is that page",
        Fault(page=4, change=without_extra("nextPages")),
        "nothing",
        "accepted",
    ),
    ("on the last page nextPages is that page", Fault(page=4, change=in_extra(nextPages=9)), "9 on page 4", "warn"),
    ("totalCount is the number of records on all pages", Fault(page=4, change=in_extra(totalCount=96)), "96", "warn"),
    ("a group is listed once", Fault(page=1, change=twice), "grpIdx 151 twice", "warn"),
    ("no group has more users than clicks", Fault(change=in_record(pernCnt=10**9)), "pernCnt 1000000000", "vendor"),
    ("there are no rate limit headers", Fault(headers={"X-RateLimit-Limit": "60"}), "x-ratelimit-limit: 60", "quota"),
    ("there are no rate limit headers", Fault(headers={"RateLimit-Policy": "9;w=60"}), "9;w=60", "--quota"),
    ("the clocks agree", Fault(headers={"Date": "Fri, 03 Jan 2025 00:00:00 GMT"}), "behind", "clock"),
]


@pytest.mark.parametrize(
    ("assumption", "fault", "came", "advice"), DIFFERENCES, ids=[f"{row[0]}: {row[2]}" for row in DIFFERENCES]
)
async def test_a_difference_is_said_with_what_came_and_what_to_do(
    assumption: str, fault: Fault, came: str, advice: str
) -> None:
    async with Sandbox(quota=FAST, faults=[attrs.evolve(fault, attempts=None)]) as sandbox:
        finding = (await examined(sandbox))[assumption]
    assert finding.verdict is Verdict.DIFFERS
    assert came in finding.came
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("assumption", "fault", "came"),
    [
        ("a page asked for twice lists the same order", Fault(change=backwards), "another order"),
        ("a page asked for twice lists the same order", Fault(change=in_record(grpIdx=9)), "other groups"),
        ("a group is listed once", Fault(change=twice), "grpIdx 151 twice"),
        ("a page asked for twice has the same totals", Fault(change=in_extra(totalCount=96)), "95, then 96"),
        ("a page asked for twice has the same totals", Fault(change=in_record(acesCnt=1)), "grpIdx 207"),
    ],
)
async def test_what_is_different_the_second_time_is_said(assumption: str, fault: Fault, came: str) -> None:
    def second_time(seen: Any) -> Fault | None:
        return fault if seen.page == 1 and seen.attempt == 2 else None

    async with Sandbox(quota=FAST, faults=second_time) as sandbox:
        finding = (await examined(sandbox))[assumption]
    assert finding.verdict is Verdict.DIFFERS
    assert came in finding.came
    assert finding.advice


@pytest.mark.parametrize(("groups", "requests"), [(95, [1, 4, 1]), (31, [1, 2, 1]), (30, [1, 1]), (0, [1, 1])])
async def test_a_server_as_documented_holds_in_two_or_three_requests(groups: int, requests: list[int]) -> None:
    async with Sandbox(groups=groups, quota=FAST) as sandbox:
        findings = (await examined(sandbox)).values()
        assert [request.page for request in sandbox.requests] == requests
    assert not [finding for finding in findings if finding.verdict is Verdict.DIFFERS]
    unseen = {finding.assumption for finding in findings if finding.verdict is Verdict.NOT_SEEN}
    assert len(unseen) == 1 + (0 if groups > 30 else 2 if groups else 5)


@pytest.mark.parametrize(
    "fault", [Fault(body='{"result": ' + "[" * 1000, attempts=None), Fault(body=b"\xff\xfe", attempts=None)]
)
async def test_a_body_that_is_none_is_judged_too(fault: Fault) -> None:
    async with Sandbox(quota=FAST, faults=[fault]) as sandbox:
        findings = await examined(sandbox)
    assert findings["the envelope holds code, message and result"].verdict is Verdict.DIFFERS


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
def test_whatever_comes_is_judged(came: list[tuple[int, Any, int]]) -> None:
    answers = [Answer(page, status, {"date": "?"}, orjson.dumps(envelope), 0.0) for page, envelope, status in came]
    findings = judge(answers, (151,))
    assert all(finding.advice for finding in findings if finding.verdict is Verdict.DIFFERS)


async def test_groups_that_are_asked_for_and_not_listed_are_seen() -> None:
    async with Sandbox(groups=3, quota=FAST) as sandbox:
        findings = await examined(sandbox, groups=(151, 99999))
    assert "99999" in findings["groups without clicks are left out, or listed with 0"].came


async def test_groups_that_were_not_asked_for_are_a_difference() -> None:
    assumption = "no groups are listed but those asked for"
    async with Sandbox(groups=3, quota=FAST) as sandbox:
        assert (await examined(sandbox, groups=(151, 207)))[assumption].verdict is Verdict.HELD
    async with Sandbox(groups=3, quota=FAST, faults=[Fault(change=in_record(grpIdx=9), attempts=None)]) as sandbox:
        finding = (await examined(sandbox, groups=(151, 207)))[assumption]
    assert (finding.verdict, finding.came) == (Verdict.DIFFERS, "grpIdx 9 was not asked for")
    assert "--groups" in finding.advice


def test_a_group_that_came_twice_the_first_time_only_is_said() -> None:
    first, again = ([{"grpIdx": group} for group in groups] for groups in ((1, 1), (1, 2)))
    answers = [
        Answer(1, 200, {}, orjson.dumps({"code": 0, "result": {"extra": {}, "list": rows}}), 0.0)
        for rows in (first, again)
    ]
    (finding,) = (finding for finding in judge(answers) if finding.assumption == "a group is listed once")
    assert (finding.verdict, finding.came) == (Verdict.DIFFERS, "grpIdx 1 twice")


async def test_what_the_client_cannot_take_differs_though_each_assumption_holds(point_at: PointAt) -> None:
    """A number beyond 64 bits is whole, and refused all the same."""
    faults = [Fault(change=in_record(acesCnt=2**64 - 1), attempts=None)]
    async with Sandbox(quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert result.exit_code == 1
    assert re.search(
        r"^differs +this client reads what comes: 2025-01-03 page 1: result.list\[1\]", result.stdout, re.M
    )
    assert "1 differs" in result.stderr


def test_the_command_says_beforehand_what_it_costs_and_all_is_held_by_the_sandbox() -> None:
    result = call("doctor", DATE, "--sandbox")
    assert result.exit_code == 0
    first, last = result.stderr.splitlines()
    assert first == "asking about 2025-01-03: two requests, or 3 if there is more than one page"
    assert last == "21 held, 0 differs, 1 not seen; 3 requests"
    assert all(line.startswith(("held  ", "not seen  no groups", "      ")) for line in result.stdout.splitlines())


async def test_the_command_fails_where_something_differs_and_says_what_to_set(point_at: PointAt) -> None:
    faults = [Fault(change=in_record(acesCnt="181"), headers={"X-RateLimit-Limit": "60"}, attempts=None)]
    async with Sandbox(quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert result.exit_code == 1
    assert re.search(r"^differs +records hold whole numbers, and a name: result.list\[1\].acesCnt", result.stdout, re.M)
    assert "--check warn" in result.stdout
    assert "--quota N/SECONDS" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("19 held, 2 differs")


async def test_a_wrong_key_is_a_finding_after_one_request(point_at: PointAt) -> None:
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE, "--api-key-file", "-", stdin="wrong")
        assert len(sandbox.requests) == 1
    assert result.exit_code == 1
    assert "HTTP 401" in result.stdout
    assert "check the API key" in result.stdout


async def test_a_key_that_the_server_echoes_is_not_shown(point_at: PointAt) -> None:
    async with Sandbox(quota=FAST, faults=[Fault(body="<html>sandbox-key</html>", attempts=None)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert "<html>***</html>" in result.stdout
    assert sandbox.api_key not in result.output


async def test_a_pause_of_the_quota_is_an_error_and_nothing_is_sent(point_at: PointAt) -> None:
    async with Sandbox(quota=FAST, faults=[Fault(retry_after=4000)]) as sandbox:
        point_at(sandbox)
        first = await call_beside("doctor", DATE)
        second = await call_beside("doctor", DATE)
        assert len(sandbox.requests) == 1
    assert (first.exit_code, "HTTP 429" in first.stdout) == (1, True)
    assert (second.exit_code, second.stdout) == (1, "")
    assert "error: " in second.stderr


async def test_without_an_answer_it_is_an_error(point_at: PointAt) -> None:
    async with Sandbox(quota=FAST, faults=[Fault(reset=True)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
