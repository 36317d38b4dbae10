"""Many dates at once: what a reader gets, in which order, how far ahead, and what is left when it goes.

The requests here are made up: they take as long as the test says, on a clock that costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import itertools
import logging
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
    ConfigurationError,
    Day,
    GroupClicks,
    Page,
    PaginationError,
    Quota,
    RetryPolicy,
    StatusError,
    Stream,
    TransportError,
    date_range,
)
from clicksgroup.prefetching import LOOK_AHEAD, ItemFactory, Prefetcher
from clicksgroup.protocol import Extra, PageRequest, PageResponse, Paginator, Query, RecordRows
from clicksgroup.quota.local import LocalQuota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from clicksgroup.workers import Worker
from tests.virtual_time import in_virtual_time

FIRST = datetime.date(2025, 1, 1)
TWO_IN_FLIGHT = Quota(in_flight=2)
DELIVERIES: dict[str, ItemFactory[Any]] = {
    "clicks": ItemFactory(page=lambda response: response.records()),
    "pages": ItemFactory(page=lambda response: [response.page()]),
    "days": ItemFactory(date=lambda paginator: [paginator.day()]),
}


def day(number: int) -> datetime.date:
    return FIRST + datetime.timedelta(number)


class World:
    """Answers requests that never leave the process.

    Args:
        pages: of a date, by its number from 0; a date of 0 pages has one that is empty.
        quota: kept by all.
        latency: seconds that a request takes; called for each.
        fails: which page of which date never comes.
        backing_off: seconds that an worker backing_off before it sends; called for each request.
        flaky: whether a request fails and is to be sent again; called for each.
        moves: how often a date moves while it is read.
    """

    def __init__(
        self,
        pages: Callable[[int], int] = lambda _: 3,
        quota: Quota = TWO_IN_FLIGHT,
        *,
        latency: Callable[[], float] = lambda: 1.0,
        fails: Iterable[tuple[int, int]] = (),
        backing_off: Callable[[], float] = lambda: 0.0,
        flaky: Callable[[PageRequest], bool] = lambda _: False,
        moves: dict[int, int] | None = None,
    ) -> None:
        self.requests: list[PageRequest] = []
        self.flying = 0
        self.most_flying = 0
        self.workers: set[Worker] = set()
        self._pages = pages
        self._quota = LocalQuota(quota, asyncio.get_running_loop())
        self._latency = latency
        self._fails = set(fails)
        self._rests = backing_off
        self._flaky = flaky
        self._moves = dict(moves or {})

    def stream(
        self, dates: Iterable[datetime.date], kind: str = "clicks", *, ordered: bool = True, rereads: int = 2
    ) -> Stream[Any]:
        paginators = (Paginator([Query(date, date)], None, "strict", rereads=rereads) for date in dates)

        def begin() -> Prefetcher[Any]:
            n = self._quota.quota.in_flight
            return Prefetcher(
                paginators, DELIVERIES[kind], ordered=ordered, in_flight=n, fetch=self.fetch, all_workers=self.workers
            )

        return Stream(begin)

    def page_of(self, number: int, page: int) -> Page:
        pages = max(self._pages(number), 1)
        total = self._pages(number) * 2
        records = tuple(GroupClicks(day(number), page * 10 + i, "name", page, i) for i in range(2 if total else 0))
        return Page(day(number), page, page + 1 if page < pages else None, len(records), total, records, None)

    def pages_of(self, number: int) -> list[Page]:
        return [self.page_of(number, page) for page in range(1, max(self._pages(number), 1) + 1)]

    def items(self, kind: str, number: int) -> list[Any]:
        """What a stream of that kind gives of a date: all, or what comes before it fails."""
        lost = min((page for date, page in self._fails if date == number), default=None)
        pages = [page for page in self.pages_of(number) if lost is None or page.number < lost]
        if kind == "pages":
            return pages
        records = tuple(record for page in pages for record in page.records)
        if kind == "clicks":
            return list(records)
        return [] if lost is not None else [(day(number), records)]

    async def fetch(self, request: PageRequest, worker: Worker) -> PageResponse:
        while True:
            if rest := self._rests():
                worker.backing_off(True)
                try:
                    await asyncio.sleep(rest)
                finally:
                    worker.backing_off(False)
            slot = await self._quota.acquire()
            worker.request_started()
            self.requests.append(request)
            self.flying += 1
            self.most_flying = max(self.most_flying, self.flying)
            try:
                await asyncio.sleep(self._latency())
            finally:
                self.flying -= 1
                slot.answered()
                slot.release()
            worker.request_ended()
            if not self._flaky(request):
                return self._reply(request)

    def _reply(self, request: PageRequest) -> PageResponse:
        number = (request.query.start - FIRST).days
        if (number, request.number) in self._fails:
            raise TransportError("made up", date=request.query.start, page=request.number)
        page = self.page_of(number, request.number)
        total = page.total_count
        if page.next_number is None and self._moves.get(number):
            self._moves[number] -= 1
            total += 1
        more = "N" if page.next_number is None else "Y"
        extra = Extra(page.number, more, page.count, total, page.next_number or page.number)
        rows = ((r.group_id, r.group_name, r.clicks, r.unique_users) for r in page.records)
        return PageResponse(request, extra, RecordRows(rows))


def simple(item: Any) -> Any:
    """What can be compared: a `Day` without the moment."""
    return (item.date, item.records) if isinstance(item, Day) else item


async def read(stream: Stream[Any]) -> list[Any]:
    return [simple(item) async for item in stream]


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def worker_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in tasks() if task.get_name() == "clicksgroup worker"]


# What a reader gets


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    dates = draw(st.lists(st.integers(0, 7), max_size=12))
    lost = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=2)) if draw(st.booleans()) else []
    return {
        "sizes": dates,
        "fails": [(n, page) for n, page in lost if n < len(dates) and page <= max(dates[n], 1)],
        "in_flight": draw(st.integers(1, 4)),
        "kind": draw(st.sampled_from(sorted(DELIVERIES))),
        "ordered": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32)),
        "rest": draw(st.sampled_from([0.0, 0.4])),
        "slow_reader": draw(st.booleans()),
        "cancels": draw(st.booleans()),
    }


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(worlds())
def test_whatever_happens_a_reader_gets_exactly_what_there_is_and_then_the_error(how: dict[str, Any]) -> None:
    """Random latencies, backoffs, failures, pauses and cancellations: nothing hangs, and nothing is left behind."""
    rng = random.Random(how["seed"])

    @in_virtual_time
    async def simulation() -> None:
        world = World(
            lambda number: how["sizes"][number],
            Quota(in_flight=how["in_flight"]),
            latency=lambda: rng.choice([0.0, rng.random(), rng.random() * 9]),
            backing_off=lambda: rng.random() * 9 if rng.random() < how["rest"] else 0.0,
            flaky=lambda _: rng.random() < 0.1,
            fails=how["fails"],
        )
        stream = world.stream(map(day, range(len(how["sizes"]))), how["kind"], ordered=how["ordered"])
        got: list[Any] = []
        failure: Exception | None = None
        while True:
            if how["slow_reader"] and rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 20)
            reading = asyncio.ensure_future(anext(stream))
            if how["cancels"]:
                await turns(rng.randrange(5))
                await asyncio.sleep(rng.choice([0.0, rng.random() * 2]))
                reading.cancel()
            try:
                got.append(simple(await reading))
            except asyncio.CancelledError:
                pass
            except StopAsyncIteration:
                break
            except TransportError as error:
                failure = error
                break
        judge(world, how, got, failure)
        with pytest.raises(type(failure) if failure else StopAsyncIteration):
            await anext(stream)
        assert world.most_flying <= how["in_flight"]
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying
        await asyncio.sleep(100)
        assert not world.workers

    simulation()


def judge(world: World, how: dict[str, Any], got: list[Any], failure: Exception | None) -> None:
    numbers = range(len(how["sizes"]))
    lost = {number for number, _ in how["fails"]}
    assert (failure is not None) == bool(lost)
    items = {number: world.items(how["kind"], number) for number in numbers}
    if how["ordered"]:
        end = min(lost) + 1 if lost else len(numbers)
        assert got == [item for number in numbers[:end] for item in items[number]]
        assert failure is None or getattr(failure, "date", None) == day(min(lost))
        return
    by_date: dict[int, list[Any]] = {}
    for item in got:
        date = item[0] if isinstance(item, tuple) else item.date
        by_date.setdefault((date - FIRST).days, []).append(item)
    for number, given_of_it in by_date.items():
        assert given_of_it == items[number]
    together = [key for key, _ in itertools.groupby(i[0] if isinstance(i, tuple) else i.date for i in got)]
    assert len(together) == len(by_date)
    if failure is None:
        assert set(by_date) == {number for number in numbers if items[number]}


@in_virtual_time
async def test_dates_are_read_at_once_and_given_in_their_order() -> None:
    slow_first = iter([9.0, *itertools.repeat(1.0, 9)])
    world = World(lambda _: 1, Quota(in_flight=3), latency=lambda: next(slow_first))
    got = [record.date async for record in world.stream(map(day, range(5)))]
    assert got == [day(n) for n in range(5) for _ in range(2)]
    assert world.most_flying == 3


@in_virtual_time
async def test_without_an_order_they_are_given_as_they_complete() -> None:
    slow_first = iter([9.0, *itertools.repeat(1.0, 9)])
    world = World(lambda _: 1, Quota(in_flight=2), latency=lambda: next(slow_first))
    got = [page.date async for page in world.stream(map(day, range(4)), "pages", ordered=False)]
    assert got == [day(1), day(2), day(3), day(0)]


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_all_that_may_be_in_flight_is_in_flight_as_long_as_there_is_work(kind: str, ordered: bool) -> None:
    """Even where the first date is long: those behind it that have begun are read on."""
    world = World(lambda _: 20, Quota(in_flight=2))
    assert len(await read(world.stream(map(day, range(4)), kind, ordered=ordered))) > 3
    assert asyncio.get_running_loop().time() <= 4 * 20 / 2 + 2


@in_virtual_time
async def test_a_date_that_moved_is_read_again_twice_at_most() -> None:
    world = World(lambda _: 2, moves={0: 2})
    (got,) = [item async for item in world.stream([day(0)], "days")]
    assert [request.number for request in world.requests] == [1, 2] * 3
    assert got.records == world.items("days", 0)[0][1]
    world = World(lambda _: 2, moves={0: 3})
    with pytest.raises(PaginationError):
        await read(world.stream([day(0)], "days"))
    assert len(world.requests) == 6


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_comes_bare_after_what_precedes_it_and_again_every_time(ordered: bool) -> None:
    world = World(lambda _: 2, Quota(in_flight=1), fails=[(1, 2)])
    stream = world.stream(map(day, range(9)), "pages", ordered=ordered)
    assert [await anext(stream) for _ in range(3)] == [*world.pages_of(0), world.page_of(1, 1)]
    errors = []
    for _ in range(3):
        with pytest.raises(TransportError, match="made up") as raised:
            await anext(stream)
        errors.append(raised.value)
    assert errors[0] is errors[1] is errors[2]
    await stream.aclose()
    with pytest.raises(TransportError):
        await anext(stream)


@in_virtual_time
async def test_nothing_is_asked_for_after_a_failure_that_nobody_will_read() -> None:
    world = World(lambda _: 3, Quota(in_flight=2), fails=[(0, 1)])
    with pytest.raises(TransportError):
        await read(world.stream(map(day, range(9))))
    before = len(world.requests)
    await asyncio.sleep(100)
    assert len(world.requests) == before <= 2


@in_virtual_time
async def test_what_is_before_a_failed_date_is_read_to_its_end_first() -> None:
    world = World(lambda number: 5 if number == 0 else 1, Quota(in_flight=2), fails=[(1, 1)])
    stream = world.stream(map(day, range(9)), "pages")
    for page in world.pages_of(0):
        assert await anext(stream) == page
    with pytest.raises(TransportError):
        await anext(stream)


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
async def test_dates_that_fail_to_come_are_an_error_in_their_turn(ordered: bool) -> None:
    def dates() -> Iterator[datetime.date]:
        yield day(0)
        yield day(1)
        raise ZeroDivisionError("of the caller's")

    world = World(lambda _: 2)
    stream = world.stream(dates(), "days", ordered=ordered)
    assert [simple(await anext(stream)) for _ in range(2 if ordered else 0)] == (
        world.items("days", 0) + world.items("days", 1) if ordered else []
    )
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await read(stream)


@in_virtual_time
async def test_no_dates_are_no_items() -> None:
    world = World()
    assert await read(world.stream([])) == []
    assert not world.requests


# How far ahead


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("pages", [0, 1, 2, 50])
async def test_a_reader_that_stops_stops_the_requests_though_dates_never_end(
    kind: str, ordered: bool, pages: int
) -> None:
    world = World(lambda number: 1 if number == 0 else pages, Quota(in_flight=2))
    stream = world.stream(map(day, itertools.count()), kind, ordered=ordered)
    await anext(stream)
    await asyncio.sleep(10_000)
    assert not tasks()
    whole = kind == "days" or not ordered
    ahead = 2 + LOOK_AHEAD
    most = 1 + ahead * (max(pages, 1) if whole else 1)
    assert len(world.requests) <= most + (0 if whole else 1)
    await stream.aclose()


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_a_slow_reader_never_waits_since_the_work_is_done_ahead(kind: str, ordered: bool) -> None:
    world = World(lambda number: number % 4, Quota(in_flight=2))
    stream = world.stream(map(day, range(1, 20)), kind, ordered=ordered)
    await anext(stream)
    while True:
        await asyncio.sleep(100)
        before = asyncio.get_running_loop().time()
        if await anext(stream, None) is None:
            break
        assert asyncio.get_running_loop().time() == before


@in_virtual_time
async def test_while_an_errand_rests_another_has_its_place_and_no_longer() -> None:
    backing_off = iter([100.0])
    world = World(lambda _: 3, Quota(in_flight=1), backing_off=lambda: next(backing_off, 0.0))
    reading = asyncio.create_task(read(world.stream(map(day, range(100)), "days", ordered=False)))
    await asyncio.sleep(99.5)
    assert len(world.requests) == 100
    assert day(0) not in {request.query.start for request in world.requests}
    await asyncio.sleep(10)
    assert not reading.done()
    assert len(world.workers) == 1
    assert len(await reading) == 100


@in_virtual_time
async def test_dates_are_taken_no_earlier_than_they_are_needed() -> None:
    taken: list[datetime.date] = []

    def dates() -> Iterator[datetime.date]:
        for number in itertools.count():
            taken.append(day(number))
            yield day(number)

    world = World(lambda _: 1, Quota(in_flight=2))
    stream = world.stream(dates(), "pages")
    assert not taken
    await anext(stream)
    await asyncio.sleep(100)
    assert len(taken) <= 1 + 2 + LOOK_AHEAD
    await stream.aclose()


@in_virtual_time
async def test_a_thousand_streams_that_nobody_reads_cost_nothing() -> None:
    world = World()
    streams = [world.stream(map(day, itertools.count())) for _ in range(1000)]
    await turns()
    assert not tasks()
    assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert not world.requests
    assert {repr(stream) for stream in streams} == {"<Stream: not started>"}


# Reading


@in_virtual_time
async def test_a_second_reader_is_refused_and_the_first_gets_everything() -> None:
    world = World(lambda _: 1)
    stream = world.stream([day(0)])
    first = asyncio.create_task(read(stream))
    await turns(1)
    with pytest.raises(RuntimeError, match="one reader"):
        await anext(stream)
    assert await first == world.items("clicks", 0)


@in_virtual_time
async def test_a_cancelled_anext_loses_nothing() -> None:
    """Whichever turn it is cancelled in: before, as and after the item comes."""
    world = World(lambda _: 1, latency=lambda: 0.0)
    for wait in range(12):
        stream = world.stream([day(0), day(1)], "pages")
        reading = asyncio.create_task(anext(stream))
        await turns(wait)
        reading.cancel()
        await asyncio.wait([reading])
        before = [] if reading.cancelled() else [reading.result()]
        assert before + await read(stream) == world.pages_of(0) + world.pages_of(1)


@in_virtual_time
async def test_a_timeout_around_anext_loses_nothing() -> None:
    world = World(lambda _: 1, latency=lambda: 10.0)
    stream = world.stream([day(0)])
    for _ in range(9):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(stream)
    assert await read(stream) == world.items("clicks", 0)


@in_virtual_time
async def test_a_stream_of_which_only_its_anext_is_kept_is_read() -> None:
    world = World()
    assert await anext(world.stream([day(0)], "pages")) == world.page_of(0, 1)
    assert await anext(world.stream([]), "nothing") == "nothing"


@in_virtual_time
async def test_it_is_an_async_generator_in_all_its_ways() -> None:
    world = World()
    stream = world.stream([day(0)], "pages")
    assert await stream.asend(None) == world.page_of(0, 1)
    with pytest.raises(ZeroDivisionError, match="why"):
        await stream.athrow(ZeroDivisionError("why"))
    with pytest.raises(ZeroDivisionError, match="why"):
        await stream.athrow(ZeroDivisionError, "why")
    assert await read(stream) == []


@in_virtual_time
async def test_its_repr_says_what_is_going_on() -> None:
    world = World(lambda _: 1, Quota(in_flight=2), fails=[(0, 1)])
    stream = world.stream([day(0)])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(stream)
    assert repr(stream) == "<Stream: 1 pages under way, 1 ahead of the reader>"
    with pytest.raises(TransportError):
        await anext(stream)
    assert repr(stream) == "<Stream: ended with TransportError>"
    await stream.aclose()
    assert repr(stream) == "<Stream: closed>"


# Endings


async def breaks(world: World) -> None:
    async for _ in world.stream(map(day, itertools.count()), "pages"):
        break


async def leaves_the_block(world: World) -> None:
    async with world.stream(map(day, itertools.count()), "pages") as stream:
        await anext(stream)


async def is_aclosing(world: World) -> None:
    async with contextlib.aclosing(world.stream(map(day, itertools.count()), "pages")) as stream:
        await anext(stream)


async def fails_in_its_body(world: World) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async for _ in world.stream(map(day, itertools.count()), "pages"):
            raise ZeroDivisionError


async def is_cancelled(world: World) -> None:
    async def reader() -> None:
        async for _ in world.stream(map(day, itertools.count()), "pages"):
            pass

    task = asyncio.create_task(reader())
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    kept.append(task)  # and in it the exception, with its frames


async def runs_out_of_time(world: World) -> None:
    try:
        async with asyncio.timeout(1.5):
            async for _ in world.stream(map(day, itertools.count()), "pages"):
                pass
    except TimeoutError as error:
        kept.append(error)


async def drops_it(world: World) -> None:
    stream = world.stream(map(day, itertools.count()), "pages")
    await anext(stream)
    del stream


async def drops_it_in_a_cycle(world: World) -> None:
    holder: list[Any] = [world.stream(map(day, itertools.count()), "pages")]
    holder.append(holder)
    await anext(holder[0])
    del holder
    gc.collect()


async def drops_it_in_a_thread(world: World) -> None:
    holder = [world.stream(map(day, itertools.count()), "pages")]
    await anext(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()


kept: list[object] = []


@pytest.mark.parametrize(
    ("quota", "flaky"),
    [(Quota(in_flight=2), False), (Quota((1, 10), in_flight=2), False), (Quota(in_flight=2), True)],
    ids=["in flight", "waiting for quota", "failing"],
)
@pytest.mark.parametrize(
    "way",
    [
        breaks,
        leaves_the_block,
        is_aclosing,
        fails_in_its_body,
        is_cancelled,
        runs_out_of_time,
        drops_it,
        drops_it_in_a_cycle,
        drops_it_in_a_thread,
    ],
)
def test_whatever_ends_it_within_three_turns_it_has_no_task_and_starts_no_request(
    way: Callable[[World], Awaitable[None]], quota: Quota, flaky: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Besides requests that are in flight, which are finished; and nobody hears of it."""

    @in_virtual_time
    async def simulation() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _, context: heard.append(context))
        world = World(quota=quota, flaky=lambda request: flaky and request.query.start > FIRST)
        await way(world)
        requests = len(world.requests)
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying
        await asyncio.sleep(1000)
        assert len(world.requests) == requests
        assert not world.workers
        assert not tasks()
        gc.collect()

    heard: list[object] = []
    with caplog.at_level(logging.WARNING):
        simulation()
    kept.clear()
    assert not heard
    assert not caplog.records


@in_virtual_time
async def test_it_can_be_closed_in_any_turn_of_its_life() -> None:
    """Also before the tasks that it has just started have made their first step."""
    for wait in range(25):
        world = World(latency=lambda: 0.0)
        stream = world.stream(map(day, range(3)), "pages")
        reading = asyncio.create_task(read(stream))
        await turns(wait)
        await stream.aclose()
        requests = len(world.requests)
        await turns()
        assert len(tasks()) - (not reading.done()) == len(world.workers) == world.flying
        await asyncio.sleep(1)
        assert await reading == (world.pages_of(0) + world.pages_of(1) + world.pages_of(2))[: len(reading.result())]
        assert not world.workers
        assert len(world.requests) == requests


@in_virtual_time
async def test_a_stream_that_was_closed_before_it_began_gives_nothing() -> None:
    world = World()
    stream = world.stream([day(0)])
    await stream.aclose()
    assert await read(stream) == []
    assert not world.requests


@in_virtual_time
async def test_a_closed_stream_gives_nothing_of_what_it_had_ready() -> None:
    world = World()
    stream = world.stream([day(0)])
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert await read(stream) == []


@in_virtual_time
async def test_closing_a_stream_that_has_ended_changes_nothing() -> None:
    world = World()
    stream = world.stream([day(0)])
    assert len(await read(stream)) == 6
    await stream.aclose()
    assert await read(stream) == []


@in_virtual_time
async def test_who_cancels_all_tasks_there_are_does_not_leave_the_reader_waiting() -> None:
    world = World()
    stream = world.stream([day(0)])
    reading = asyncio.create_task(read(stream))
    await turns()
    for task in tasks():
        if task is not reading:
            task.cancel()
    with pytest.raises(ClientClosedError):
        await reading
    assert not world.workers


# Of a client


async def test_leaving_the_client_ends_its_streams(sandbox: Sandbox) -> None:
    """One that waits, one that is read in between, one that has not begun, and one that has ended."""
    async with sandbox.client() as client:
        ended, read_in_between, not_begun = (client.clicks("2025-01-01") for _ in range(3))
        waiting = asyncio.create_task(read(client.clicks(date_range("2025-01-01", "2025-12-31"))))
        assert len(await read(ended)) == 95
        assert await anext(read_in_between)
    with pytest.raises(ClientClosedError):
        await waiting
    for stream in (read_in_between, not_begun, client.clicks("2025-01-01")):
        for _ in range(2):
            with pytest.raises(ClientClosedError):
                await anext(stream)
    assert await read(ended) == []
    await turns()
    assert not [task for task in tasks() if "clicksgroup" in task.get_name()]


async def test_leaving_the_client_ends_requests_that_would_go_on_for_long() -> None:
    async with Sandbox(latency=3600, quota=Quota(in_flight=2)) as sandbox:
        async with sandbox.client() as client:
            waiting = asyncio.create_task(read(client.clicks(date_range("2025-01-01", "2025-12-31"))))
            await sandbox.wait_for_requests(2)
        with pytest.raises(ClientClosedError):
            await waiting


async def test_a_client_can_be_left_the_moment_its_stream_has_begun(sandbox: Sandbox) -> None:
    for wait in range(9):
        async with sandbox.client() as client:
            reading = asyncio.create_task(read(client.clicks("2025-01-01")))
            await turns(wait)
        with pytest.raises(ClientClosedError):
            await reading


async def test_a_break_finishes_what_is_in_flight_and_no_more(sandbox: Sandbox) -> None:
    async with sandbox.client() as client:
        async for _ in client.clicks(date_range("2025-01-01", "2025-12-31")):
            break
        sent = client.stats.requests
        while any("worker" in task.get_name() for task in tasks()):
            await asyncio.sleep(0)
        assert client.stats.requests == sent == len(sandbox.requests) <= 1 + 2 + LOOK_AHEAD
        assert {request.status for request in sandbox.requests} == {200}
        assert len(await client.day("2025-01-01")) == 95


async def test_a_stream_outside_its_clients_block_is_refused_though_it_was_made_without_complaint() -> None:
    client = ClicksClient("key")
    stream = client.clicks("2025-01-01")
    for _ in range(2):
        with pytest.raises(ClientClosedError, match="not open"):
            await anext(stream)


def test_a_stream_belongs_to_the_loop_of_its_client() -> None:
    with asyncio.Runner() as here, asyncio.Runner() as there:

        async def begin() -> tuple[ClicksClient, Stream[GroupClicks]]:
            client = await ClicksClient("key", base_url="http://127.0.0.1:1").__aenter__()
            return client, client.clicks("2025-01-01")

        async def next_of(stream: Stream[GroupClicks]) -> None:
            await anext(stream)

        async def leave(client: ClicksClient) -> None:
            await client.__aexit__(None, None, None)

        client, stream = here.run(begin())
        with pytest.raises(ClientClosedError, match="another event loop"):
            there.run(next_of(stream))
        here.run(leave(client))


async def test_dates_that_cannot_be_are_an_error_in_their_turn(sandbox: Sandbox) -> None:
    async with sandbox.client() as client:
        stream = client.days(iter(["2025-01-01", "2025-02-30", "2025-03-01"]))
        assert (await anext(stream)).date == datetime.date(2025, 1, 1)
        with pytest.raises(ConfigurationError, match=r"dates\[1\]: 2025-02-30 is not a date"):
            await anext(stream)
    assert Counter(request.date for request in sandbox.requests) == {datetime.date(2025, 1, 1): 4}


@pytest.fixture
async def sandbox() -> Any:
    async with Sandbox(95, quota=Quota(in_flight=2)) as sandbox:
        yield sandbox


async def test_a_date_that_had_to_wait_goes_on_when_those_behind_it_are_called_back() -> None:
    """Three dates rest before they are tried again; one comes back to no place, one fails, one is dropped."""
    a, b, c = (datetime.date(2025, 1, number) for number in (1, 2, 3))

    def fault(seen: SeenRequest) -> Fault | None:
        first = seen.attempt == 1
        if seen.date == a and seen.page == 2 and first:
            return Fault(status=503, retry_after=0.06)
        if seen.date == b:
            return Fault(status=503, retry_after=0.15) if first else Fault(status=400, delay=0.1)
        return Fault(status=503, retry_after=0.12) if seen.date == c and first else None

    retry = RetryPolicy(backoff=0.001, max_backoff=0.001)
    pages: list[Page] = []
    async with (
        asyncio.timeout(60),
        Sandbox(1200, quota=Quota(in_flight=1), latency=0.01, faults=fault) as sandbox,
        sandbox.client(retry=retry) as client,
    ):
        with pytest.raises(StatusError, match="2025-01-02"):
            await read_into(pages, client.pages([a, b, c]))
    assert [(page.date, page.number) for page in pages] == [(a, number) for number in range(1, 41)]


async def read_into(items: list[Any], stream: Stream[Any]) -> None:
    async for item in stream:
        items.append(item)  # noqa: PERF401


async def test_nothing_is_sent_for_a_closed_stream_after_a_middleware_of_the_session_has_failed() -> None:
    """The worker that met it goes on to another date, and waits for quota when the stream is closed."""
    looked_ahead = asyncio.Event()

    async def failing(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await handler(request)
        if "2025-01-02" in str(request.url):
            await looked_ahead.wait()
            raise LookupError
        return response

    async def turns() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    async with (
        Sandbox(600, quota=Quota((6, 60), in_flight=2)) as sandbox,
        aiohttp.ClientSession(middlewares=(failing,)) as session,
        sandbox.client(session=session) as client,
    ):
        stream = client.pages(["2025-01-01", "2025-01-02"])
        await anext(stream)
        await sandbox.wait_for_requests(6)
        while client.stats.pages < 5:
            await asyncio.sleep(0)
        await turns()
        looked_ahead.set()
        await turns()
        # It waits for quota, for a minute.
        assert len(worker_tasks()) == 1
        await stream.aclose()
        await turns()
        assert not worker_tasks()
        assert len(sandbox.requests) == 6
