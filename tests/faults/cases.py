"""What a fault must come to: the right error, and the right number of requests at the server."""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import attrs

from clicksgroup import ClicksClient, ClicksGroupError, Quota, RequestError, RetryPolicy
from tests.raw_server import RawServer, Response

KEY = "K3y/9f8e7d6c-never-to-be-seen"
DATE = "2025-01-03"
ATTEMPTS = 3
FAST = RetryPolicy(attempts=ATTEMPTS, backoff=0.001, max_backoff=0.002, deadline=60)

Read = Callable[[ClicksClient], Awaitable[object]]


async def one_page(client: ClicksClient) -> object:
    return await client.page(DATE)


async def whole_day(client: ClicksClient) -> object:
    return await client.day(DATE)


async def all_clicks(client: ClicksClient) -> object:
    return [record async for record in client.clicks(DATE)]


@attrs.frozen
class Case:
    """A fault and the error that the client must raise for it.

    Args:
        name: names the fault in the list of tests.
        response: what the server sends, whatever the request.
        error: the type of the error.
        says: texts that the message must contain.
        never_says: texts that the message must not contain.
        attrs: further attributes of the error.
        timeout: seconds for one attempt; short where the server keeps the client waiting.
    """

    name: str
    response: Response
    error: type[RequestError]
    says: Sequence[str] = ()
    never_says: Sequence[str] = ()
    attrs: dict[str, object] = attrs.field(factory=dict)
    timeout: float = 10.0

    def check(self, error: RequestError, attempts: int) -> None:
        """The error is the expected one, names date and page, shows no key and pickles."""
        assert type(error) is self.error, repr(error)
        assert error.attempts == attempts
        assert (str(error.date), error.page) == (DATE, 1)
        text = str(error)
        assert text.startswith(f"{DATE} page 1: ")
        assert all(part in text for part in self.says), text
        # A port may hold any digits.
        without_port = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)
        assert not any(part in without_port for part in self.never_says), text
        for name, value in self.attrs.items():
            assert getattr(error, name) == value, name
        assert_holds_no_key(error)
        assert_pickles(error)


def named(cases: Sequence[Any]) -> dict[str, Any]:
    """Arguments of `pytest.mark.parametrize`: the cases, with their names as ids."""
    return {"argvalues": list(cases), "ids": [case.name for case in cases]}


def client_of(server: RawServer, **settings: Any) -> ClicksClient:
    return ClicksClient(
        KEY, base_url=server.url, plan="business", **{"quota": Quota(in_flight=2), "retry": FAST, **settings}
    )


async def failure_of(server: RawServer, read: Read = one_page, **settings: Any) -> RequestError:
    """The error that the client raises. It counts exactly the requests that the server saw."""
    async with client_of(server, **settings) as client:
        try:
            got = await read(client)
        except ClicksGroupError as error:
            caught = error
        else:
            raise AssertionError(f"no error, but {got!r}")
        # Another page of the date may be on its way.
        await server.wait_for(client.stats.requests)
        assert client.stats.requests == len(server.requests)
    assert isinstance(caught, RequestError)
    return caught


def assert_holds_no_key(error: BaseException, key: str = KEY) -> None:
    """The key is in nothing that a log or a report could show of the error."""
    shown = shown_by_traceback(error)
    link: BaseException | None = error
    while link is not None:
        shown += [repr(link), str(link), repr(link.args), repr(vars(link)), repr(getattr(link, "__notes__", ()))]
        # This one holds the request, whose headers hold the key.
        assert not isinstance(link, aiohttp.ClientResponseError)
        assert link.__cause__ is None or link.__context__ is None
        link = link.__cause__ or link.__context__
    found = [text for text in shown if key in text]
    assert not found, found
    assert key.encode() not in pickle.dumps(error)


def shown_by_traceback(error: BaseException) -> list[str]:
    """A traceback with its locals; those of the tests are left out, since the tests know the key."""
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = []
    while captured is not None:
        shown += [repr((frame, frame.locals)) for frame in captured.stack if "/tests/" not in frame.filename]
        shown += captured.format_exception_only()
        captured = captured.__cause__ or captured.__context__  # type: ignore[assignment]
    return shown


def assert_pickles(error: ClicksGroupError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.args, vars(back)) == (type(error), str(error), error.args, vars(error))
