"""Faults: each kind, and which requests it hits."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest

FAST = Quota(in_flight=100)
DATE = "2025-01-03"
LATER = "Fri, 31 Dec 1999 23:59:59 GMT"
HTML = {"Content-Type": "text/html"}
Ask = Callable[..., Any]


async def statuses(ask: Ask, sandbox: Sandbox, *asked: tuple[str, int]) -> list[int]:
    return [(await ask(sandbox, ymd=date, pages=page)).status for date, page in asked]


async def test_match(ask: Ask) -> None:
    """A fault hits only its date, page and attempts."""
    async with Sandbox(quota=FAST, faults=[Fault(date=DATE, page=2, attempts=2, status=503)]) as sandbox:
        asked = [(DATE, 1), (DATE, 2), ("2025-01-04", 2), (DATE, 2), (DATE, 2), (DATE, 2)]
        assert await statuses(ask, sandbox, *asked) == [200, 503, 200, 503, 200, 200]
        assert [request.status for request in sandbox.requests] == [200, 503, 200, 503, 200, 200]


async def test_match_by_default(ask: Ask) -> None:
    """By default a fault hits the first attempt at every page."""
    async with Sandbox(quota=FAST, faults=[Fault(status=500)]) as sandbox:
        assert await statuses(ask, sandbox, (DATE, 1), (DATE, 2), (DATE, 1)) == [500, 500, 200]


async def test_all_attempts(ask: Ask) -> None:
    """`attempts=None` hits all attempts."""
    async with Sandbox(quota=FAST, faults=[Fault(status=500, attempts=None)]) as sandbox:
        assert await statuses(ask, sandbox, *[(DATE, 1)] * 5) == [500] * 5


async def test_first_match(ask: Ask) -> None:
    """The first fault that hits a request happens to it."""
    faults = [Fault(page=1, status=502), Fault(status=503, attempts=2)]
    async with Sandbox(quota=FAST, faults=faults) as sandbox:
        assert await statuses(ask, sandbox, (DATE, 1), (DATE, 1), (DATE, 1), (DATE, 2)) == [502, 503, 200, 503]


async def test_function(ask: Ask) -> None:
    """A function can decide for each request."""

    def second_attempt(seen: SeenRequest) -> Fault | None:
        return Fault(status=504) if seen.page == 2 and seen.attempt == 2 else None

    async with Sandbox(quota=FAST, faults=second_attempt) as sandbox:
        assert await statuses(ask, sandbox, (DATE, 2), (DATE, 2), (DATE, 2)) == [200, 504, 200]


async def test_quota(ask: Ask) -> None:
    """A request with a fault counts against the quota, and a rejected request uses up no fault."""
    async with Sandbox(quota=Quota((1, 1000), in_flight=1), faults=[Fault(status=503)]) as sandbox:
        assert await statuses(ask, sandbox, (DATE, 1), (DATE, 1), (DATE, 2)) == [503, 429, 429]
        assert [request.attempt for request in sandbox.requests] == [1, 0, 0]


@pytest.mark.parametrize(
    ("fault", "status", "body", "headers"),
    [
        (Fault(status=503), 503, b"503 Service Unavailable", {"Content-Type": "text/html; charset=utf-8"}),
        (Fault(status=599), 599, b"<h1>599</h1>", {}),
        (Fault(status=503, body=b""), 503, b"", {}),
        (Fault(status=302, headers={"Location": "/elsewhere"}), 302, b"Found", {"Location": "/elsewhere"}),
        (Fault(retry_after=7), 429, b"429", {"Retry-After": "7"}),
        (Fault(retry_after=LATER, status=503), 503, b"", {"Retry-After": LATER}),
        (Fault(body=b"\xff\xfe"), 200, b"\xff\xfe", {}),
        (Fault(body="한국", headers={"content-type": "text/html"}), 200, "한국".encode(), HTML),
        (Fault(headers={"X-RateLimit-Remaining": "3"}), 200, b'"code":0', {"X-RateLimit-Remaining": "3"}),
    ],
)  # fmt: skip
async def test_response(ask: Ask, fault: Fault, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Status, body and headers can be anything."""
    async with Sandbox(quota=FAST, faults=[fault]) as sandbox:
        answer = await ask(sandbox, ymd=DATE)
    assert answer.status == status
    assert body in answer.body
    assert {name: answer.headers.getall(name) for name in headers} == {n: [value] for n, value in headers.items()}


async def test_changed_envelope(ask: Ask) -> None:
    """An envelope can be changed, once."""

    def lie(envelope: dict[str, Any]) -> dict[str, Any]:
        envelope["result"]["extra"]["nextPages"] = 7
        return envelope

    async with Sandbox(31, quota=FAST, faults=[Fault(change=lie)]) as sandbox:
        lying, honest = [(await ask(sandbox, ymd=DATE)).json for _ in range(2)]
    assert lying["result"]["extra"]["nextPages"] == 7
    assert honest["result"]["extra"]["nextPages"] == 2
    assert lying["result"]["list"] == honest["result"]["list"]


async def test_changed_envelope_with_status(ask: Ask) -> None:
    """A changed envelope can come with a status."""
    fault = Fault(status=302, change=lambda envelope: {**envelope, "code": 5})
    async with Sandbox(quota=FAST, faults=[fault]) as sandbox:
        answer = await ask(sandbox, ymd=DATE)
    assert (answer.status, answer.json["code"]) == (302, 5)


@pytest.mark.parametrize("length", [0, 1, 100])
async def test_cut(length: int) -> None:
    """A cut body ends after so many bytes, and its length promises all of them."""
    async with Sandbox(quota=FAST, faults=[Fault(cut=length)]) as sandbox:
        head, body = await raw_response(sandbox)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert f"Content-Length: {len(await whole_body())}".encode() in head
    assert len(body) == length


async def test_cut_is_noticed(ask: Ask) -> None:
    """A client notices a cut body."""
    async with Sandbox(quota=FAST, faults=[Fault(cut=100)]) as sandbox:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(sandbox, ymd=DATE)
        assert (await ask(sandbox, ymd=DATE)).status == 200


async def test_reset(ask: Ask) -> None:
    """A reset connection gives no response and leaves nothing in flight."""
    async with Sandbox(quota=FAST, faults=[Fault(reset=True, attempts=None)]) as sandbox:
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(sandbox, ymd=DATE)
        assert {request.status for request in sandbox.requests} == {None}
        assert sandbox.in_flight == 0


async def test_delay(ask: Ask) -> None:
    """A delay comes before the response, and does not delay other requests."""
    faults = [Fault(page=1, delay=3600, status=503)]
    async with Sandbox(quota=FAST, faults=faults) as sandbox:
        slow = asyncio.create_task(ask(sandbox, ymd=DATE))
        await sandbox.wait_for_requests(1)
        assert (await ask(sandbox, ymd=DATE, pages=2)).status == 200
        assert not slow.done()
        slow.cancel()
        await asyncio.wait([slow])


def test_fault_is_a_value() -> None:
    """Faults are compared and hashed by their values."""
    assert Fault(date=DATE, status=503) == Fault(date=datetime.date(2025, 1, 3), status=503)
    assert len({Fault(status=503), Fault(status=503), Fault(status=503, headers={"a": "b"})}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"date": DATE, "page": 2},
        {"date": "3 January", "status": 503},
        {"page": 0, "status": 503},
        {"attempts": 0, "status": 503},
        {"cut": -1},
        {"delay": -1},
    ],
)
def test_useless_fault(wrong: dict[str, Any]) -> None:
    """A fault that does nothing, or cannot hit a request, is refused."""
    with pytest.raises(ConfigurationError):
        Fault(**wrong)


async def raw_response(sandbox: Sandbox) -> tuple[bytes, bytes]:
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /api/link/v1/clicks-by-group?ymd={DATE} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Acme\r\n"
        f"Authorization: APIKey {sandbox.api_key}\r\n\r\n".encode()
    )
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


async def whole_body() -> bytes:
    async with Sandbox(quota=FAST) as honest, aiohttp.ClientSession() as session:
        headers = {"User-Agent": "Acme", "Authorization": f"APIKey {honest.api_key}"}
        async with session.get(
            f"{honest.url}/api/link/v1/clicks-by-group", params={"ymd": DATE}, headers=headers
        ) as response:
            body = await response.read()
    assert json.loads(body)["code"] == 0
    return body
