"""The API key is in the header of the request and nowhere else."""

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
from clicksgroup.quota import ledger
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
from tests.pages import dumps, envelope
from tests.raw_server import CLOSE, RESET, SILENCE, RawServer, Request, Response, http

ECHO = f"X-Key: {KEY}"
# As PHP writes it.
ALSO_JSON = json.dumps(KEY).replace("/", "\\/").encode()
CHUNKED = "Transfer-Encoding: chunked"


def field(name: str, value: object) -> bytes:
    page = envelope()
    page["result"]["list"][1][name] = value
    return dumps(page)


ECHOES: dict[str, tuple[Response, type[ClicksGroupError]]] = {
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
def logged() -> Iterator[Callable[[], str]]:
    """Everything that anybody logs at DEBUG, with the attributes of the records."""
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


@pytest.mark.parametrize("read", [one_page, whole_day])
@pytest.mark.parametrize(("response", "expected"), [pytest.param(*case, id=name) for name, case in ECHOES.items()])
async def test_echoed_key(
    response: Response,
    expected: type[ClicksGroupError],
    read: Callable[[ClicksClient], Any],
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that echoes the key puts it into no error, log or warning."""
    # What timed out keeps its place in flight for that time.
    monkeypatch.setattr(ledger, "ORPHAN_HOLD", 0.1)
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with RawServer([response]) as server, client_of(server, timeout=0.2) as client:
            with pytest.raises(expected) as caught:
                await read(client)
        gc.collect()
    assert_holds_no_key(caught.value)
    assert_pickles(caught.value)
    assert KEY not in logged()
    assert "attempt 1" in logged()
    assert KEY not in "".join(str(warning) for warning in warned)


async def test_cut_text() -> None:
    """Where a long text is cut, no part of the key is left."""
    for before in range(170, 200):
        message = "x" * before + KEY
        async with RawServer([http(dumps({"code": 3, "message": message}))]) as server, client_of(server) as client:
            with pytest.raises(APIError) as caught:
                await client.page("2025-01-03")
        assert KEY[:5] not in str(caught.value)


def everything_in(client: ClicksClient, stream: object) -> list[object]:
    """All objects of the package that a client and a stream refer to."""
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


async def test_objects() -> None:
    """No object of the package, no task and no stack shows the key."""
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


async def test_traces() -> None:
    """No trace of aiohttp shows the key."""
    seen: list[str] = []
    config = aiohttp.TraceConfig()

    async def note(session: object, context: object, params: object) -> None:
        seen.append(f"{params!r} {vars(params) if hasattr(params, '__dict__') else ''!r} {params}")

    for name in dir(config):
        if name.startswith("on_"):
            getattr(config, name).append(note)
    responses: list[Response] = [http(b"", 500), [RESET], http(dumps(envelope()))]
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as session,
        RawServer(responses) as server,
        client_of(server, session=session) as client,
    ):
        await client.page("2025-01-03")
    assert any("TraceRequestHeadersSentParams" in text for text in seen)
    assert any("TraceRequestExceptionParams" in text for text in seen)
    assert not [text for text in seen if KEY in text]


async def test_error_of_a_middleware() -> None:
    """The traceback of a middleware's own error does not show the key."""

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


async def test_warning() -> None:
    """A warning about a value that equals the key does not show it."""
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
async def test_key_in_the_data(key: str) -> None:
    """Data that contain the key are not changed."""
    async with RawServer([http(dumps(envelope()))]) as server, ClicksClient(key, base_url=server.url) as client:
        day = await client.day("2025-01-03")
    assert [record.group_name for record in day] == ["Group 1", "Group 2", "Group 3"]


@pytest.mark.parametrize("where", ["api_key", "user_agent"])
@pytest.mark.parametrize(
    "value",
    ["a\rb", "a\nb", "a\r\nX: y", "a\0b", "키", "clé", " a", "a ", "\ta", "a\u2028b", "a\x7fb", "", " "],
    ids=ascii,
)
def test_refused_header(where: str, value: str) -> None:
    """A header that cannot be sent is refused before any connection."""
    with pytest.raises(ConfigurationError, match=where) as caught:
        ClicksClient(**{"api_key": "key", where: value})  # type: ignore[arg-type]
    assert value.strip() == "" or value not in str(caught.value)
    assert_pickles(caught.value)


@pytest.mark.parametrize("key", [KEY + "\n", " " + KEY, KEY + "\r\nX: y", "\0" + KEY, KEY + "키"], ids=ascii)
def test_refused_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key is not shown."""
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        ClicksClient(key)
    assert_holds_no_key(caught.value)
    monkeypatch.setenv("CLICKSGROUP_API_KEY", key.replace("\0", "\n"))
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        ClicksClient()
    assert_holds_no_key(caught.value)


@pytest.mark.parametrize("key", [KEY.encode(), bytearray(KEY.encode()), [KEY]], ids=["bytes", "bytearray", "list"])
def test_key_of_another_type(key: Any) -> None:
    """A key that is no `str` is refused, and no local of the traceback shows it."""
    with pytest.raises(TypeError, match="api_key: expected a str") as caught:
        ClicksClient(key)
    assert not [text for text in shown_by_traceback(caught.value) if KEY in text]


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
def test_other_setting_refused(wrong: dict[str, Any]) -> None:
    """A good key is not shown where another setting is refused."""
    with pytest.raises((ConfigurationError, TypeError)) as caught:
        ClicksClient(KEY, **wrong)
    assert not [text for text in shown_by_traceback(caught.value) if KEY in text]


def test_redact() -> None:
    """A secret is redacted in every encoding."""
    secret = Secret('a/b"c d&é')
    for text in (str(secret), json.dumps(str(secret)), urllib.parse.quote(secret), urllib.parse.quote(secret, "")):
        assert secret.redact(f"<{text}>").count("***") == 1
    assert repr(secret) == "'***'"
    assert repr([secret]) == "['***']"
    assert html.escape(secret) != str(secret)


def test_no_pickle() -> None:
    """A client, which holds the key, does not pickle."""
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(ClicksClient(KEY))


FAST = RetryPolicy(attempts=1)


async def test_refused_pause() -> None:
    """The error of a pause that is too long does not show the key."""

    def respond(request: Request) -> Response:
        return http(b"", f"429 {KEY}", "Retry-After: 9999", ECHO)

    async with RawServer(respond) as server, client_of(server, retry=FAST, quota=Quota(in_flight=2)) as client:
        for _ in range(2):
            with pytest.raises(RateLimitError) as caught:
                await client.page("2025-01-03")
            assert_holds_no_key(caught.value)
        assert len(server.requests) == 1
