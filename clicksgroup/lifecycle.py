"""What a client has open: it is opened once, in one event loop, and closing it ends all that it started."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from clicksgroup.errors import ClientClosedError
from clicksgroup.fetching import Fetcher
from clicksgroup.prefetching import ItemFactory, Prefetcher
from clicksgroup.protocol import Paginator
from clicksgroup.streams import SharedAnswer, Stream
from clicksgroup.workers import Worker

T = TypeVar("T")


class Lifecycle:
    """The fetcher, streams and tasks of one client.

    Args:
        connect: makes the fetcher; what it opens goes onto the stack that it is given, and is closed at the end.
    """

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
        """Connect.

        Raises:
            ClientClosedError: it was opened before.
        """
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
                await Worker.cancel_all(self._workers)
        finally:
            await self._exits.aclose()

    def opened(self) -> Fetcher:
        """The fetcher.

        Raises:
            ClientClosedError: the client is not open in this event loop.
        """
        if self.closed:
            raise ClientClosedError("the client is closed: use it inside its `async with` block")
        if self.fetcher is None:
            raise ClientClosedError("the client is not open: use `async with ClicksClient(...) as client`")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosedError("the client belongs to another event loop: open one in each")
        return self.fetcher

    def stream(self, factory: ItemFactory[T], paginators: Iterator[Paginator], *, ordered: bool = True) -> Stream[T]:
        """A stream that begins when it is first read."""
        return Stream(functools.partial(self._begin, factory, paginators, ordered))

    async def ask(self, query: Hashable, stream: Callable[[], Stream[T]]) -> T:
        """The one item of a stream, shared by all who ask the same until it is there."""
        self.opened()
        shared: SharedAnswer[T] = self._shared_answers.get(query) or SharedAnswer(stream(), query, self._shared_answers)
        return await shared.get()

    def _begin(self, factory: ItemFactory[T], paginators: Iterator[Paginator], ordered: bool) -> Prefetcher[T]:
        fetcher = self.opened()
        prefetcher = Prefetcher(
            paginators,
            factory,
            ordered=ordered,
            in_flight=fetcher.quota.quota.in_flight,
            fetch=fetcher.fetch,
            all_workers=self._workers,
            wait_status=fetcher.quota.wait_status,
        )
        self._prefetchers.add(prefetcher)
        return prefetcher
