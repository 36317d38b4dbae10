"""A stream that reads rows in chunks. Each chunk is a short transaction, so that no reader leaves one open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from clicksgroup.exports import Columns
from clicksgroup.models import GroupClicks
from clicksgroup.streams import ItemStream

T = TypeVar("T")
P = TypeVar("P")


class StoreStream(ItemStream[T]):
    """Items from the store. `break` leaves nothing behind. Provisional; for the rest see `ItemStream`.

    Args:
        read_chunk: given a position, returns the items from there and the position after them, or None at the end.
        start: the first position.
    """

    __slots__ = ("_error", "_position", "_read_chunk")

    def __init__(self, read_chunk: Callable[[P], Awaitable[tuple[Sequence[T], P | None]]], start: P) -> None:
        super().__init__()
        self._read_chunk: Callable[[Any], Awaitable[tuple[Sequence[T], Any]]] = read_chunk
        self._position: P | None = start
        self._error: Exception | None = None

    async def next_item(self) -> T:
        """The first item of the next chunk."""
        while not self._items:
            if self._position is None:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            try:
                items, position = await self._read_chunk(self._position)
            except Exception as error:
                self._error = error
                raise
            # It may have been closed meanwhile.
            if self._position is not None:
                self._items.extend(items)
                self._position = position
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the stream: nothing more is read, and nothing more is given."""
        self._items.clear()
        self._position = None


class RecordStream(StoreStream[GroupClicks]):
    """Records from the store, which `clicksgroup.exports` takes as columns. Provisional.

    Args:
        read_columns: given a position, returns the columns of the records from there and the position after them.
        start: the first position.
    """

    __slots__ = ("_read_columns", "_start")

    def __init__(self, read_columns: Callable[[P], Awaitable[tuple[Columns, P | None]]], start: P) -> None:
        async def read_chunk(position: P) -> tuple[Sequence[GroupClicks], P | None]:
            columns, after = await read_columns(position)
            return list(map(GroupClicks, *columns)), after

        super().__init__(read_chunk, start)
        self._read_columns: Callable[[Any], Awaitable[tuple[Columns, Any]]] = read_columns
        self._start = start

    async def columns(self) -> AsyncIterator[Columns]:
        """All records of the stream in chunks of columns, none of them empty, whether some were read before or not."""
        position: Any = self._start
        while position is not None:
            columns, position = await self._read_columns(position)
            if columns[0]:
                yield columns
