"""Streams: what a reader holds, whether the items come from the API or from a store; and what a client has open.

The work behind a `Stream` is a `Prefetcher`'s. Nothing in it refers to the stream, so a stream that is dropped is
collected, and ends its prefetcher.
"""

from __future__ import annotations

import abc
import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from clicksgroup.errors import ClientClosedError
from clicksgroup.fetching import Fetcher
from clicksgroup.prefetching import ItemFactory, Prefetcher
from clicksgroup.protocol import Paginator
from clicksgroup.workers import Worker

T = TypeVar("T")


class ItemStream(AsyncGenerator[T, None]):
    """Items as they come: read it with `async for`.

    `break` ends it, and so do `aclose`, `async with` and `contextlib.aclosing`. A cancelled `anext` loses nothing: the
    next one gives that item. After an error every later `anext` raises that error again.

    Raises:
        RuntimeError: a second reader asks while one is waiting.
    """

    __slots__ = ("__weakref__", "_items", "_reading")

    def __init__(self) -> None:
        # Items at hand: they are given without another call.
        self._items: deque[T] = deque()
        self._reading = False

    @abc.abstractmethod
    async def next_item(self) -> T:
        """The next item, or the exception that the stream ends with. Called where none is at hand, by one reader."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """End the stream: nothing more is fetched, and nothing more is given."""

    async def __anext__(self) -> T:
        if self._items:
            return self._items.popleft()
        if self._reading:
            raise RuntimeError("anext(): the stream is being read already; a stream has one reader")
        self._reading = True
        try:
            return await self.next_item()
        finally:
            self._reading = False
            # An exception keeps its frames, and they must not keep the stream and its work alive.
            del self

    async def asend(self, value: None) -> T:  # noqa: ARG002
        """The same as `anext`, as for any generator that takes nothing."""
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        """End the stream and raise the exception, as a generator does that catches nothing."""
        await self.aclose()
        if isinstance(typ, type):
            typ = val if isinstance(val, BaseException) else typ() if val is None else typ(val)
        raise typ if tb is None else typ.with_traceback(tb)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Stream(ItemStream[T]):
    """Items from the API. Nothing is requested before the first is asked for.

    It works ahead of its reader by a bounded number of pages, and never beyond the quota. Leaving the client ends it.
    For the rest see `ItemStream`.

    Raises:
        ClientClosedError: the client is not open.
        RuntimeError: a second reader asks while one is waiting.
    """

    __slots__ = ("_begin", "_ended", "_prefetcher")

    def __init__(self, begin: Callable[[], Prefetcher[T]]) -> None:
        super().__init__()
        self._begin = begin
        self._prefetcher: Prefetcher[T] | None = None
        self._ended = False

    async def next_item(self) -> T:
        """The next item of the prefetcher, which keeps those of the same page in `items`."""
        if self._prefetcher is None:
            if self._ended:
                raise StopAsyncIteration
            self._prefetcher = self._begin()
            self._items = self._prefetcher.items
        prefetcher = self._prefetcher
        # As in `__anext__`.
        del self
        return await prefetcher.next()

    async def aclose(self) -> None:
        """End the stream: it starts no further request, and gives nothing more."""
        self._ended = True
        if self._prefetcher is not None:
            self._prefetcher.close()

    def __del__(self) -> None:
        if getattr(self, "_prefetcher", None) is not None:
            self._prefetcher.abandon()  # type: ignore[union-attr]

    def __repr__(self) -> str:
        state = "not started" if self._prefetcher is None else repr(self._prefetcher)
        return f"<Stream: {'closed' if self._ended else state}>"


class SharedAnswer(Generic[T]):
    """What some work returns, for all who ask the same at the same time. The last caller who leaves cancels the work.

    Others find this answer in `pending` under its query, until it is there.
    """

    def __init__(
        self, work: Coroutine[Any, Any, T], query: Hashable, pending: dict[Hashable, SharedAnswer[Any]]
    ) -> None:
        self._callers = 0
        self._query = query
        self._pending = pending
        pending[query] = self
        self._task = asyncio.create_task(work, name="clicksgroup answer")
        self._task.add_done_callback(self._ended)

    async def get(self) -> T:
        """The answer. A caller that is cancelled does not disturb the others."""
        self._callers += 1
        try:
            await asyncio.wait((self._task,))
        finally:
            self._callers -= 1
            if not self._callers and not self._task.done():
                self._task.cancel()
                self._forget()
        # Every caller raises the same exception: without this its traceback would grow with each.
        if (error := self._task.exception()) is not None:
            raise error.with_traceback(None)
        return self._task.result()

    def _forget(self) -> None:
        if self._pending.get(self._query) is self:
            del self._pending[self._query]

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._forget()
        # All callers may have left: asyncio logs an exception that was never retrieved.
        if not task.cancelled():
            task.exception()


async def share(
    query: Hashable, pending: dict[Hashable, SharedAnswer[Any]], work: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """What `work` returns, shared by all who ask the same until it is there."""
    shared: SharedAnswer[T] = pending.get(query) or SharedAnswer(work(), query, pending)
    return await shared.get()


class Lifecycle:
    """The fetcher, streams and tasks of one client. What `connect` opens goes onto the stack that it is given."""

    def __init__(self, connect: Callable[[AsyncExitStack], Awaitable[Fetcher]]) -> None:
        self.fetcher: Fetcher | None = None
        self.closed = False
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exits = AsyncExitStack()
        self._prefetchers: weakref.WeakSet[Prefetcher[Any]] = weakref.WeakSet()
        self._workers: set[Worker] = set()
        # By query, until they are there.
        self._shared_answers: dict[Hashable, SharedAnswer[Any]] = {}

    async def open(self) -> None:
        if self.closed or self._loop is not None:
            raise ClientClosedError("the client was opened before; a client is opened once: make a new one")
        self._loop = asyncio.get_running_loop()
        try:
            self.fetcher = await self._connect(self._exits)
            if self.closed:
                raise ClientClosedError("the client was closed while it was being opened")
        except BaseException:
            self.closed = True
            await self._exits.aclose()
            raise

    async def close(self) -> None:
        """End all streams, requests and tasks, then what `connect` opened."""
        self.closed = True
        self.fetcher = None
        closed = ClientClosedError("the client was closed while this stream was being read")
        for prefetcher in list(self._prefetchers):
            prefetcher.close(closed)
        try:
            while self._workers:
                await asyncio.wait([worker.cancel() for worker in self._workers])
        finally:
            await self._exits.aclose()

    def opened(self) -> Fetcher:
        """The fetcher of a client that is open in this event loop."""
        if self.closed:
            raise ClientClosedError("the client is closed: use it inside its `async with` block")
        if self.fetcher is None:
            raise ClientClosedError("the client is not open: use `async with ClicksClient(...) as client`")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosedError("the client belongs to another event loop: open one in each")
        return self.fetcher

    def stream(self, factory: ItemFactory[T], paginators: Iterator[Paginator], *, ordered: bool = True) -> Stream[T]:
        """A stream that begins when it is first read."""

        def begin() -> Prefetcher[T]:
            fetcher = self.opened()
            prefetcher = Prefetcher(
                paginators=paginators,
                factory=factory,
                ordered=ordered,
                in_flight=fetcher.quota.quota.in_flight,
                fetch=fetcher.fetch,
                all_workers=self._workers,
                wait_status=fetcher.quota.wait_status,
            )
            self._prefetchers.add(prefetcher)
            return prefetcher

        return Stream(begin)

    async def ask(self, query: Hashable, stream: Callable[[], Stream[T]]) -> T:
        """The one item of a stream, shared by all who ask the same until it is there."""

        async def first() -> T:
            async with stream() as items:
                return await anext(items)

        self.opened()
        return await share(query, self._shared_answers, first)
