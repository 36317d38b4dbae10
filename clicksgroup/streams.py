"""Many dates at once: their order, how far to work ahead, and whose tasks are whose.

A `Stream` is what a reader holds. Behind it a `Job` decides, in synchronous methods, which page is asked for next;
its `Errand`s, one task each, do the asking. No errand refers to the stream, so that a stream that is dropped is
collected and ends its job.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs

from clicksgroup.errors import ClicksGroupError, ClientClosedError
from clicksgroup.models import Page
from clicksgroup.protocol import PageRequest, Reply, Walk

T = TypeVar("T")

LOOK_AHEAD = 3
"""Pages (whole dates, where they are given whole) that a job works ahead of its reader, besides those in flight."""


class Stream(AsyncGenerator[T, None]):
    """Items as they come: read it with `async for`. Nothing is requested before the first is asked for.

    It works ahead of its reader by a bounded number of pages, and never beyond the quota. `break` ends it, and so do
    `aclose`, `async with`, `contextlib.aclosing`, and leaving the client. A cancelled `anext` loses nothing: the next
    one gives that item. After an error every later `anext` raises that error again.

    Raises:
        RuntimeError: a second reader asks while one is waiting.
        ClientClosedError: the client is not open.
    """

    __slots__ = ("__weakref__", "_begin", "_ended", "_items", "_job", "_reading")

    def __init__(self, begin: Callable[[], Job[T]]) -> None:
        self._begin = begin
        self._job: Job[T] | None = None
        self._items: deque[T] = deque()
        self._reading = False
        self._ended = False

    async def __anext__(self) -> T:
        if self._items:
            return self._items.popleft()
        if self._reading:
            raise RuntimeError("anext(): the stream is being read already; a stream has one reader")
        self._reading = True
        try:
            return await self._started().next()
        finally:
            self._reading = False

    def __aiter__(self) -> Self:
        return self

    async def asend(self, value: None) -> T:  # noqa: ARG002
        """The same as `anext`, as for any generator that takes nothing."""
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        """End the stream and raise the exception, as a generator does that catches nothing."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)

    async def aclose(self) -> None:
        """End the stream: it starts no further request, and gives nothing more."""
        self._ended = True
        if self._job is not None:
            self._job.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_job", None) is not None:
            self._job.abandon()  # type: ignore[union-attr]

    def __repr__(self) -> str:
        state = "not started" if self._job is None else repr(self._job)
        return f"<Stream: {'closed' if self._ended else state}>"

    def _started(self) -> Job[T]:
        if self._job is None:
            if self._ended:
                raise StopAsyncIteration
            self._job = self._begin()
            self._items = self._job.items
        return self._job


@attrs.frozen
class Delivery(Generic[T]):
    """What a stream gives, made of pages or of whole dates.

    Args:
        page: what a page adds.
        date: what a whole date adds; where this is given, a date is read to its end before anything of it is given.
        failure: what stands for a date that failed, or None if that is to end the stream.
    """

    page: Callable[[Page], Sequence[T]] | None = None
    date: Callable[[Walk], Sequence[T]] | None = None
    failure: Callable[[Walk, ClicksGroupError], Sequence[T] | None] | None = None


class _Track:
    """One date under way."""

    __slots__ = ("batches", "busy", "done", "error", "walk")

    def __init__(self, walk: Walk | None) -> None:
        self.walk = walk  # None where the caller's dates failed
        self.batches: list[Sequence[Any]] = []  # what must wait for its turn
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
        self._crew = crew
        self._errands: set[Errand] = set()
        self._resting = 0
        self._tracks: deque[_Track] = deque()  # in the order of dates
        self._batches: deque[Sequence[T]] = deque()  # what may be read, page by page
        self._waiting = 0  # batches of all tracks
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
            self.fill()
            if not self._batches and not self._over:
                self._reader = self._loop.create_future()
                await self._reader

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
        for place, track in enumerate(self._tracks):
            if not track.busy and not track.done and self._may_go_on(place):
                track.busy = True
                return track
        return self._next_date()

    def arrived(self, track: _Track, reply: Reply) -> None:
        """A page has come.

        Raises:
            PaginationError: it does not fit; the date has failed.
        """
        if self._over or track.done or track.walk is None:
            return
        page = track.walk.accept(reply)
        track.busy = False
        if page is not None and self._delivery.page is not None:
            self._add(track, self._delivery.page(page))
        if track.walk.request is None:
            if self._delivery.date is not None:
                self._add(track, self._delivery.date(track.walk))
            track.done = True
        self._flush()

    def failed(self, track: _Track, error: BaseException) -> None:
        """A page will not come."""
        if self._over or track.done:
            return
        track.busy = False
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
        else:
            self._loop.call_soon_threadsafe(self.close)

    def _at_work(self) -> int:
        return len(self._errands) - self._resting

    def _may_go_on(self, place: int) -> bool:
        if self._whole:
            return True  # a date that is given whole is read to its end
        # The first date never waits for those behind it: the reader would wait for ever.
        return len(self._batches) + (self._waiting if place else 0) < self._in_flight + LOOK_AHEAD

    def _next_date(self) -> _Track | None:
        unfinished = sum(not track.done for track in self._tracks)
        ahead = len(self._batches) + self._waiting + unfinished
        if self._walks is None or ahead >= self._in_flight + LOOK_AHEAD:
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
        track.busy = True
        self._tracks.append(track)
        return track

    def _add(self, track: _Track, batch: Sequence[T]) -> None:
        if batch:
            track.batches.append(batch)
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


class SharedAnswer(Generic[T]):
    """The one item of a stream, for any number of callers. The last one who loses interest ends the stream.

    Args:
        stream: gives the item.
        ended: called when it is there, or nobody wants it any more.
    """

    def __init__(self, stream: Stream[T], ended: Callable[[], object]) -> None:
        self._callers = 0
        self._ended = ended
        self._task = asyncio.create_task(self._first(stream), name="clicksgroup answer")

    async def get(self) -> T:
        """The item; a caller that is cancelled leaves the others alone."""
        self._callers += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._callers -= 1
            if not self._callers and not self._task.done():
                self._ended()
                self._task.cancel()

    async def _first(self, stream: Stream[T]) -> T:
        try:
            async with stream:
                return await anext(stream)
        finally:
            self._ended()


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
        try:
            while track is not None and track.walk is not None and track.walk.request is not None:
                self.track = track
                if track.walk.fetched_at is None:
                    track.walk.fetched_at = datetime.datetime.now(datetime.UTC)
                try:
                    job.arrived(track, await job.fetch(track.walk.request, self))
                except Exception as error:
                    job.failed(track, error)
                track = job.take()
        except asyncio.CancelledError:
            if not self._called_back:  # somebody cancels all tasks there are: the reader must not wait for ever
                job.close(ClientClosedError("the task that fetched for this stream was cancelled"))
            raise
        finally:
            job.gone(self)
