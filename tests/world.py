"""Requests that are made up: they take as long as a test says, on a clock that costs nothing."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterable
from typing import Any

from clicksgroup import Day, GroupClicks, Page, Quota, Stream, TransportError
from clicksgroup.prefetching import ItemFactory, Prefetcher
from clicksgroup.protocol import Check, Extra, PageRequest, PageResponse, Paginator, Query
from clicksgroup.quota.local import LocalQuota
from clicksgroup.workers import Worker

FIRST = datetime.date(2025, 1, 1)
TWO_IN_FLIGHT = Quota(in_flight=2)
DELIVERIES: dict[str, ItemFactory[Any]] = {
    "clicks": ItemFactory(page=lambda response: response.records),
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
        backing_off: seconds that a worker backs off before it sends; called for each request.
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
        self._backing_off = backing_off
        self._flaky = flaky
        self._moves = dict(moves or {})

    def stream(
        self,
        dates: Iterable[datetime.date],
        kind: str = "clicks",
        *,
        ordered: bool = True,
        rereads: int = 2,
        change: Callable[[PageResponse], None] = lambda _: None,
        check: Check = "strict",
    ) -> Stream[Any]:
        """The items of those dates. `change` may change each response."""

        async def fetch(request: PageRequest, worker: Worker) -> PageResponse:
            response = await self.fetch(request, worker)
            change(response)
            return response

        paginators = (Paginator([Query(date, date)], None, check, rereads=rereads) for date in dates)

        def begin() -> Prefetcher[Any]:
            n = self._quota.quota.in_flight
            return Prefetcher(
                paginators=paginators,
                factory=DELIVERIES[kind],
                ordered=ordered,
                in_flight=n,
                fetch=fetch,
                all_workers=self.workers,
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
            if pause := self._backing_off():
                worker.backing_off(True)
                try:
                    await asyncio.sleep(pause)
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
                return self._response(request)

    def _response(self, request: PageRequest) -> PageResponse:
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
        return PageResponse(request, extra, list(page.records))


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
