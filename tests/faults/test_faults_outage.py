"""Servers that fail for a while, or now and then: exact data in the end, and no request more than it takes."""

from __future__ import annotations

import asyncio
import os
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
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
from tests.faults.raw import CLOSE, RESET, SILENCE, Answer, Asked, RawServer, dumps, envelope, http

SOAK_DATES = int(os.environ.get("CLICKSGROUP_SOAK_DATES", "300"))
PATIENT = RetryPolicy(attempts=100, backoff=0.0005, max_backoff=0.002)
MONTH = date_range("2025-01-01", "2025-01-30")


def honest(asked: Asked) -> Answer:
    return http(dumps(envelope(asked.page, 40)))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("fault", [[CLOSE], [RESET], http(b"", 503), http(b"<html>")], ids=str)
async def test_an_outage_in_the_middle_of_30_dates_leaves_no_trace_and_multiplies_no_request(
    fault: Answer, ordered: bool
) -> None:
    down = range(20, 60)  # requests

    def answer(asked: Asked) -> Answer:
        return fault if len(server.requests) in down else honest(asked)

    in_flight = 4
    async with (
        RawServer(answer) as server,
        client_of(server, quota=Quota(in_flight=in_flight), retry=PATIENT) as client,
    ):
        got = [(str(r.date), r.group_id) async for r in client.clicks(MONTH, ordered=ordered)]
        assert client.stats.requests == len(server.requests) == 60 + len(down)
    assert sorted(got) == [(str(date), number) for date in MONTH for number in range(1, 41)]
    assert got == sorted(got) or not ordered
    failed = [(asked.date, asked.page) for asked in server.requests[down.start - 1 : down.stop - 1]]
    assert len(set(failed)) <= in_flight + 1  # those in flight when it began, and one that had a look


async def test_while_an_outage_lasts_one_probe_at_a_time_is_in_flight() -> None:
    up, down = asyncio.Event(), 10
    probes: list[tuple[str, int]] = []
    open_probes = 0

    class Server(RawServer):
        async def _play(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_probes
            asked = self.requests[-1] if self.requests else None
            if asked is not None and len(self.requests) > down + 4 and not up.is_set():
                open_probes += 1
                assert open_probes == 1
                probes.append((asked.date, asked.page))
                await asyncio.sleep(0)  # whoever would come along had the time to
                if len(probes) == 30:
                    up.set()
                open_probes -= 1
            await super()._play(answer, reader, writer)

    def answer(asked: Asked) -> Answer:
        return honest(asked) if len(server.requests) < down or up.is_set() else http(b"", 503)

    async with Server(answer) as server, client_of(server, quota=Quota(in_flight=4), retry=PATIENT) as client:
        days = [day async for day in client.days(MONTH)]
        assert [len(day) for day in days] == [40] * 30
        assert client.stats.requests == len(server.requests)
    assert len(probes) == 30
    assert len(set(probes)) == 1  # one page probes, the others spend nothing


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    async with RawServer([]) as gone:
        pass
    rested = asyncio.Event()
    async with client_of(gone, quota=Quota(in_flight=3), retry=PATIENT) as client:
        reading = asyncio.ensure_future(_days_of(client))
        while client.stats.retries < 10:
            await asyncio.sleep(0)
        server = await asyncio.start_server(_serve_honestly(rested), "127.0.0.1", gone.port)
        days = await reading
        server.close()
    assert [len(day) for day in days] == [40] * 30
    assert client.stats.requests == 60


async def _days_of(client: ClicksClient) -> list[Any]:
    return [day async for day in client.days(MONTH)]


def _serve_honestly(served: asyncio.Event) -> Callable[..., Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                answer = honest(Asked(await reader.readuntil(b"\r\n\r\n"), 0))
                assert isinstance(answer, bytes)
                writer.write(answer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
        finally:
            served.set()

    return serve


async def test_an_outage_that_does_not_end_comes_to_one_clear_error() -> None:
    async with RawServer([http(b"", 503)]) as server, client_of(server, quota=Quota(in_flight=4)) as client:
        stream = client.days(MONTH)
        for _ in range(2):
            with pytest.raises(ServerError, match="HTTP 503") as caught:
                await anext(stream)
        assert str(caught.value.date) == "2025-01-01"
        assert len(server.requests) == client.stats.requests <= 4 * ATTEMPTS


async def test_a_page_that_always_fails_does_not_hold_up_the_others() -> None:
    def answer(asked: Asked) -> Answer:
        return http(b"", 500) if asked.date == "2025-01-02" else honest(asked)

    async with RawServer(answer) as server, client_of(server, quota=Quota(in_flight=2)) as client:
        got: list[str] = []
        failed: list[str] = []
        async for date, outcome in client.day_outcomes(MONTH, fatal=lambda date, error: False):
            (failed if isinstance(outcome, RequestError) else got).append(str(date))
        assert failed == ["2025-01-02"]
        assert sorted(got) == [str(date) for date in MONTH if str(date) != "2025-01-02"]
        assert client.stats.requests == len(server.requests) == 29 * 2 + ATTEMPTS


async def test_a_page_that_has_been_tried_waits_for_an_outage_no_longer_than_its_deadline() -> None:
    """One page owns the outage and its probe gets no answer; the other, tried once, gives up in the meantime.

    The probe has to wait for quota first, which does not count: so it is the other's deadline that passes first.
    """

    def answer(asked: Asked) -> Answer:
        return http(b"", 503) if len(server.requests) <= 2 else [SILENCE]

    policy = RetryPolicy(backoff=0.001, max_backoff=0.001, deadline=0.2)
    quota = Quota((2, 0.1), in_flight=2)
    async with RawServer(answer) as server, client_of(server, retry=policy, quota=quota) as client:
        asked = [asyncio.ensure_future(client.page(date)) for date in ("2025-01-01", "2025-01-02")]
        (first,), (second,) = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(first.exception(), ServerError)
        await asyncio.wait([second])
        assert isinstance(second.exception(), TransportError)
        assert len(server.requests) == client.stats.requests == 3


async def test_the_one_who_probes_may_be_cancelled_and_another_goes_on() -> None:
    answers: list[Answer] = [http(b"", 503)] * 3
    async with (
        RawServer([*answers, [SILENCE], http(dumps(envelope()))]) as server,
        client_of(server, quota=Quota(in_flight=3), retry=PATIENT) as client,
    ):
        asked = {date: asyncio.ensure_future(client.page(date)) for date in ("2025-01-01", "2025-01-02")}
        await server.wait_for(4)
        prober = asked.pop(server.requests[3].date)
        prober.cancel()
        await asyncio.wait([prober])
        (other,) = asked.values()
        waited = asyncio.ensure_future(asyncio.wait([other], timeout=0.2))
        await waited
        # The request that was out is left to end by itself, for the sake of the quota, so the other still waits.
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


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_soak_with_every_tenth_answer_faulty_ends_exact(ordered: bool) -> None:
    dice = random.Random(7)

    def fault(seen: SeenRequest) -> Fault | None:
        return dice.choice(FAULTY) if dice.random() < 0.1 else None

    dates = date_range("2019-01-01", "2024-12-31")[:SOAK_DATES]
    in_flight = Quota(in_flight=4)
    async with Sandbox(groups=lambda date: date.day * 2, seed=3, quota=in_flight, faults=fault) as sandbox:
        async with sandbox.client(retry=PATIENT) as client:
            days = [day async for day in client.days(dates, ordered=ordered)]
        # One that goes out just as the server closes its connection is sent, but never seen; none is seen unsent.
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
        (Fault(attempts=None, body="<html>"), DecodeError, 3),
        (Fault(attempts=None, change=without("result", "extra")), DecodeError, 1),
        (Fault(attempts=None, change=without("code")), DecodeError, 1),
        (Fault(attempts=None, change=moved("pages", 1)), PaginationError, 1),
        (Fault(attempts=None, change=moved("count", 1)), PaginationError, 1),
        (Fault(attempts=None, page=2, change=moved("totalCount", 1)), PaginationError, 6),
        (Fault(attempts=None, page=1, change=moved("nextPages", 1)), PaginationError, 1),
    ],
    ids=lambda value: None if isinstance(value, int) else getattr(value, "__name__", ""),
)
async def test_the_sandbox_can_show_the_same_faults(fault: Fault, expected: type[RequestError], requests: int) -> None:
    async with (
        Sandbox(groups=50, quota=Quota(in_flight=4), faults=[fault]) as sandbox,
        sandbox.client(retry=FAST, timeout=0.1 if fault.delay else 10) as client,
    ):
        with pytest.raises(expected):
            await client.day(DATE)
        assert client.stats.requests == len(sandbox.requests) == requests


async def test_what_may_pass_passes_in_the_sandbox_too() -> None:
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


async def test_a_client_says_so_where_it_is_used_after_it_was_closed_or_before_it_was_opened() -> None:
    async with RawServer([http(dumps(envelope()))]) as server:
        client = client_of(server)
        with pytest.raises(ClientClosedError, match="not open"):
            await client.day(DATE)
        async with client:
            stream = client.clicks(DATE)
        for use in (lambda: client.day(DATE), lambda: client.page(DATE), lambda: anext(client.days(DATE))):
            with pytest.raises(ClientClosedError, match="closed"):
                await use()
        with pytest.raises(ClientClosedError):
            await anext(stream)
        with pytest.raises(ClientClosedError, match="opened before"):
            await client.__aenter__()
        assert not server.requests


async def test_a_client_says_so_where_it_is_used_in_another_event_loop() -> None:
    async with RawServer([http(dumps(envelope()))]) as server, client_of(server) as client:
        for use in (lambda: client.day(DATE), lambda: anext(client.clicks(DATE))):

            def elsewhere(use: Callable[[], Any] = use) -> None:
                async def main() -> None:
                    await use()

                asyncio.run(main())

            with pytest.raises(ClientClosedError, match="another event loop"):
                await asyncio.to_thread(elsewhere)
        assert not server.requests


@pytest.mark.parametrize("answer", [[SILENCE], [http(length=9), SILENCE], http(b"", 503)], ids=["head", "body", "rest"])
async def test_closing_with_requests_in_flight_never_hangs(answer: Answer) -> None:
    policy = RetryPolicy(attempts=1000, backoff=1e6, max_backoff=1e6, deadline=1e9)
    async with RawServer([answer]) as server, asyncio.timeout(10):
        async with client_of(server, retry=policy, timeout=1000) as client:
            readers = [asyncio.ensure_future(anext(client.clicks(MONTH))) for _ in range(3)]
            readers.append(asyncio.ensure_future(client.day(DATE)))  # type: ignore[arg-type]
            await server.wait_for(1)
        await asyncio.wait(readers)
        assert {type(reader.exception()) for reader in readers} == {ClientClosedError}
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "clicksgroup" in task.get_name()]


async def test_a_cancelled_reader_loses_nothing_whenever_it_is_cancelled() -> None:
    async with RawServer(honest) as server, client_of(server) as client:
        stream = client.pages(MONTH[:10])
        got: list[tuple[str, int]] = []
        steps = 0
        while len(got) < 20:
            reader = asyncio.ensure_future(anext(stream))
            for _ in range(steps % 23):  # a turn of the loop later each time
                await asyncio.sleep(0)
            steps += 1
            reader.cancel()
            await asyncio.wait([reader])
            if not reader.cancelled():
                page = reader.result()
                got.append((str(page.date), page.number))
        assert got == [(str(date), number) for date in MONTH[:10] for number in (1, 2)]
        assert len(server.requests) == client.stats.requests == 20


async def test_a_request_that_was_given_up_keeps_its_place_in_flight_for_a_while() -> None:
    """The server may still be working on it, and would count one too many."""
    async with (
        RawServer([[SILENCE], http(dumps(envelope()))]) as server,
        client_of(server, quota=Quota(in_flight=1), timeout=0.05, retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(TransportError, match=r"0\.05 s"):
            await client.page(DATE)
        assert client._fetcher is not None
        assert "1 of 1 in flight" in repr(client._fetcher.quota)
        await client.page(DATE)
        assert len(server.requests) == 2
