"""The key is on the wire and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import logging
import pickle
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import attrs
import pytest

from clicksgroup import (
    APIError,
    ClicksClient,
    ClicksGroupError,
    ConfigurationError,
    DecodeError,
    ForbiddenError,
    PaginationWarning,
    Quota,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StatusError,
    TransportError,
)
from clicksgroup.settings import Secret
from tests.faults.cases import (
    KEY,
    assert_holds_no_key,
    assert_pickles,
    client_of,
    one_page,
    shown_by_traceback,
    whole_day,
)
from tests.faults.raw import CLOSE, RESET, SILENCE, Answer, Asked, RawServer, dumps, envelope, http

ECHO = f"X-Key: {KEY}"
ALSO_JSON = json.dumps(KEY).replace("/", "\\/").encode()  # as PHP writes it
CHUNKED = "Transfer-Encoding: chunked"


def field(name: str, value: object) -> bytes:
    page = envelope()
    page["result"]["list"][1][name] = value
    return dumps(page)


ECHOES: dict[str, tuple[Answer, type[ClicksGroupError]]] = {
    "in a body that is no JSON": (http(f"<p>{KEY}</p>".encode(), 200, ECHO), DecodeError),
    "in a body that is no JSON, written as JSON": (http(b"[" + ALSO_JSON, 200, ECHO), DecodeError),
    "in a body that is no JSON, written as a URL": (http(urllib.parse.quote(KEY, "").encode()), DecodeError),
    "in the text of a 500": (http(f"<p>{KEY}</p>".encode(), f"500 {KEY}", ECHO), ServerError),
    "in the reason of a 404": (http(b"", f"404 {KEY}", ECHO), StatusError),
    "in the message of a 403": (http(dumps({"message": f"key {KEY} may not"}), 403), ForbiddenError),
    "in the message of a 429": (http(b'{"message": ' + ALSO_JSON + b"}", f"429 {KEY}", ECHO), RateLimitError),
    "in the message of an envelope": (http(dumps({"code": 3, "message": f"no such key: {KEY}"})), APIError),
    "in the middle of a long message": (http(dumps({"code": 3, "message": "x" * 190 + KEY * 9})), APIError),
    "in a message, written as PHP does": (http(b'{"code": 3, "message": ' + ALSO_JSON + b"}"), APIError),
    "in a message of a 302": (http(dumps({"code": 3, "message": KEY}), 302, f"Location: /?{KEY}"), APIError),
    "in a field of the wrong type": (http(field("acesCnt", KEY), 200, ECHO), DecodeError),
    "in a name, where another field is wrong": (http(field("acesCnt", KEY)), DecodeError),
    "in nextYn": (http(dumps(envelope(nextYn=KEY))), ClicksGroupError),
    "in the status line": ([http(b"", KEY), CLOSE], ClicksGroupError),
    "in a status line that is none": ([f"{KEY} {KEY}\r\n\r\n".encode(), CLOSE], TransportError),
    "in a malformed header": ([f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(), CLOSE], TransportError),
    "in the size of a chunk": ([http(KEY.encode() + b"\r\n", 200, CHUNKED, ECHO), CLOSE], TransportError),
    "in a head that is cut": ([f"HTTP/1.1 200 OK\r\n{ECHO}\r\n".encode(), CLOSE], TransportError),
    "in a head that is reset": ([f"HTTP/1.1 200 OK\r\n{ECHO}\r\n".encode(), RESET], TransportError),
    "in a body that is cut": ([http(KEY.encode(), 200, ECHO, length=999), CLOSE], TransportError),
    "in a body that does not come": ([http(KEY.encode(), 200, ECHO, length=999), SILENCE], TransportError),
    "in a body that is too large": ([http(KEY.encode(), 200, ECHO, length=2**30), SILENCE], DecodeError),
    "in the encoding": (http(b"xx", 200, "Content-Encoding: gzip", f"Content-Type: {KEY}"), TransportError),
}


@pytest.fixture
def told() -> Iterator[Callable[[], str]]:
    """Everything that is logged at DEBUG, by anybody, the records' own attributes included."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lambda: "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in records)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.mark.parametrize("ask", [one_page, whole_day])
@pytest.mark.parametrize(("answer", "expected"), ECHOES.values(), ids=ECHOES)
async def test_a_server_that_echoes_the_key_puts_it_into_no_error_log_or_warning(
    answer: Answer, expected: type[ClicksGroupError], ask: Callable[[ClicksClient], Any], told: Callable[[], str]
) -> None:
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with RawServer([answer]) as server, client_of(server, timeout=0.2) as client:
            with pytest.raises(expected) as caught:
                await ask(client)
        gc.collect()
    assert_holds_no_key(caught.value)
    assert_pickles(caught.value)
    assert KEY not in told()
    assert "attempt 1" in told()
    assert KEY not in "".join(str(warning) for warning in warned)


async def test_no_part_of_a_key_is_shown_where_a_text_is_cut() -> None:
    for before in range(170, 200):
        message = "x" * before + KEY
        async with RawServer([http(dumps({"code": 3, "message": message}))]) as server, client_of(server) as client:
            with pytest.raises(APIError) as caught:
                await client.page("2025-01-03")
        assert KEY[:5] not in str(caught.value)


def everything_in(client: ClicksClient, stream: object) -> list[object]:
    """All objects of this package that hang together with a client."""
    found: dict[int, object] = {}
    todo: list[object] = [client, stream]
    while todo:
        thing = todo.pop()
        if id(thing) in found or not type(thing).__module__.startswith("clicksgroup"):
            continue
        found[id(thing)] = thing
        parts: list[Any] = [
            getattr(thing, name, None) for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())
        ]
        parts += getattr(thing, "__dict__", {}).values()
        for part in parts:
            todo += list(part) if isinstance(part, (list, tuple, set)) or type(part).__name__ == "deque" else [part]
    return list(found.values())


async def test_no_object_shows_the_key() -> None:
    async with RawServer([[SILENCE]]) as server, client_of(server) as client:
        stream = client.clicks(["2025-01-03", "2025-01-04"])
        reader = asyncio.ensure_future(anext(stream))
        await server.wait_for(2)
        objects = everything_in(client, stream)
        names = {type(thing).__name__ for thing in objects}
        assert {"ClicksClient", "Stream", "Prefetcher", "Worker", "Fetcher", "Transport", "Secret", "Decoder"} <= names
        for thing in objects:
            if not isinstance(thing, Secret):
                assert KEY not in str(thing)
            assert KEY not in repr(thing)
            assert KEY not in repr(getattr(thing, "__dict__", None))
            if attrs.has(type(thing)):
                assert KEY not in repr(attrs.asdict(thing, recurse=False))  # type: ignore[arg-type]
        assert KEY not in repr(asyncio.all_tasks())
        assert KEY not in "".join(repr(task.get_stack()) for task in asyncio.all_tasks())
        for request in server.requests:
            assert request.header("Authorization") == [f"APIKey {KEY}"]
        reader.cancel()
        await asyncio.wait([reader])


async def test_no_trace_shows_the_key() -> None:
    seen: list[str] = []
    config = aiohttp.TraceConfig()

    async def note(session: object, context: object, params: object) -> None:
        seen.append(f"{params!r} {vars(params) if hasattr(params, '__dict__') else ''!r} {params}")

    for name in dir(config):
        if name.startswith("on_"):
            getattr(config, name).append(note)
    answers: list[Answer] = [http(b"", 500), [RESET], http(dumps(envelope()))]
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as session,
        RawServer(answers) as server,
        client_of(server, session=session) as client,
    ):
        await client.page("2025-01-03")
    assert any("TraceRequestHeadersSentParams" in text for text in seen)
    assert any("TraceRequestExceptionParams" in text for text in seen)
    assert not [text for text in seen if KEY in text]


async def test_an_error_of_a_middleware_of_the_session_shows_no_key() -> None:
    class RefusedError(Exception):
        """Somebody else's error."""

    async def refuse(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await handler(request)
        raise RefusedError

    async with (
        RawServer([http(dumps(envelope()))]) as server,
        aiohttp.ClientSession(middlewares=[refuse]) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(RefusedError) as caught:
            await client.page("2025-01-03")
    assert not [text for text in shown_by_traceback(caught.value) if KEY in text]


async def test_a_warning_shows_no_key() -> None:
    digits = "1234567890123"
    page = envelope()
    page["result"]["list"][1]["acesCnt"] = digits
    async with (
        RawServer([http(dumps(page))]) as server,
        ClicksClient(digits, base_url=server.url, check="warn") as client,
    ):
        with pytest.warns(PaginationWarning) as warned:
            day = await client.day("2025-01-03")
    assert day.records[1].clicks == int(digits)
    assert digits not in str(warned[0].message)
    assert digits not in repr(day.problems)


@pytest.mark.parametrize("key", ["k", "key", "Group", '"', "Group 2", "acesCnt", "result"])
async def test_a_key_that_is_part_of_the_data_leaves_the_data_alone(key: str) -> None:
    async with RawServer([http(dumps(envelope()))]) as server, ClicksClient(key, base_url=server.url) as client:
        day = await client.day("2025-01-03")
    assert [record.group_name for record in day] == ["Group 1", "Group 2", "Group 3"]


@pytest.mark.parametrize("where", ["api_key", "user_agent", "language"])
@pytest.mark.parametrize(
    "value",
    ["a\rb", "a\nb", "a\r\nX: y", "a\0b", "키", "clé", " a", "a ", "\ta", "a\u2028b", "a\x7fb", "", " "],
    ids=ascii,
)
def test_a_header_that_cannot_be_sent_is_refused_before_any_connection(where: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=where) as caught:
        ClicksClient(**{"api_key": "key", where: value})  # type: ignore[arg-type]
    assert value.strip() == "" or value not in str(caught.value)
    assert_pickles(caught.value)


@pytest.mark.parametrize("key", [KEY + "\n", " " + KEY, KEY + "\r\nX: y", "\0" + KEY, KEY + "키"], ids=ascii)
def test_a_key_that_is_refused_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        ClicksClient(key)
    assert_holds_no_key(caught.value)
    monkeypatch.setenv("CLICKSGROUP_API_KEY", key.replace("\0", "\n"))
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        ClicksClient()
    assert_holds_no_key(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"plan": "gold"},
        {"base_url": "ftp://x"},
        {"user_agent": "a\n"},
        {"timeout": -1},
        {"check": "maybe"},
        {"quota": 7},
        {"retry": None},
    ],
    ids=str,
)
def test_a_good_key_is_not_shown_where_something_else_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, TypeError)) as caught:
        ClicksClient(KEY, **wrong)
    assert not [text for text in shown_by_traceback(caught.value) if KEY in text]


def test_a_secret_is_hidden_in_whatever_way_it_is_written() -> None:
    secret = Secret('a/b"c d&é')
    for text in (str(secret), json.dumps(str(secret)), urllib.parse.quote(secret), urllib.parse.quote(secret, "")):
        assert secret.redact(f"<{text}>").count("***") == 1
    assert repr(secret) == "'***'"
    assert repr([secret]) == "['***']"
    assert html.escape(secret) != str(secret)


def test_a_client_with_its_key_is_not_pickled_by_accident() -> None:
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(ClicksClient(KEY))


FAST = RetryPolicy(attempts=1)


async def test_a_refused_pause_shows_no_key() -> None:
    def answer(asked: Asked) -> Answer:
        return http(b"", f"429 {KEY}", "Retry-After: 9999", ECHO)

    async with RawServer(answer) as server, client_of(server, retry=FAST, quota=Quota(in_flight=2)) as client:
        for _ in range(2):
            with pytest.raises(RateLimitError) as caught:
                await client.page("2025-01-03")
            assert_holds_no_key(caught.value)
        assert len(server.requests) == 1
