"""A stream that reads rows in chunks. Each chunk is a short transaction, so that no reader leaves one open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
P = TypeVar("P")


class StoreStream(AsyncGenerator[T, None], Generic[T]):
    """A stream from the store: read it with `async for`. `break` leaves nothing behind. Provisional.

    `async with` and `aclose` end it early. After an error it keeps raising that error. A second reader at the same
    time is refused (`RuntimeError`). A cancelled read loses nothing.

    Args:
        read_chunk: given a position, returns the items from there and the position after them, or None at the end.
        start: the first position.
    """

    def __init__(self, read_chunk: Callable[[P], Awaitable[tuple[Sequence[T], P | None]]], start: P) -> None:
        self._read_chunk: Callable[[Any], Awaitable[tuple[Sequence[T], Any]]] = read_chunk
        self._chunk: Iterator[T] = iter(())
        self._position: P | None = start
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
            if self._position is None:
                raise StopAsyncIteration
            self._reading = True
            try:
                items, position = await self._read_chunk(self._position)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._error = error
                raise
            finally:
                self._reading = False
            # It may have been closed meanwhile.
            if self._position is not None:
                self._chunk, self._position = iter(items), position

    async def aclose(self) -> None:
        """End the stream."""
        self._chunk, self._position, self._error = iter(()), None, None

    async def asend(self, value: None) -> T:
        """Return the next item, as `anext` does."""
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
