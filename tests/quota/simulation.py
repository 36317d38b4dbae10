"""Many processes, a slow network, lost results and deaths, in virtual time: for every quota that processes share."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import attrs

from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Event, EventKind
from clicksgroup.quota.state import ExchangeResult
from tests import checker


@attrs.define(eq=False)
class Process:
    """One of the processes: what it waits for, what it has not reported yet, and the slots that it holds."""

    name: str
    alive: bool = True
    waiting: list[str] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    held: dict[str, bool] = attrs.field(factory=dict)


Exchange = Callable[[Process, float], ExchangeResult]


@attrs.define
class Simulation:
    """Runs processes that share a quota through `exchange`, and records what the server sees.

    A request is up to 2 s on its way, in work for up to 1 s, and its answer up to 1 s on its way back.
    """

    quota: Quota
    exchange: Exchange
    rng: random.Random
    died: Callable[[str, float], None] = lambda name, now: None
    now: float = 1000.0
    arrivals: list[float] = attrs.field(factory=list)
    spans: list[tuple[float, float]] = attrs.field(factory=list)
    granted: int = 0
    _agenda: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _order: itertools.count[int] = attrs.field(factory=itertools.count)

    def run(self, processes: int, requests: int, *, faults: bool) -> None:
        """Run until this many requests were granted. A quota that grants none for an hour is stuck."""
        for process in [Process(f"p{i}") for i in range(processes)]:
            self._at(0, lambda process=process: self._exchange(process, faults))  # type: ignore[misc]
        limit = self.now + 3600
        while self.granted < requests:
            assert self.now < limit, "no request starts any more"
            self.now, _, action = heapq.heappop(self._agenda)
            action()

    def violations(self) -> list[str]:
        """Everything that exceeded the quota."""
        return checker.violations(self.quota.limits, self.quota.in_flight, self.arrivals, self.spans)

    def _at(self, after: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + after, next(self._order), action))

    def _exchange(self, process: Process, faults: bool) -> None:
        if not process.alive:
            return
        if faults and self.rng.random() < 0.01:
            self._die(process, faults)
            return
        if faults and process.waiting and self.rng.random() < 0.05:
            process.events.append(Event("refunded", process.waiting.pop(), self.now))
        while len(process.waiting) < self.rng.randint(1, 4):
            process.waiting.append(f"{process.name}-{next(self._order)}")
        result = self.exchange(process, self.now)
        # Otherwise the result is lost, and all of it is sent again.
        if not (faults and self.rng.random() < 0.1):
            process.events.clear()
            for request_id in result.granted:
                process.waiting.remove(request_id)
                self._send(process, request_id, faults)
        # Less than a microsecond may not move the clock at all.
        wait = max(min(result.retry_in, self.rng.uniform(0.001, 0.2)), 1e-6)
        self._at(wait, lambda: self._exchange(process, faults))

    def _send(self, process: Process, request_id: str, faults: bool) -> None:
        self.granted += 1
        process.held[request_id] = False

        def report(kind: EventKind, seconds: float = 0.0) -> None:
            if kind in ("answered", "throttled"):
                process.held[request_id] = True
            else:
                del process.held[request_id]
            process.events.append(Event(kind, request_id, self.now, seconds))

        if faults and self.rng.random() < 0.05:
            report("refunded")
            return

        def arrive() -> None:
            work = self.rng.uniform(0, 1)
            self.arrivals.append(self.now)
            self.spans.append((self.now, self.now + work))
            self._at(work + self.rng.uniform(0, 1), answer)

        def answer() -> None:
            if faults and self.rng.random() < 0.03:
                report("throttled", 2.0)
            else:
                report("answered")
            self._at(self.rng.uniform(0, 0.2), lambda: report("released"))

        self._at(self.rng.uniform(0, 2), arrive)

    def _die(self, process: Process, faults: bool) -> None:
        process.alive = False
        self.died(process.name, self.now)
        successor = Process(f"{process.name}+")
        self._at(self.rng.uniform(0, 1), lambda: self._exchange(successor, faults))
