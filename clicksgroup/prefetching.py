"""The work behind a stream: the order of many dates, how far to work ahead, and which page is fetched next.

A `Prefetcher` decides in synchronous methods. Its workers, one task each, fetch the pages (`clicksgroup.workers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from clicksgroup.errors import ClicksGroupError, ClientClosedError
from clicksgroup.protocol import PageRequest, PageResponse, Paginator
from clicksgroup.workers import Worker

T = TypeVar("T")
Batch: TypeAlias = tuple[Iterable[T], int]
"""Some items, and how many pages they are."""

LOOK_AHEAD = 3
"""Pages that a prefetcher works ahead of its reader, besides as many as may be in flight. The date that the reader
waits for is fetched to its end: its pages do not count."""


@attrs.frozen
class ItemFactory(Generic[T]):
    """Makes the items of a stream out of pages, or out of whole dates.

    Args:
        page: the items of a page.
        date: the items of a whole date; where this is given, a date is fetched whole before any of it is given.
        failure: the items that stand for a date that failed, or None if that is to end the stream. It is called as
            soon as the failure is known, before another request is sent.
        look_ahead: pages to work ahead of the reader, besides as many as may be in flight.
    """

    page: Callable[[PageResponse], Iterable[T]] | None = None
    date: Callable[[Paginator], Iterable[T]] | None = None
    failure: Callable[[Paginator, ClicksGroupError], Iterable[T] | None] | None = None
    look_ahead: int = LOOK_AHEAD


@attrs.define(eq=False)
class DateState:
    """One date under way."""

    paginator: Paginator
    # Nothing more of it will be fetched.
    done: bool = False
    # What waits for its turn, in order.
    batches: list[Batch[Any]] = attrs.field(factory=list)
    # Pages of it that were asked for and are not in `batches` yet.
    pages_ahead: int = 0


@attrs.define(eq=False, repr=False, slots=False, kw_only=True)
class Prefetcher(Generic[T]):
    """The work behind one stream."""

    # The dates, read lazily.
    _paginators: Iterator[Paginator] | None
    _factory: ItemFactory[T]
    _ordered: bool
    _in_flight: int
    fetch: Callable[[PageRequest, Worker], Awaitable[PageResponse]]
    # All workers of the client, which cancels them when it is closed.
    _all_workers: set[Worker]
    # Why the quota makes requests wait, for the repr.
    _wait_status: Callable[[], str] = str

    def __attrs_post_init__(self) -> None:
        # Items of the page that is being read.
        self.items: deque[T] = deque()
        # A finalizer has dropped the stream: no more requests, even before the event loop closes this.
        self.abandoned = False
        self._loop = asyncio.get_running_loop()
        # Dates are held back until they are complete.
        self._whole = self._factory.date is not None or not self._ordered
        self._most_ahead = self._in_flight + self._factory.look_ahead
        self._workers: set[Worker] = set()
        self._backing_off = 0
        # Dates under way, in their order, and what may be read now.
        self._states: list[DateState] = []
        self._ready: deque[Batch[T]] = deque()
        # Pages under way, and pages that were fetched and not read.
        self._pages_ahead = 0
        # The error to end with when all dates under way are given, and the one that the stream has ended with.
        self._final_error: BaseException | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._over = False
        self._reader: asyncio.Future[None] | None = None

    async def next(self) -> T:
        """The next item, or the exception that the stream ends with."""
        while True:
            if self._loop is not asyncio.get_running_loop():
                raise ClientClosedError("the stream belongs to another event loop, that of its client")
            while self._ready:
                items, pages = self._ready.popleft()
                self._pages_ahead -= pages
                self.items.extend(items)
                self.fill()
                if self.items:
                    return self.items.popleft()
            if self._error is not None:
                raise self._error.with_traceback(self._traceback)
            if self._over:
                raise StopAsyncIteration
            reader = self._reader = self._loop.create_future()
            self.fill()
            await reader

    def fill(self) -> None:
        """Start as many workers as there is work and room for."""
        while self._active() < self._in_flight and (following := self.take_next()) is not None:
            worker = Worker(self, *following)
            self._workers.add(worker)
            self._all_workers.add(worker)

    def take_next(self) -> tuple[DateState, PageRequest] | None:
        """The page to fetch now: the next of the earliest date that may go on, or the first of a new date."""
        # While a worker backs off, another may use its place. When it is back, there is one too many.
        if self._active() > self._in_flight:
            return None
        first = self._states[0] if self._states else None
        reader_waits = self._reader is not None and not self._reader.done()
        not_counted = first.pages_ahead + len(first.batches) if first is not None and reader_waits else 0
        has_room = self._pages_ahead - not_counted < self._most_ahead
        for state in self._states:
            # Without room, dates go on only while the reader waits: the one that it waits for, any date where the
            # order does not matter, and dates that fetch one page at a time, which would leave places empty.
            serves_reader = state is first or not self._ordered or not state.paginator.parallel
            if state.done or not (has_room or (reader_waits and serves_reader)):
                continue
            if (request := state.paginator.next_request(self._in_flight)) is not None:
                self._recount(state)
                return state, request
        return self._begin_date() if has_room else None

    def page_ended(self, state: DateState, request: PageRequest, outcome: PageResponse | BaseException) -> None:
        """A page was fetched, or cannot be."""
        if self._over or state.done:
            return
        paginator = state.paginator
        paginator.receive(request, outcome)
        try:
            for response in paginator.accepted():
                if self._factory.page is not None:
                    self._add(state, self._factory.page(response), 1)
        except BaseException as error:
            self._fail(state, error)
        else:
            if paginator.finished:
                state.done = True
                if self._factory.date is not None:
                    self._add(state, self._factory.date(paginator), paginator.pages_ahead)
        self._recount(state)
        self._give_ready()

    def backing_off(self, waiting: bool) -> None:
        """A worker waits before it tries again: meanwhile another may use its place."""
        self._backing_off += 1 if waiting else -1
        if waiting:
            self.fill()

    def worker_ended(self, worker: Worker) -> None:
        """A worker has ended."""
        self._workers.discard(worker)
        self._all_workers.discard(worker)

    def close(self, error: BaseException | None = None) -> None:
        """End it: nothing more is given. A reader that has not come to the end yet meets `error`."""
        if error is not None and self._error is None and not (self._over and not self._ready and not self.items):
            self._error = error
        self.items.clear()
        self._ready.clear()
        self._stop()

    def abandon(self) -> None:
        """Close it from a finalizer, which may run in any thread and in the middle of any method of ours."""
        self.abandoned = True
        if not self._over and not self._loop.is_closed():
            # The loop may be closed at this very moment.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.close)

    def _active(self) -> int:
        return len(self._workers) - self._backing_off

    def _recount(self, state: DateState) -> None:
        """Count the pages of a date that are under way."""
        pages = 0 if state.done else state.paginator.pages_ahead
        self._pages_ahead += pages - state.pages_ahead
        state.pages_ahead = pages

    def _add(self, state: DateState, items: Iterable[T], pages: int) -> None:
        state.batches.append((items, pages))
        self._pages_ahead += pages

    def _begin_date(self) -> tuple[DateState, PageRequest] | None:
        if self._paginators is None:
            return None
        try:
            paginator = next(self._paginators, None)
        except BaseException as error:
            # The caller's iterable of dates has raised it.
            self._final_error = error
            paginator = None
        if paginator is None:
            self._paginators = None
            self._give_ready()
            return None
        paginator.fetched_at = datetime.datetime.now(datetime.UTC)
        state = DateState(paginator)
        self._states.append(state)
        request = paginator.next_request()
        assert request is not None
        self._recount(state)
        return state, request

    def _fail(self, state: DateState, error: BaseException) -> None:
        """A date has failed: give what stands for it, or let it end the stream."""
        state.done = True
        instead = None
        if self._factory.failure is not None and isinstance(error, ClicksGroupError):
            try:
                instead = self._factory.failure(state.paginator, error)
            except BaseException as raised:
                error = raised
        if instead is not None:
            self._add(state, instead, 1)
            self._stop_workers([state])
        else:
            self._end_after(state, error)

    def _end_after(self, failed: DateState, error: BaseException) -> None:
        """Let a failed date end the stream, after the dates before it or, without order, those that are complete."""
        self._final_error = error
        self._paginators = None
        states = self._states
        dropped = states[states.index(failed) + 1 :] if self._ordered else [s for s in states if not s.done]
        for state in dropped:
            self._states.remove(state)
            state.done = True
            self._pages_ahead -= sum(pages for _, pages in state.batches)
            self._recount(state)
        self._stop_workers([failed, *dropped])

    def _stop_workers(self, states: list[DateState]) -> None:
        for worker in list(self._workers):
            if worker.state in states:
                worker.request_stop()

    def _give_ready(self) -> None:
        """Let the reader have all whose turn has come."""
        for state in list(self._states):
            if state.done or not self._whole:
                self._ready.extend(state.batches)
                state.batches.clear()
            if state.done:
                self._states.remove(state)
            elif self._ordered:
                break
        if self._paginators is None and not self._states:
            if self._final_error is not None and not self._over:
                self._error = _raisable(self._final_error)
                self._traceback = self._error.__traceback__
            self._stop()
        elif self._ready:
            self._wake()

    def _stop(self) -> None:
        if not self._over:
            self._over = True
            self._paginators = None
            self._states.clear()
            for worker in list(self._workers):
                worker.request_stop()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def __repr__(self) -> str:
        if self._over:
            return "ended" if self._error is None else f"ended with {type(self._error).__name__}"
        state = f"{self._active()} pages under way, {self._pages_ahead} ahead of the reader"
        return "; ".join(filter(None, (state, self._wait_status())))


def _raisable(error: BaseException) -> BaseException:
    """The error as a stream can raise it: as for any generator, one that means "the end" becomes a RuntimeError."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    raised = RuntimeError(f"the work behind the stream raised {type(error).__name__}")
    raised.__cause__ = error
    return raised
