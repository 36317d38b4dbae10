"""Outages: the data are complete in the end, and no request is wasted."""

from __future__ import annotations

import asyncio
import os
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from clicksgroup import (
    Day,
    DecodeError,
    PaginationError,
    PaginationWarning,
    Quota,
    RateLimitError,
    RequestError,
    RetryPolicy,
    ServerError,
    TransportError,
    date_range,
)
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.faults.cases import ATTEMPTS, DATE, FAST, client_of
from tests.pages import dumps, envelope, paged
from tests.raw_server import CLOSE, RESET, SILENCE, RawServer, Request, Response, http

SOAK_DATES = int(os.environ.get("CLICKSGROUP_SOAK_DATES", "300"))
PATIENT = RetryPolicy(attempts=100, backoff=0.0005, max_backoff=0.002)
MONTH = date_range("2025-01-01", "2025-01-30")
correct = paged(40)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("fault", [[CLOSE], [RESET], http(b"", 503), http(b"<html>")], ids=str)
async def test_outage_in_the_middle(fault: Response, ordered: bool) -> None:
    """The data are complete after an outage, and it costs one request for each failed response."""
    # The numbers of the requests that fail.
    down = range(20, 60)

    def respond(request: Request) -> Response:
        return fault if len(server.requests) in down else correct(request)

    in_flight = 4
    async with (
        RawServer(respond) as server,
        client_of(server, quota=Quota(in_flight=in_flight), retry=PATIENT) as client,
    ):
        got = [(str(r.date), r.group_id) async for r in client.clicks(MONTH, ordered=ordered)]
        assert client.stats.requests == len(server.requests) == 60 + len(down)
    assert sorted(got) == [(str(date), number) for date in MONTH for number in range(1, 41)]
    assert got == sorted(got) or not ordered
    failed = {(request.date, request.page) for request in server.requests[down.start - 1 : down.stop - 1]}
    # Those in flight when it began, and the one that sends the trial requests.
    assert len(failed) <= in_flight + 1


async def test_trial_requests() -> None:
    """While an outage lasts, one page alone sends trial requests, one at a time."""
    in_flight, begin = 4, 10
    trials: list[tuple[str, int]] = []
    open_together: set[int] = set()

    async def respond(request: Request) -> Response:
        if len(server.requests) < begin or len(trials) == 30:
            return correct(request)
        # The first failures are those of the requests that were in flight when the outage began.
        if len(server.requests) > begin + in_flight:
            trials.append((request.date, request.page))
            # A second trial request would arrive meanwhile.
            for _ in range(20):
                await asyncio.sleep(0)
                open_together.add(server.open)
        return http(b"", 503)

    async with (
        RawServer(respond) as server,
        client_of(server, quota=Quota(in_flight=in_flight), retry=PATIENT) as client,
    ):
        days = [day async for day in client.days(MONTH)]
        assert [len(day) for day in days] == [40] * 30
        assert client.stats.requests == len(server.requests)
    assert len(trials) == 30
    assert len(set(trials)) == 1
    assert open_together == {1}


async def test_server_starts_late() -> None:
    """A server that is not listening yet is waited for, and costs no request."""
    server = RawServer(correct)
    async with client_of(server, quota=Quota(in_flight=3), retry=PATIENT) as client:

        async def read() -> list[Day]:
            return [day async for day in client.days(MONTH)]

        reading = asyncio.create_task(read())
        while client.stats.retries < 10:
            await asyncio.sleep(0)
        async with server:
            days = await reading
    assert [len(day) for day in days] == [40] * 30
    assert client.stats.requests == len(server.requests) == 60


async def test_outage_without_end() -> None:
    """An outage that does not end raises the error of the first date, again and again."""
    async with RawServer([http(b"", 503)]) as server, client_of(server, quota=Quota(in_flight=4)) as client:
        stream = client.days(MONTH)
        for _ in range(2):
            with pytest.raises(ServerError, match="HTTP 503") as caught:
                await anext(stream)
        assert str(caught.value.date) == "2025-01-01"
        assert len(server.requests) == client.stats.requests <= 4 * ATTEMPTS


async def test_one_page_always_fails() -> None:
    """A page that always fails does not hold up the others."""

    def respond(request: Request) -> Response:
        return http(b"", 500) if request.date == "2025-01-02" else correct(request)

    async with RawServer(respond) as server, client_of(server, quota=Quota(in_flight=2)) as client:
        got: list[str] = []
        failed: list[str] = []
        async for date, outcome in client.day_outcomes(MONTH, fatal=lambda date, error: False):
            (failed if isinstance(outcome, RequestError) else got).append(str(date))
        assert failed == ["2025-01-02"]
        assert sorted(got) == [str(date) for date in MONTH if str(date) != "2025-01-02"]
        assert client.stats.requests == len(server.requests) == 29 * 2 + ATTEMPTS


async def test_deadline_in_an_outage() -> None:
    """A page that waits for the end of an outage gives up at its deadline, while a trial request gets no response.

    The other page gives up first, since an attempt as long as its last one would not end in time. That the trial
    request waits for quota before it is sent counts for neither.
    """

    async def respond(request: Request) -> Response:
        if len(server.requests) > 2:
            return [SILENCE]
        # How long an attempt takes.
        await asyncio.sleep(0.05)
        return http(b"", 503)

    policy = RetryPolicy(backoff=0.001, max_backoff=0.001, deadline=0.2)
    quota = Quota((2, 0.1), in_flight=2)
    async with RawServer(respond) as server, client_of(server, retry=policy, quota=quota) as client:
        reading = [asyncio.ensure_future(client.page(date)) for date in ("2025-01-01", "2025-01-02")]
        (first,), (second,) = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(first.exception(), ServerError)
        await asyncio.wait([second])
        # The failure before says more than that the deadline cut the last attempt.
        assert isinstance(second.exception(), ServerError)
        assert len(server.requests) == client.stats.requests == 3


async def test_trial_request_cancelled() -> None:
    """A cancelled trial request keeps its place in flight until it ends, so no other starts before."""
    responses: list[Response] = [http(b"", 503)] * 3
    async with (
        RawServer([*responses, [SILENCE], http(dumps(envelope()))]) as server,
        client_of(server, quota=Quota(in_flight=3), retry=PATIENT) as client,
    ):
        reading = {date: asyncio.ensure_future(client.page(date)) for date in ("2025-01-01", "2025-01-02")}
        await server.wait_for(4)
        trial = reading.pop(server.requests[3].date)
        trial.cancel()
        await asyncio.wait([trial])
        (other,) = reading.values()
        await asyncio.wait([other], timeout=0.2)
        assert not other.done()
        assert len(server.requests) == 4


FAULTY: list[Fault] = [
    Fault(status=500),
    Fault(status=503, body=""),
    Fault(retry_after=0),
    Fault(status=429),
    Fault(reset=True),
    Fault(cut=0),
    Fault(cut=300),
    Fault(body=""),
    Fault(body="<html>"),
    Fault(body='{"code": 0, "result": {'),
    Fault(body=b"\xff\xfe"),
]


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
async def test_soak(ordered: bool) -> None:
    """With every tenth response faulty the data are complete in the end."""
    dice = random.Random(7)

    def fault(seen: SeenRequest) -> Fault | None:
        return dice.choice(FAULTY) if dice.random() < 0.1 else None

    dates = date_range("2019-01-01", "2024-12-31")[:SOAK_DATES]
    in_flight = Quota(in_flight=4)
    async with Sandbox(groups=lambda date: date.day * 2, seed=3, quota=in_flight, faults=fault) as sandbox:
        async with sandbox.client(retry=PATIENT) as client:
            days = [day async for day in client.days(dates, ordered=ordered)]
        # A request that is sent just as the server closes its connection is never seen.
        unseen = client.stats.requests - len(sandbox.requests)
        assert 0 <= unseen <= SOAK_DATES / 20 < client.stats.retries
        assert [day.date for day in days] == list(dates) or not ordered
        assert {day.date: list(day) for day in days} == {date: sandbox.truth(date) for date in dates}


def moved(name: str, by: int) -> Callable[[dict[str, Any]], Any]:
    def change(page: dict[str, Any]) -> Any:
        page["result"]["extra"][name] += by
        return page

    return change


def without(*path: str) -> Callable[[dict[str, Any]], Any]:
    def change(page: dict[str, Any]) -> Any:
        holder: Any = page
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
        return page

    return change


@pytest.mark.parametrize(
    ("fault", "expected", "requests"),
    [
        (Fault(attempts=None, status=500), ServerError, 3),
        (Fault(attempts=None, status=429), RateLimitError, 3),
        (Fault(attempts=None, retry_after=3600), RateLimitError, 1),
        (Fault(attempts=None, reset=True), TransportError, 3),
        (Fault(attempts=None, cut=10), TransportError, 3),
        (Fault(attempts=None, delay=60), TransportError, 3),
        (Fault(attempts=None, body="<html>"), DecodeError, 1),
        (Fault(attempts=None, change=without("result", "extra")), DecodeError, 1),
        (Fault(attempts=None, change=without("code")), DecodeError, 1),
        (Fault(attempts=None, change=moved("pages", 1)), PaginationError, 1),
        (Fault(attempts=None, change=moved("count", 1)), PaginationError, 1),
        (Fault(attempts=None, page=2, change=moved("totalCount", 1)), PaginationError, 6),
        (Fault(attempts=None, page=1, change=moved("nextPages", 1)), PaginationError, 1),
    ],
    ids=lambda value: None if isinstance(value, int) else getattr(value, "__name__", ""),
)
async def test_sandbox_faults(fault: Fault, expected: type[RequestError], requests: int) -> None:
    """The sandbox can produce the same faults."""
    async with (
        Sandbox(groups=50, quota=Quota(in_flight=4), faults=[fault]) as sandbox,
        sandbox.client(retry=FAST, timeout=0.1 if fault.delay else 10) as client,
    ):
        with pytest.raises(expected):
            await client.day(DATE)
        assert client.stats.requests == len(sandbox.requests) == requests


async def test_sandbox_warning() -> None:
    """`check="warn"` reads a date of the sandbox whose total changes, and warns."""
    faults = [Fault(page=2, change=moved("totalCount", 1))]
    async with (
        Sandbox(groups=50, quota=Quota(in_flight=2), faults=faults) as sandbox,
        sandbox.client(check="warn") as client,
    ):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            day = await client.day(DATE)
    assert list(day) == sandbox.truth(DATE)
    assert len(day.problems) == 2
    assert {warning.category for warning in warned} == {PaginationWarning}
