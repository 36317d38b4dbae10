"""Faults of the body: text that is not JSON may have been cut on its way, JSON of the wrong shape was not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import DecodeError, GroupClicks, PaginationWarning, RequestError
from clicksgroup.arguments import MAX_COUNT
from clicksgroup.protocol.decoding import was_cut
from clicksgroup.protocol.error_responses import SNIPPET_LENGTH
from tests.faults.cases import ATTEMPTS, DATE, Case, client_of, failure_of, named, one_page, whole_day
from tests.pages import dumps, envelope
from tests.raw_server import RawServer, http

WHOLE = dumps(envelope())
MISSING = object()

CUT = [
    Case("nothing", http(b""), DecodeError, ["nothing"]),
    Case("white space", http(b" \n\t "), DecodeError, ["nothing"]),
    Case("without its last byte", http(WHOLE[:-1]), DecodeError, ["cut on its way"]),
    Case("after its first byte", http(WHOLE[:1]), DecodeError),
    Case("inside a name", http(WHOLE[: WHOLE.index(b"Group 2") + 3]), DecodeError),
    Case("inside a character", http('{"code": 0, "message": "가'.encode()[:-1]), DecodeError),
    Case("after a backslash", http(b'{"code": 0, "message": "\\'), DecodeError),
]
NOT_JSON = [
    Case(
        "HTML",
        http(b"<html><body>Maintenance</body></html>"),
        DecodeError,
        ["expected a JSON envelope", "<html>", "does base_url name the API"],
    ),
    Case("UTF-16", http(WHOLE.decode().encode("utf-16")), DecodeError),
    Case("invalid UTF-8", http(WHOLE.replace(b"Group 2", b"Gr\xff 2")), DecodeError),
    Case("NaN", http(WHOLE.replace(b'"acesCnt": 4', b'"acesCnt": NaN')), DecodeError),
    Case("infinity", http(WHOLE.replace(b'"acesCnt": 4', b'"acesCnt": Infinity')), DecodeError),
    Case("nested 100,000 deep", http(b"[" * 100_000 + b"]" * 100_000), DecodeError),
    Case("objects 100,000 deep", http(b'{"a":' * 100_000 + b"0" + b"}" * 100_000), DecodeError),
    Case("two objects", http(WHOLE + WHOLE), DecodeError),
    Case("binary", http(bytes(range(256))), DecodeError),
    Case("a single quote", http(b"{'code': 0}"), DecodeError),
]


def check_not_json(case: Case, error: RequestError, attempts: int) -> None:
    case.check(error, attempts=attempts)
    assert isinstance(error, DecodeError)
    assert error.field == ""
    assert len(error.snippet) <= SNIPPET_LENGTH + 1
    assert len(str(error)) < 2000


@pytest.mark.parametrize("case", **named(CUT))
async def test_cut_is_retried(case: Case) -> None:
    """A body that was cut on its way is asked for again, and at last the error shows its beginning."""
    async with RawServer([case.response]) as server:
        check_not_json(case, await failure_of(server), ATTEMPTS)
        assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("case", **named(NOT_JSON))
async def test_not_json_is_raised_at_once(case: Case) -> None:
    """A whole body that is not JSON, from a server that never gave a good answer: base_url is wrong."""
    async with RawServer([case.response]) as server:
        error = await failure_of(server)
        check_not_json(case, error, 1)
        assert error.stops_all
        assert len(server.requests) == 1


@pytest.mark.parametrize("case", **named(NOT_JSON))
async def test_not_json_is_retried(case: Case) -> None:
    """From a server that has given a good answer it is a maintenance page, which passes."""
    async with RawServer([http(WHOLE), case.response]) as server, client_of(server) as client:
        await client.day(DATE)
        with pytest.raises(DecodeError) as caught:
            await client.day(DATE)
        check_not_json(case, caught.value, ATTEMPTS)
        assert (caught.value.retryable, caught.value.stops_all) == (True, False)


@pytest.mark.parametrize("case", **named(CUT))
async def test_cut_once(case: Case) -> None:
    """One bad body costs one request, and the data are complete."""
    async with RawServer([case.response, http(WHOLE)]) as server, client_of(server) as client:
        assert [record.group_id for record in await client.day(DATE)] == [1, 2, 3]
        assert len(server.requests) == client.stats.requests == 2


@given(st.integers(0, len(WHOLE) - 1))
def test_every_beginning_of_json_was_cut(length: int) -> None:
    """Wherever a body is cut, also inside a character or an escape."""
    text = WHOLE.replace(b"Group 2", "가나 \\ud83d\\ude00 \\\\".encode())
    assert was_cut(text[:length])
    assert not was_cut(text)


async def test_byte_order_mark() -> None:
    """A byte order mark before the body is skipped."""
    async with RawServer([http(b"\xef\xbb\xbf" + WHOLE)]) as server, client_of(server) as client:
        assert len(await client.day(DATE)) == 3


@pytest.mark.parametrize("check", ["strict", "warn"])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"half \ud83d", "half \ufffd"),
        (rb"\ude00 half", "\ufffd half"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\\ud83d", "\\ud83d"),
        (rb"\\\ud83d", "\\\ufffd"),
    ],
)
async def test_lone_surrogates(written: bytes, read: str, check: Literal["strict", "warn"]) -> None:
    """Half an emoji, which cut-off names hold, is read as U+FFFD in one request; whole ones stay."""
    body = WHOLE.replace(b"Group 2", written)
    async with RawServer([http(body)]) as server, client_of(server, check=check) as client:
        assert [record.group_name for record in await client.day(DATE)] == ["Group 1", read, "Group 3"]
        assert len(server.requests) == 1


# By name: a wrong value, and how the message shows it.
NOT_WHOLE: dict[str, tuple[object, str]] = {
    "a string": ("181", '"181"'),
    "a word": ("many", '"many"'),
    "true": (True, "true"),
    "a float": (181.0, "181.0"),
    "a fraction": (181.7, "181.7"),
    "null": (None, "null"),
    "negative": (-1, "-1"),
    "a list": ([1, 2], "a list of 2"),
    "an object": ({"a": 1}, "an object of 1"),
    "2^63": (2**63, str(2**63)),
    "2^64": (2**64, "1.8446744073709552e+19"),
    "missing": (MISSING, "is missing"),
}
NOT_TEXT: dict[str, tuple[object, str]] = {
    "a number": (181, "181"),
    "true": (True, "true"),
    "null": (None, "null"),
    "a list": ([], "a list of 0"),
    "an object": ({}, "an object of 0"),
    "missing": (MISSING, "is missing"),
}
NOT_AN_OBJECT: dict[str, tuple[object, str]] = {
    "a string": ("text", '"text"'),
    "true": (True, "true"),
    "a number": (7, "7"),
    "null": (None, "null"),
    "a list": ([], "a list of 0"),
    "missing": (MISSING, "is missing"),
}
NOT_A_LIST = {**NOT_AN_OBJECT, "a list": ({}, "an object of 0")}


def changed(path: list[str | int], value: object) -> bytes:
    """A correct page with one value changed."""
    page: Any = envelope(total=5)
    holder = page
    for step in path[:-1]:
        holder = holder[step]
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return dumps(page)


def written(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def shapes() -> Iterator[tuple[str, bytes, str, str, str]]:
    """For each value that can have the wrong type: a name, the body, the field, what is expected, what came."""
    wrong: list[tuple[list[str | int], dict[str, tuple[object, str]], str]] = [
        (["result"], NOT_AN_OBJECT, "an object"),
        (["result", "extra"], NOT_AN_OBJECT, "an object"),
        (["result", "list"], NOT_A_LIST, "a list"),
        (["result", "list", 3], {name: wrong for name, wrong in NOT_AN_OBJECT.items() if name != "missing"}, "an obj"),
        (["result", "extra", "nextYn"], NOT_TEXT, "a string"),
        (["result", "list", 3, "grpNm"], NOT_TEXT, "a string"),
        (["result", "extra", "pages"], NOT_WHOLE, "a whole number"),
        (["result", "extra", "count"], NOT_WHOLE, "a whole number"),
        (["result", "extra", "totalCount"], NOT_WHOLE, "a whole number"),
        (["result", "list", 3, "grpIdx"], NOT_WHOLE, "a whole number"),
        (["result", "list", 3, "acesCnt"], NOT_WHOLE, "a whole number"),
        (["result", "list", 3, "pernCnt"], NOT_WHOLE, "a whole number"),
        (
            ["result", "extra", "nextPages"],
            {name: wrong for name, wrong in NOT_WHOLE.items() if name not in ("null", "missing")},
            "a whole number",
        ),
    ]
    for path, values, expected in wrong:
        for name, (value, shown) in values.items():
            yield f"{written(path)} {name}", changed(path, value), written(path), expected, shown
    for name in ("a string", "true", "a float", "a fraction", "null", "a list", "an object", "2^64", "missing"):
        value, shown = NOT_WHOLE[name]
        yield f"code {name}", changed(["code"], value), "code", "a whole number", shown
    for name, body, shown in [
        ("null", b"null", "null"),
        ("a list", b"[1]", "a list of 1"),
        ("a string", b'"text"', '"text"'),
        ("a number", b"7", "7"),
        ("true", b"true", "true"),
    ]:
        yield f"top-level {name}", body, "$", "an object", shown


SHAPES = list(shapes())


@pytest.mark.parametrize(("body", "field", "expected", "came"), [s[1:] for s in SHAPES], ids=[s[0] for s in SHAPES])
async def test_wrong_type(body: bytes, field: str, expected: str, came: str) -> None:
    """JSON of the wrong shape would come again: raise it at once, with the path of the field."""
    async with RawServer([http(body)]) as server:
        error = await failure_of(server)
        Case("", b"", DecodeError, [field, f"expected {expected}", came]).check(error, attempts=1)
        assert isinstance(error, DecodeError)
        assert error.field == field
        assert error.snippet == body.decode()[:SNIPPET_LENGTH] + ("…" if len(body) > SNIPPET_LENGTH else "")
        assert len(server.requests) == 1


async def test_largest_numbers() -> None:
    """Numbers are exact up to the largest that is accepted."""
    page = envelope(total=2)
    page["result"]["list"][0].update(grpIdx=MAX_COUNT, acesCnt=MAX_COUNT - 1, pernCnt=0, grpNm="")
    async with RawServer([http(dumps(page))]) as server, client_of(server) as client:
        first = (await client.page(DATE)).records[0]
        assert (first.group_id, first.clicks, first.unique_users, first.group_name) == (MAX_COUNT, MAX_COUNT - 1, 0, "")


def with_message(value: object) -> bytes:
    page = envelope()
    if value is MISSING:
        del page["message"]
    else:
        page["message"] = value
    return dumps(page)


def with_more() -> bytes:
    page = envelope()
    page["requestId"] = "x"
    page["result"]["more"] = [1]
    page["result"]["extra"]["size"] = 30
    page["result"]["list"][1]["grpClr"] = "red"
    return dumps(page)


def without_next() -> bytes:
    page = envelope()
    del page["result"]["extra"]["nextPages"]
    return dumps(page)


ACCEPTED = {
    "as documented": http(WHOLE),
    "unknown fields": http(with_more()),
    "message absent": http(with_message(MISSING)),
    "message null": http(with_message(None)),
    "message a number": http(with_message(7)),
    "text/plain": http(WHOLE, 200, "Content-Type: text/plain; charset=euc-kr"),
    "text/html": http(WHOLE, 200, "Content-Type: text/html"),
    "no Content-Type": http(WHOLE),
    "indented": http(json.dumps(envelope(), indent=4).encode()),
    "status 201": http(WHOLE, 201),
    "nextPages null": http(dumps(envelope(nextPages=None))),
    "nextPages 0": http(dumps(envelope(nextPages=0))),
    "nextPages absent": http(without_next()),
    "nextPages its own": http(dumps(envelope(nextPages=1))),
    "nextPages the next": http(dumps(envelope(nextPages=2))),
}


@pytest.mark.parametrize("read", [one_page, whole_day])
@pytest.mark.parametrize("response", ACCEPTED.values(), ids=ACCEPTED)
async def test_accepted(response: bytes, read: Callable[[Any], Any]) -> None:
    """Variations that the vendor's documents leave open are accepted."""
    async with RawServer([response]) as server, client_of(server) as client:
        got = await read(client)
        assert [record.group_id for record in got.records] == [1, 2, 3]
        assert len(server.requests) == 1


ODD_ROW: list[str | int] = ["result", "list", 1]
CONVERTED: dict[str, tuple[list[str | int], object, str]] = {
    "a count as a string": ([*ODD_ROW, "acesCnt"], "4", 'result.list[*].acesCnt: a string taken as a number: "4"'),
    "a count as a float": (
        [*ODD_ROW, "acesCnt"],
        4.0,
        "result.list[*].acesCnt: a fraction taken as a whole number: 4.0",
    ),
    "an id as a string": ([*ODD_ROW, "grpIdx"], "2", 'result.list[*].grpIdx: a string taken as a number: "2"'),
    "a name that is null": ([*ODD_ROW, "grpNm"], None, "result.list[*].grpNm: a null taken as an empty text: null"),
    "totalCount": (["result", "extra", "totalCount"], "5", 'result.extra.totalCount: a string taken as a number: "5"'),
    "pages": (["result", "extra", "pages"], 1.0, "result.extra.pages: a fraction taken as a whole number: 1.0"),
    "nextPages": (["result", "extra", "nextPages"], "1", 'result.extra.nextPages: a string taken as a number: "1"'),
    "code": (["code"], "0", 'code: a string taken as a number: "0"'),
}


@pytest.mark.parametrize(("path", "value", "problem"), CONVERTED.values(), ids=CONVERTED)
async def test_converted(path: list[str | int], value: object, problem: str) -> None:
    """`check="warn"` takes a value that converts without loss, and reports it."""
    async with RawServer([http(changed(path, value))]) as server, client_of(server, check="warn") as client:
        with pytest.warns(PaginationWarning) as warned:
            day = await client.day(DATE)
        assert day.problems == (f"page 1: {problem}",)
        assert [str(warning.message) for warning in warned] == [f"{DATE} page 1: {problem}"]
        name = "" if value is None else "Group 2"
        assert day.records[1] == GroupClicks(day.date, 2, name, 4, 2)
        assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["181.5", "1e3", " 181", "-1", "", "٣", "9" * 19, 181.5, -1.0, 2.0**53, True, [181]])
async def test_not_converted(value: object) -> None:
    """`check="warn"` refuses a value that does not convert without loss."""
    async with RawServer([http(changed(["result", "list", 3, "acesCnt"], value))]) as server:
        error = await failure_of(server, check="warn")
        assert isinstance(error, DecodeError)
        assert error.field == "result.list[3].acesCnt"
        assert len(server.requests) == 1
