"""Many processes, a slow network, losses and deaths, in no time: what any shared quota must come through."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import attrs

from clicksgroup.plans import Quota
from clicksgroup.quota.state import Event, EventKind, ExchangeResult


@attrs.define(eq=False)
class Process:
    name: str
    alive: bool = True
    tickets: list[str] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    held: dict[str, bool] = attrs.field(factory=dict)


Exchange = Callable[[Process, float], ExchangeResult]


@attrs.define
class Simulation:
    """Runs processes that share a quota through `exchange`, and keeps the server's own record of what arrived.

    A request is up to 2 s on its way, in work for up to 1 s, and its answer up to 1 s on its way back.
    """

    quota: Quota
    exchange: Exchange
    rng: random.Random
    died: Callable[[str, float], None] = lambda name, now: None
    now: float = 1000.0
    arrivals: list[float] = attrs.field(factory=list)
    in_work: int = 0
    most_in_work: int = 0
    granted: int = 0
    _agenda: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _order: itertools.count[int] = attrs.field(factory=itertools.count)

    def run(self, processes: int, requests: int, *, troubles: bool) -> None:
        """Until so many requests were granted; a quota that lets none through for an hour is stuck."""
        for process in [Process(f"p{i}") for i in range(processes)]:
            self._at(0, lambda process=process: self._turn(process, troubles))  # type: ignore[misc]
        limit = self.now + 3600
        while self.granted < requests:
            assert self.now < limit, "nobody gets anything any more"
            self.now, _, action = heapq.heappop(self._agenda)
            action()

    def over(self) -> list[str]:
        """Every window that held too many, and whether too many were ever in work."""
        found = [
            f"{count + 1} within {window} s at {first}"
            for count, window in self.quota.limits
            for first, last in zip(self.arrivals, self.arrivals[count:], strict=False)
            if last - first < window
        ]
        return found + [f"{self.most_in_work} in work"] * (self.most_in_work > self.quota.in_flight)

    def _at(self, after: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + after, next(self._order), action))

    def _turn(self, process: Process, troubles: bool) -> None:
        if not process.alive:
            return
        if troubles and self.rng.random() < 0.01:
            self._die(process, troubles)
            return
        if troubles and process.tickets and self.rng.random() < 0.05:
            process.events.append(Event("refunded", process.tickets.pop(), self.now))
        while len(process.tickets) < self.rng.randint(1, 4):
            process.tickets.append(f"{process.name}-{next(self._order)}")
        reply = self.exchange(process, self.now)
        if not (troubles and self.rng.random() < 0.1):  # else the reply is lost, and all of it is told again
            process.events.clear()
            for ticket in reply.granted:
                process.tickets.remove(ticket)
                self._send(process, ticket, troubles)
        self._at(min(reply.again, self.rng.uniform(0.001, 0.2)), lambda: self._turn(process, troubles))

    def _send(self, process: Process, ticket: str, troubles: bool) -> None:
        self.granted += 1
        process.held[ticket] = False

        def tell(kind: EventKind, seconds: float = 0.0) -> None:
            if kind in ("answered", "throttled"):
                process.held[ticket] = True
            else:
                del process.held[ticket]
            process.events.append(Event(kind, ticket, self.now, seconds))

        if troubles and self.rng.random() < 0.05:
            tell("refunded")
            return

        def arrive() -> None:
            self.arrivals.append(self.now)
            self.in_work += 1
            self.most_in_work = max(self.most_in_work, self.in_work)
            self._at(self.rng.uniform(0, 1), leave)

        def leave() -> None:
            self.in_work -= 1
            self._at(self.rng.uniform(0, 1), answer)

        def answer() -> None:
            if troubles and self.rng.random() < 0.03:
                tell("throttled", 2.0)
            else:
                tell("answered")
            self._at(self.rng.uniform(0, 0.2), lambda: tell("released"))

        self._at(self.rng.uniform(0, 2), arrive)

    def _die(self, process: Process, troubles: bool) -> None:
        process.alive = False
        self.died(process.name, self.now)
        successor = Process(f"{process.name}+")
        self._at(self.rng.uniform(0, 1), lambda: self._turn(successor, troubles))
