"""The work behind a stream: the order of many dates, how far to work ahead, and whose tasks are whose.

A `Prefetcher` decides, in synchronous methods, which page is asked for next; its `Worker`s, one task each, fetch it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs

from clicksgroup.errors import ClicksGroupError, ClientClosedError
from clicksgroup.protocol import PageRequest, PageResponse, Paginator

T = TypeVar("T")

LOOK_AHEAD = 3
"""Pages (dates, where they are given whole) that a prefetcher works ahead of its reader, besides as many as may be in
flight. While the reader waits for a date, those behind it that have begun are read on, to their ends."""


@attrs.frozen
class ItemFactory(Generic[T]):
    """What a stream gives, made of pages or of whole dates. It is iterated when its turn has come.

    Args:
        page: what a page adds.
        date: what a whole date adds; where this is given, a date is read to its end before anything of it is given.
        failure: what stands for a date that failed, or None if that is to end the stream.
        look_ahead: pages (dates, where they are given whole) to work ahead of the reader, besides as many as may be
            in flight.
    """

    page: Callable[[PageResponse], Iterable[T]] | None = None
    date: Callable[[Paginator], Iterable[T]] | None = None
    failure: Callable[[Paginator, ClicksGroupError], Iterable[T] | None] | None = None
    look_ahead: int = LOOK_AHEAD


class _DateState:
    """One date under way."""

    __slots__ = ("batches", "busy", "done", "error", "paginator")

    def __init__(self, paginator: Paginator | None) -> None:
        self.paginator = paginator  # None where the caller's dates failed
        self.batches: list[Iterable[Any]] = []  # what must wait for its turn
        self.busy = False
        self.done = False
        self.error: BaseException | None = None


class Prefetcher(Generic[T]):
    """The work behind one stream.

    Args:
        paginators: the dates, as paginators, read lazily.
        factory: what the stream gives.
        ordered: whether dates are given in their order, or as they complete.
        in_flight: how many requests may be open.
        fetch: gets a response.
        all_workers: where workers are known to their owner, the client, until they have ended.
    """

    def __init__(
        self,
        paginators: Iterator[Paginator],
        factory: ItemFactory[T],
        *,
        ordered: bool,
        in_flight: int,
        fetch: Callable[[PageRequest, Worker], Awaitable[PageResponse]],
        all_workers: set[Worker],
    ) -> None:
        self.items: deque[T] = deque()  # of the page that is being read
        self.fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._paginators: Iterator[Paginator] | None = paginators
        self._factory = factory
        self._ordered = ordered
        self._whole = factory.date is not None or not ordered
        self._in_flight = in_flight
        self._most_ahead = in_flight + factory.look_ahead
        self._all_workers = all_workers
        self._own_workers: set[Worker] = set()
        self._backing_off = 0
        self._states: deque[_DateState] = deque()  # in the order of dates
        self._batches: deque[Iterable[T]] = deque()  # what may be read, page by page
        self._waiting = 0  # batches of all states
        self._busy = 0  # states of which a page is under way
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._over = False
        self._reader: asyncio.Future[None] | None = None

    async def next(self) -> T:
        """The next item."""
        while True:
            if self._loop is not asyncio.get_running_loop():
                raise ClientClosedError("the stream belongs to another event loop, that of its client")
            while self._batches:
                self.items.extend(self._batches.popleft())
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
        """Send out as many workers as there is work and room for."""
        while self._at_work() < self._in_flight and (state := self.take()) is not None:
            worker = Worker(self, state)
            self._own_workers.add(worker)
            self._all_workers.add(worker)

    def take(self) -> _DateState | None:
        """The date whose next page is to be asked for now: the earliest that may go on, or a new one."""
        if self._at_work() > self._in_flight:  # somebody is back from a rest
            return None
        if self._may_go_on():
            for state in self._states:
                if not state.busy and not state.done:
                    self._set_busy(state, True)
                    return state
        return self._next_date()

    def arrived(self, state: _DateState, response: PageResponse) -> None:
        """A page has come.

        Raises:
            PaginationError: it does not fit; the date has failed.
        """
        if self._over or state.done or state.paginator is None:
            return
        stands = state.paginator.accept(response)
        self._set_busy(state, False)
        if stands and self._factory.page is not None:
            self._add(state, self._factory.page(response))
        if state.paginator.request is None:
            if self._factory.date is not None:
                self._add(state, self._factory.date(state.paginator))
            state.done = True
        self._flush()

    def failed(self, state: _DateState, error: BaseException) -> None:
        """A page will not come."""
        if self._over or state.done:
            return
        self._set_busy(state, False)
        state.done = True
        instead = None
        if self._factory.failure is not None and isinstance(error, ClicksGroupError) and state.paginator is not None:
            try:
                instead = self._factory.failure(state.paginator, error)
            except Exception as raised:  # of whoever judges failures
                error = raised
        if instead is not None:
            self._add(state, instead)
        else:
            state.error = error
            self._paginators = None
            self._drop_what_nobody_will_read(state)
        self._flush()

    def gone(self, worker: Worker) -> None:
        """An worker has ended."""
        self._own_workers.discard(worker)
        self._all_workers.discard(worker)

    def backing_off(self, waiting: bool) -> None:
        """An worker waits before it tries again: meanwhile another may use its place."""
        self._backing_off += 1 if waiting else -1
        if waiting:
            self.fill()

    def close(self, error: BaseException | None = None) -> None:
        """End it: nothing more is given. `error` is what a reader meets who has not read it to its end."""
        if error is not None and self._error is None and not (self._over and not self._batches and not self.items):
            self._error = error
        self.items.clear()
        self._batches.clear()
        self._finish()

    def abandon(self) -> None:
        """Close it, from whichever thread collected its stream."""
        if self._over or self._loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self.close()
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed at this very moment
            self._loop.call_soon_threadsafe(self.close)

    def _at_work(self) -> int:
        return len(self._own_workers) - self._backing_off

    def _may_go_on(self) -> bool:
        """Whether the next page of a date that has begun may be asked for."""
        return self._whole or self._starves() or self._pages_ahead() < self._most_ahead

    def _may_begin(self) -> bool:
        """Whether another date may be begun."""
        if self._whole:
            return len(self._batches) + len(self._states) < self._most_ahead
        return self._pages_ahead() < self._most_ahead or (self._starves() and len(self._states) < self._most_ahead)

    def _pages_ahead(self) -> int:
        return len(self._batches) + self._waiting + self._busy

    def _set_busy(self, state: _DateState, busy: bool) -> None:
        self._busy += busy - state.busy
        state.busy = busy

    def _starves(self) -> bool:
        return self._reader is not None and not self._reader.done()

    def _next_date(self) -> _DateState | None:
        if self._paginators is None or not self._may_begin():
            return None
        try:
            paginator = next(self._paginators, None)
        except Exception as error:  # of the caller's iterable of dates: it comes in its turn
            state = _DateState(None)
            self._states.append(state)
            self.failed(state, error)
            return None
        if paginator is None:
            self._paginators = None
            self._flush()
            return None
        state = _DateState(paginator)
        self._set_busy(state, True)
        self._states.append(state)
        return state

    def _add(self, state: _DateState, batch: Iterable[T]) -> None:
        state.batches.append(batch)  # an empty one too: who stops reading stops the requests for empty dates as well
        self._waiting += 1

    def _flush(self) -> None:
        """Let the reader have whatever its turn has come for."""
        if self._ordered:
            while self._states and self._hand_over(self._states[0]):
                self._states.popleft()
        else:
            for state in [state for state in self._states if self._hand_over(state)]:
                self._states.remove(state)
        if self._paginators is None and not self._states:
            self._finish()
        elif self._batches:
            self._wake()

    def _hand_over(self, state: _DateState) -> bool:
        """Hand over what a date has; True if it is done with."""
        if state.done or not self._whole:
            self._batches.extend(state.batches)
            self._waiting -= len(state.batches)
            state.batches.clear()
        if state.error is not None:
            self._error, self._traceback = state.error, state.error.__traceback__
        return state.done

    def _drop_what_nobody_will_read(self, failed: _DateState) -> None:
        """After a failure: the dates behind it; without an order, those that are not complete yet."""
        states = list(self._states)
        dropped = states[states.index(failed) + 1 :] if self._ordered else [t for t in states if not t.done]
        for state in dropped:
            self._states.remove(state)
            self._waiting -= len(state.batches)
            self._set_busy(state, False)
            state.done = True
        for worker in list(self._own_workers):
            if worker.state in dropped:
                worker.request_stop()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._paginators = None
            self._states.clear()
            for worker in list(self._own_workers):
                worker.request_stop()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None:
            if not self._reader.done():
                self._reader.set_result(None)
            self._reader = None

    def __repr__(self) -> str:
        if self._over:
            return "ended" if self._error is None else f"ended with {type(self._error).__name__}"
        return f"{len(self._own_workers)} workers under way, {len(self._batches) + self._waiting} pages or dates unread"


class Worker:
    """A task that fetches pages for a prefetcher. It is never cancelled in the middle of a request, but called back.

    A request that the server may be working on has to keep its place in flight until it ends; so the task finishes
    it, for the client, and ends then.
    """

    __slots__ = ("_prefetcher", "_request_under_way", "_stop_requested", "_task", "state")

    def __init__(self, prefetcher: Prefetcher[Any], state: _DateState) -> None:
        self.state = state
        self._prefetcher = prefetcher
        self._request_under_way = False
        self._stop_requested = False
        self._task = asyncio.create_task(self._run(), name="clicksgroup worker")
        self._task.add_done_callback(self._ended)

    def request_stop(self) -> None:
        """Nobody needs the result: end now, or as soon as the request that is under way has ended."""
        self._stop_requested = True
        if not self._request_under_way:
            self._task.cancel()

    def request_started(self) -> None:
        self._request_under_way = True

    def request_ended(self) -> None:
        self._request_under_way = False
        if self._stop_requested:
            raise asyncio.CancelledError

    def backing_off(self, waiting: bool) -> None:
        self._prefetcher.backing_off(waiting)

    @staticmethod
    async def end_all(all_workers: set[Worker]) -> None:
        """Cancel them for good, whatever is under way, and wait until they have ended."""
        tasks = [worker._task for worker in all_workers]
        for worker in all_workers:
            worker._stop_requested = True
            worker._task.cancel()
        await asyncio.wait(tasks)

    async def _run(self) -> None:
        prefetcher = self._prefetcher
        state: _DateState | None = self.state
        while state is not None and state.paginator is not None and state.paginator.request is not None:
            self.state = state
            if state.paginator.fetched_at is None:
                state.paginator.fetched_at = datetime.datetime.now(datetime.UTC)
            try:
                prefetcher.arrived(state, await prefetcher.fetch(state.paginator.request, self))
            except Exception as error:
                self.request_ended()
                prefetcher.failed(state, error)
            state = prefetcher.take()
            if state is None:  # the reader may be about to make room, which is cheaper to await than a new task
                await asyncio.sleep(0)
                state = prefetcher.take()
        prefetcher.gone(self)  # at once, to leave its place to the next

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._prefetcher.gone(self)  # a task that is cancelled before its first step never gets to say it
        if task.cancelled() and not self._stop_requested:  # somebody cancels all tasks there are
            self._prefetcher.close(ClientClosedError("the task that fetched for this stream was cancelled"))
        self._prefetcher.fill()  # one that was called back leaves its place to a date that had to wait
