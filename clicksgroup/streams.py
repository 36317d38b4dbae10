"""What a reader of many dates holds: a stream, or its share in an answer that others wait for too.

The work is a `Prefetcher`'s (`clicksgroup.prefetching`). Nothing in it refers to the stream, so that a stream that is
dropped is collected and ends its prefetcher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from clicksgroup.prefetching import Prefetcher

T = TypeVar("T")


class Stream(AsyncGenerator[T, None]):
    """Items as they come: read it with `async for`. Nothing is requested before the first is asked for.

    It works ahead of its reader by a bounded number of pages, and never beyond the quota. `break` ends it, and so do
    `aclose`, `async with`, `contextlib.aclosing`, and leaving the client. A cancelled `anext` loses nothing: the next
    one gives that item. After an error every later `anext` raises that error again.

    Raises:
        RuntimeError: a second reader asks while one is waiting.
        ClientClosedError: the client is not open.
    """

    __slots__ = ("__weakref__", "_begin", "_ended", "_items", "_prefetcher", "_reading")

    def __init__(self, begin: Callable[[], Prefetcher[T]]) -> None:
        self._begin = begin
        self._prefetcher: Prefetcher[T] | None = None
        self._items: deque[T] = deque()  # of the prefetcher, once there is one
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
            del self  # whoever keeps an exception keeps its frames: they must not keep the stream, and its work, alive

    def __aiter__(self) -> Self:
        return self

    async def asend(self, value: None) -> T:  # noqa: ARG002
        """The same as `anext`, as for any generator that takes nothing."""
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        """End the stream and raise the exception, as a generator does that catches nothing."""
        await self.aclose()
        if isinstance(typ, type):
            typ = val if isinstance(val, BaseException) else typ() if val is None else typ(val)
        raise typ if tb is None else typ.with_traceback(tb)

    async def aclose(self) -> None:
        """End the stream: it starts no further request, and gives nothing more."""
        self._ended = True
        if self._prefetcher is not None:
            self._prefetcher.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_prefetcher", None) is not None:
            self._prefetcher.abandon()  # type: ignore[union-attr]

    def __repr__(self) -> str:
        state = "not started" if self._prefetcher is None else repr(self._prefetcher)
        return f"<Stream: {'closed' if self._ended else state}>"

    def _started(self) -> Prefetcher[T]:
        if self._prefetcher is None:
            if self._ended:
                raise StopAsyncIteration
            self._prefetcher = self._begin()
            self._items = self._prefetcher.items
        return self._prefetcher


class SharedAnswer(Generic[T]):
    """The one item of a stream, for all who ask the same. The last one who loses interest ends the stream.

    Args:
        stream: gives the item.
        query: what is asked.
        asked: where others find this answer under its query, while it is on its way.
    """

    def __init__(self, stream: Stream[T], query: Hashable, asked: dict[Hashable, SharedAnswer[Any]]) -> None:
        self._callers = 0
        self._query = query
        self._asked = asked
        asked[query] = self
        self._task = asyncio.create_task(self._first(stream), name="clicksgroup answer")

    async def get(self) -> T:
        """The item; a caller that is cancelled leaves the others alone."""
        self._callers += 1
        try:
            await asyncio.wait((self._task,))
        finally:
            self._callers -= 1
            if not self._callers:
                self._unwanted()
        return self._task.result()

    def _unwanted(self) -> None:
        if not self._task.done():
            self._task.cancel()
            self._forget()
        elif not self._task.cancelled():
            self._task.exception()  # or it would be logged as one that nobody asked for

    def _forget(self) -> None:
        if self._asked.get(self._query) is self:
            del self._asked[self._query]

    async def _first(self, stream: Stream[T]) -> T:
        try:
            async with stream:
                return await anext(stream)
        finally:
            self._forget()
