"""A server that enforces a quota as strictly as the vendor's might, and records what it saw."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Literal, NamedTuple

from clicksgroup.plans import Quota
from tests import checker
from tests.pages import dumps, envelope
from tests.raw_server import RawServer, Request, http

Counting = Literal["sliding", "fixed"]

PAGE = dumps(envelope(total=1))


class Arrival(NamedTuple):
    """A request as it was counted: when, and from whom, which is the first part of its path."""

    at: float
    sender: str


class QuotaServer(RawServer):
    """Counts each request when it arrives, also one that it rejects, and answers with 429 what exceeds the quota.

    Every other response is a page of one record. A request whose client disconnects is worked on to its end.

    Args:
        quota: what is enforced.
        counting: in a sliding window, or in fixed ones of a random phase.
        latency: seconds of work on a request.
        delay: a random time of up to this many seconds passes before a request is counted, and again before its
            response.
        throttle: the request of this number, from 1, is answered with 429 and this many seconds of `Retry-After`.
        seed: of what is random.
    """

    def __init__(
        self,
        quota: Quota,
        counting: Counting = "sliding",
        *,
        latency: float = 0.005,
        delay: float = 0.0,
        throttle: tuple[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(self._respond)
        self.quota = quota
        self.arrivals: list[Arrival] = []
        self.spans: list[tuple[float, float]] = []
        # Why a request was rejected.
        self.rejected: list[str] = []
        self._counting = counting
        self._latency = latency
        self._delay = delay
        self._throttle = throttle
        self._random = random.Random(seed)
        self._phases = [self._random.random() * window for _, window in quota.limits]
        self._in_work = 0
        self._stopped = False

    def __repr__(self) -> str:
        return f"<QuotaServer {self.quota!r}, {self._counting}>"

    @property
    def times(self) -> list[float]:
        """When requests arrived."""
        return [arrival.at for arrival in self.arrivals]

    @property
    def most_in_flight(self) -> int:
        """The most requests that were worked on at once."""
        return checker.most_at_once(self.spans)

    def violations(self) -> list[str]:
        """Everything that exceeds the quota, in sliding windows and in fixed ones, whichever were enforced."""
        return checker.violations(self.quota.limits, self.quota.in_flight, self.times, self.spans, self._phases)

    def used(self) -> float:
        """The share of the first limit that was used."""
        return checker.share_used(self.times, *self.quota.limits[0])

    def count(self, by: str | None = None) -> int:
        """How many requests have arrived, in all or from one sender."""
        return sum(by in (None, sender) for _, sender in self.arrivals)

    def shares(self, start: float, end: float) -> Counter[str]:
        """How many requests each sender sent between two times."""
        return Counter(sender for at, sender in self.arrivals if start <= at < end)

    async def seen(self, requests: int, *, by: str | None = None) -> None:
        """Return when this many more requests have arrived."""
        target = self.count(by) + requests
        await self.wait_until(lambda: self.count(by) >= target)

    def stop(self) -> None:
        """Answer everything with 410 from now on, which ends the worker processes of the tests."""
        self._stopped = True

    async def serve(self, sender: str) -> int:
        """Count a request, work on it, and return the status of its response. HTTP is not needed for that."""
        clock = asyncio.get_running_loop().time
        if self._delay:
            await asyncio.sleep(self._random.random() * self._delay)
        began = clock()
        self._in_work += 1
        self.arrivals.append(Arrival(began, sender))
        self.notify()
        status = self._status()
        await asyncio.sleep(self._latency + self._random.random() * self._delay)
        self._in_work -= 1
        self.spans.append((began, clock()))
        return status

    async def _respond(self, request: Request) -> bytes:
        if self._stopped:
            return http(b"", 410)
        status = await self.serve(request.target.split("/")[1])
        retry_after = [f"Retry-After: {self._throttle[1]}"] if status == 429 and self._throttle is not None else []
        return http(PAGE, status, *retry_after)

    def _status(self) -> int:
        if self._throttle is not None and len(self.arrivals) == self._throttle[0]:
            return 429
        over = self._exceeded()
        self.rejected += over
        return 429 if over else 200

    def _exceeded(self) -> list[str]:
        """What the request that has just arrived exceeds: a limit, if it and the `count` before it share a window."""
        sender = self.arrivals[-1].sender
        over = []
        if self._in_work > self.quota.in_flight:
            over.append(f"{sender}: {self._in_work} in flight")
        for (count, window), phase in zip(self.quota.limits, self._phases, strict=True):
            recent = [arrival.at for arrival in self.arrivals[-count - 1 :]]
            if self._counting == "sliding":
                most = checker.most_in_any_window(recent, window)
            else:
                most = checker.most_in_fixed_windows(recent, window, phase)
            if most > count:
                over.append(f"{sender}: {most} within {window} s")
        return over
