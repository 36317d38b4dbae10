"""A server that answers every page with one record, and judges as strictly as the vendor's might."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Literal, Self

import orjson

from clicksgroup import Quota
from tests.quota.checker import most_at_once, most_in_any_window, most_in_fixed_windows

Counting = Literal["sliding", "fixed"]


class Vendor:
    """Counts a request when it arrives, and answers what is over the quota with 429.

    A request whose client hangs up is worked on to its end all the same.

    Args:
        quota: what is enforced.
        counting: in a sliding window, or in fixed ones of a random phase.
        latency: seconds that an answer takes.
        delay: a random time up to so many seconds passes before a request is counted, and again before its answer.
        pauses: answer the request of that number, from 1, with 429 and so many seconds of `Retry-After`.
    """

    def __init__(
        self,
        quota: Quota,
        counting: Counting = "sliding",
        *,
        latency: float = 0.005,
        delay: float = 0.0,
        pauses: tuple[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.quota = quota
        self.arrivals: list[float] = []
        self.spans: list[tuple[float, float]] = []
        self.rejected = 0
        self._counting = counting
        self._latency = latency
        self._delay = delay
        self._pauses = pauses
        self._random = random.Random(seed)
        self._phases = [self._random.random() * window for _, window in quota.limits]
        self._open = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def most_in_flight(self) -> int:
        return most_at_once(self.spans)

    def over(self) -> list[str]:
        """Which windows held more than they may: all of them, whatever was enforced."""
        found: list[str] = []
        for (count, window), phase in zip(self.quota.limits, self._phases, strict=True):
            mosts = most_in_any_window(self.arrivals, window), most_in_fixed_windows(self.arrivals, window, phase)
            found += [f"{most} in {window} s" for most in mosts if most > count]
        return found

    def used(self) -> float:
        """The part of the quota that was used, from the first request on, over whole windows of the first limit."""
        count, window = self.quota.limits[0]
        windows = (len(self.arrivals) - 1) // count
        return windows * window / (self.arrivals[windows * count] - self.arrivals[0])

    def __repr__(self) -> str:
        return f"<Vendor {self.quota!r}, {self._counting}>"

    async def arrived(self, number: int) -> None:
        """Until so many have arrived in all."""
        if len(self.arrivals) < number:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((number, waiter))
            await waiter

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        if self._delay:
            await asyncio.sleep(self._random.random() * self._delay)
        began = clock()
        self._open += 1
        self.arrivals.append(began)
        for number, waiter in self._waiters:
            if number <= len(self.arrivals) and not waiter.done():
                waiter.set_result(None)
        status = self._status()
        await asyncio.sleep(self._latency + self._random.random() * self._delay)
        self._open -= 1
        self.spans.append((began, clock()))
        writer.write(self._response(status))

    def _status(self) -> int:
        if self._pauses is not None and len(self.arrivals) == self._pauses[0]:
            return 429
        over = self._open > self.quota.in_flight
        for (count, window), phase in zip(self.quota.limits, self._phases, strict=True):
            now = self.arrivals[-1]
            begin = now - window if self._counting == "sliding" else now - (now - phase) % window
            recent = self.arrivals[-count - 1 :]
            over |= sum(at > begin if self._counting == "sliding" else at >= begin for at in recent) > count
        self.rejected += over
        return 429 if over else 200

    def _response(self, status: int) -> bytes:
        headers = f"Retry-After: {self._pauses[1]}\r\n" if status == 429 and self._pauses is not None else ""
        extra = {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 1, "totalCount": 1}
        records = [{"grpIdx": 1, "grpNm": "Group", "acesCnt": 2, "pernCnt": 1}]
        body = orjson.dumps({"code": 0, "message": "", "result": {"extra": extra, "list": records}})
        return f"HTTP/1.1 {status} Checked\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
