"""Rows read in bounded chunks, each in a short transaction of its own: whoever stops reading leaves nothing open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

Chunks = Callable[[Any], Awaitable[tuple[Sequence[T], Any]]]
"""Given where the last chunk ended (None at first), the next one and where it ends (None when it is the last)."""


class StoreStream(AsyncGenerator[T, None], Generic[T]):
    """A stream from the store: `async for` runs it, `break` leaves nothing behind. Provisional.

    `async with` and `aclose` end it early. After an error it keeps raising that error. A second reader at the same
    time is refused (`RuntimeError`). A cancelled read loses nothing.
    """

    def __init__(self, chunks: Chunks[T]) -> None:
        self._chunks = chunks
        self._chunk: Iterator[T] = iter(())
        self._ended_at: Any = None
        self._last = False
        self._error: BaseException | None = None
        self._reading = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._error is not None:
            raise self._error
        if self._reading:
            raise RuntimeError("the stream is being read by another task")
        while True:
            for item in self._chunk:
                return item
            if self._last:
                raise StopAsyncIteration
            self._reading = True
            try:
                items, ended_at = await self._chunks(self._ended_at)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._error = error
                raise
            finally:
                self._reading = False
            if not self._last:  # not closed meanwhile
                self._chunk, self._ended_at, self._last = iter(items), ended_at, ended_at is None

    async def aclose(self) -> None:
        """End the stream."""
        self._chunk, self._last, self._error = iter(()), True, None

    async def asend(self, value: None) -> T:
        """The next item, as `anext` gives it."""
        if value is not None:
            raise TypeError("a stream takes no values")
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> T:
        """End the stream and raise the exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
