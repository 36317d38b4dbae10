"""The work behind a stream: the order of many dates, how far to work ahead, and whose tasks are whose.

A `Job` decides, in synchronous methods, which page is asked for next; its `Errand`s, one task each, do the asking.
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
from clicksgroup.protocol import PageRequest, Reply, Walk

T = TypeVar("T")

LOOK_AHEAD = 3
"""Pages (dates, where they are given whole) that a job works ahead of its reader, besides as many as may be in
flight. While the reader waits for a date, those behind it that have begun are read on, to their ends."""


@attrs.frozen
class Delivery(Generic[T]):
    """What a stream gives, made of pages or of whole dates. It is iterated when its turn has come.

    Args:
        page: what a page adds.
        date: what a whole date adds; where this is given, a date is read to its end before anything of it is given.
        failure: what stands for a date that failed, or None if that is to end the stream.
        look_ahead: pages (dates, where they are given whole) to work ahead of the reader, besides as many as may be
            in flight.
    """

    page: Callable[[Reply], Iterable[T]] | None = None
    date: Callable[[Walk], Iterable[T]] | None = None
    failure: Callable[[Walk, ClicksGroupError], Iterable[T] | None] | None = None
    look_ahead: int = LOOK_AHEAD


class _Track:
    """One date under way."""

    __slots__ = ("batches", "busy", "done", "error", "walk")

    def __init__(self, walk: Walk | None) -> None:
        self.walk = walk  # None where the caller's dates failed
        self.batches: list[Iterable[Any]] = []  # what must wait for its turn
        self.busy = False
        self.done = False
        self.error: BaseException | None = None


class Job(Generic[T]):
    """The work behind one stream.

    Args:
        walks: the dates, as walks, read lazily.
        delivery: what the stream gives.
        ordered: whether dates are given in their order, or as they complete.
        in_flight: how many requests may be open.
        fetch: gets a reply.
        crew: where errands are known to their owner, the client, until they have ended.
    """

    def __init__(
        self,
        walks: Iterator[Walk],
        delivery: Delivery[T],
        *,
        ordered: bool,
        in_flight: int,
        fetch: Callable[[PageRequest, Errand], Awaitable[Reply]],
        crew: set[Errand],
    ) -> None:
        self.items: deque[T] = deque()  # of the page that is being read
        self.fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._walks: Iterator[Walk] | None = walks
        self._delivery = delivery
        self._ordered = ordered
        self._whole = delivery.date is not None or not ordered
        self._in_flight = in_flight
        self._most_ahead = in_flight + delivery.look_ahead
        self._crew = crew
        self._errands: set[Errand] = set()
        self._resting = 0
        self._tracks: deque[_Track] = deque()  # in the order of dates
        self._batches: deque[Iterable[T]] = deque()  # what may be read, page by page
        self._waiting = 0  # batches of all tracks
        self._busy = 0  # tracks of which a page is under way
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
        """Send out as many errands as there is work and room for."""
        while self._at_work() < self._in_flight and (track := self.take()) is not None:
            errand = Errand(self, track)
            self._errands.add(errand)
            self._crew.add(errand)

    def take(self) -> _Track | None:
        """The date whose next page is to be asked for now: the earliest that may go on, or a new one."""
        if self._at_work() > self._in_flight:  # somebody is back from a rest
            return None
        if self._may_go_on():
            for track in self._tracks:
                if not track.busy and not track.done:
                    self._set_busy(track, True)
                    return track
        return self._next_date()

    def arrived(self, track: _Track, reply: Reply) -> None:
        """A page has come.

        Raises:
            PaginationError: it does not fit; the date has failed.
        """
        if self._over or track.done or track.walk is None:
            return
        stands = track.walk.accept(reply)
        self._set_busy(track, False)
        if stands and self._delivery.page is not None:
            self._add(track, self._delivery.page(reply))
        if track.walk.request is None:
            if self._delivery.date is not None:
                self._add(track, self._delivery.date(track.walk))
            track.done = True
        self._flush()

    def failed(self, track: _Track, error: BaseException) -> None:
        """A page will not come."""
        if self._over or track.done:
            return
        self._set_busy(track, False)
        track.done = True
        instead = None
        if self._delivery.failure is not None and isinstance(error, ClicksGroupError) and track.walk is not None:
            try:
                instead = self._delivery.failure(track.walk, error)
            except Exception as raised:  # of whoever judges failures
                error = raised
        if instead is not None:
            self._add(track, instead)
        else:
            track.error = error
            self._walks = None
            self._drop_what_nobody_will_read(track)
        self._flush()

    def gone(self, errand: Errand) -> None:
        """An errand has ended."""
        self._errands.discard(errand)
        self._crew.discard(errand)

    def rests(self, resting: bool) -> None:
        """An errand waits before it tries again: meanwhile another may use its place."""
        self._resting += 1 if resting else -1
        if resting:
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
        return len(self._errands) - self._resting

    def _may_go_on(self) -> bool:
        """Whether the next page of a date that has begun may be asked for."""
        return self._whole or self._starves() or self._pages_ahead() < self._most_ahead

    def _may_begin(self) -> bool:
        """Whether another date may be begun."""
        if self._whole:
            return len(self._batches) + len(self._tracks) < self._most_ahead
        return self._pages_ahead() < self._most_ahead or (self._starves() and len(self._tracks) < self._most_ahead)

    def _pages_ahead(self) -> int:
        return len(self._batches) + self._waiting + self._busy

    def _set_busy(self, track: _Track, busy: bool) -> None:
        self._busy += busy - track.busy
        track.busy = busy

    def _starves(self) -> bool:
        return self._reader is not None and not self._reader.done()

    def _next_date(self) -> _Track | None:
        if self._walks is None or not self._may_begin():
            return None
        try:
            walk = next(self._walks, None)
        except Exception as error:  # of the caller's iterable of dates: it comes in its turn
            track = _Track(None)
            self._tracks.append(track)
            self.failed(track, error)
            return None
        if walk is None:
            self._walks = None
            self._flush()
            return None
        track = _Track(walk)
        self._set_busy(track, True)
        self._tracks.append(track)
        return track

    def _add(self, track: _Track, batch: Iterable[T]) -> None:
        track.batches.append(batch)  # an empty one too: who stops reading stops the requests for empty dates as well
        self._waiting += 1

    def _flush(self) -> None:
        """Let the reader have whatever its turn has come for."""
        if self._ordered:
            while self._tracks and self._hand_over(self._tracks[0]):
                self._tracks.popleft()
        else:
            for track in [track for track in self._tracks if self._hand_over(track)]:
                self._tracks.remove(track)
        if self._walks is None and not self._tracks:
            self._finish()
        elif self._batches:
            self._wake()

    def _hand_over(self, track: _Track) -> bool:
        """Hand over what a date has; True if it is done with."""
        if track.done or not self._whole:
            self._batches.extend(track.batches)
            self._waiting -= len(track.batches)
            track.batches.clear()
        if track.error is not None:
            self._error, self._traceback = track.error, track.error.__traceback__
        return track.done

    def _drop_what_nobody_will_read(self, failed: _Track) -> None:
        """After a failure: the dates behind it; without an order, those that are not complete yet."""
        tracks = list(self._tracks)
        dropped = tracks[tracks.index(failed) + 1 :] if self._ordered else [t for t in tracks if not t.done]
        for track in dropped:
            self._tracks.remove(track)
            self._waiting -= len(track.batches)
            self._set_busy(track, False)
            track.done = True
        for errand in list(self._errands):
            if errand.track in dropped:
                errand.call_back()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._walks = None
            self._tracks.clear()
            for errand in list(self._errands):
                errand.call_back()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None:
            if not self._reader.done():
                self._reader.set_result(None)
            self._reader = None

    def __repr__(self) -> str:
        if self._over:
            return "ended" if self._error is None else f"ended with {type(self._error).__name__}"
        return f"{len(self._errands)} errands under way, {len(self._batches) + self._waiting} pages or dates unread"


class Errand:
    """A task that fetches pages for a job. It is never cancelled in the middle of a request, but called back.

    A request that the server may be working on has to keep its place in flight until it ends; so the task finishes
    it, for the client, and ends then.
    """

    __slots__ = ("_called_back", "_flying", "_job", "_task", "track")

    def __init__(self, job: Job[Any], track: _Track) -> None:
        self.track = track
        self._job = job
        self._flying = False
        self._called_back = False
        self._task = asyncio.create_task(self._run(), name="clicksgroup errand")
        self._task.add_done_callback(self._ended)

    def call_back(self) -> None:
        """Nobody needs the result: end now, or as soon as the request that is under way has ended."""
        self._called_back = True
        if not self._flying:
            self._task.cancel()

    def takes_off(self) -> None:
        self._flying = True

    def lands(self) -> None:
        self._flying = False
        if self._called_back:
            raise asyncio.CancelledError

    def rests(self, resting: bool) -> None:
        self._job.rests(resting)

    @staticmethod
    async def end_all(crew: set[Errand]) -> None:
        """Cancel them for good, whatever is under way, and wait until they have ended."""
        tasks = [errand._task for errand in crew]
        for errand in crew:
            errand._called_back = True
            errand._task.cancel()
        await asyncio.wait(tasks)

    async def _run(self) -> None:
        job = self._job
        track: _Track | None = self.track
        while track is not None and track.walk is not None and track.walk.request is not None:
            self.track = track
            if track.walk.fetched_at is None:
                track.walk.fetched_at = datetime.datetime.now(datetime.UTC)
            try:
                job.arrived(track, await job.fetch(track.walk.request, self))
            except Exception as error:
                self.lands()
                job.failed(track, error)
            track = job.take()
            if track is None:  # the reader may be about to make room, which is cheaper to await than a new task
                await asyncio.sleep(0)
                track = job.take()
        job.gone(self)  # at once, to leave its place to the next

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._job.gone(self)  # a task that is cancelled before its first step never gets to say it
        if task.cancelled() and not self._called_back:  # somebody cancels all tasks there are
            self._job.close(ClientClosedError("the task that fetched for this stream was cancelled"))
        self._job.fill()  # one that was called back leaves its place to a date that had to wait
