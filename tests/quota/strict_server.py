"""A server that keeps a quota as strictly as any could, and remembers what it saw."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from types import TracebackType
from typing import Self

from clicksgroup.plans import Quota


class StrictServer:
    """Counts a request when it arrives, on a strict sliding window, and holds it open for `latency` seconds.

    `delay` keeps each request up to so many seconds on its way, before it is counted. What is over the quota is
    answered with 429 and is in `rejected`; after `stop()` all are answered with 410, so that workers end.
    """

    def __init__(self, quota: Quota, *, latency: float = 0.005, delay: float = 0.0, seed: int = 0) -> None:
        self.arrivals: list[tuple[float, str]] = []  # when, from whom
        self.rejected: list[str] = []  # why
        self.in_flight = 0
        self.most_in_flight = 0
        self._quota = quota
        self._latency = latency
        self._delay = delay
        self._random = random.Random(seed)
        self._windows = [(count, window, deque[float]()) for count, window in quota.limits]
        self._stopped = False
        self._news = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        self._stopped = True

    async def seen(self, requests: int, *, by: str | None = None) -> None:
        """Until so many more have arrived."""
        target = self.count(by) + requests
        async with self._news:
            await self._news.wait_for(lambda: self.count(by) >= target)

    def count(self, by: str | None = None) -> int:
        return len(self.arrivals) if by is None else sum(1 for _, who in self.arrivals if who == by)

    def shares(self, start: float, end: float) -> Counter[str]:
        """How many each of them sent in that time."""
        return Counter(who for at, who in self.arrivals if start <= at < end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head.split(b" ", 2)[1].decode().strip("/"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, who: str, writer: asyncio.StreamWriter) -> None:
        if self._stopped:
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
            return
        await asyncio.sleep(self._random.random() * self._delay)
        status = await self._count(who)
        await asyncio.sleep(self._latency)
        self.in_flight -= 1
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}" % status)

    async def _count(self, who: str) -> bytes:
        now = time.monotonic()
        self.arrivals.append((now, who))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.in_flight > self._quota.in_flight:
            self.rejected.append(f"{who}: {self.in_flight} in flight")
        for count, window, times in self._windows:
            while times and times[0] <= now - window:
                times.popleft()
            times.append(now)
            if len(times) > count:
                self.rejected.append(f"{who}: {len(times)} in {window} s")
        async with self._news:
            self._news.notify_all()
        return b"429 Too Many Requests" if self.rejected else b"200 OK"
