"""The simulated vendor: what it answers, which requests it rejects, how it fails, and what it saw."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.simulation.bodies import THROTTLED, Row, http, page_body, record, refusal, retry_after, without_length
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Connection
from tests.simulation.plan import DatePlan, Limit, WorldPlan

OVER = "over a limit"
"""What becomes of a request that the vendor rejects, with a 429, for its limits."""

CUTS = ("drop", "reset", "cut", "cut without length", "garbage")
"""The faults that close the connection."""


@attrs.define(eq=False)
class Sent:
    """A request, as the vendor saw it.

    Attributes:
        number: in the order in which heads were written.
        client: whose.
        target: path and query.
        ordinal: the date asked for, or the number that stands for one in the list of groups.
        groups: the ids asked for.
        page: the page asked for.
        written_at: when its head was written.
        arrived_at: when its head arrived.
        counted_at: when it counted against the limits.
        ended_at: when the vendor ended its work on it.
        outcome: "" under way, "ok" for a good page, `OVER` over a limit, "lost" where it never arrived, "gone" where
            the client left, or the fault.
    """

    number: int
    client: int
    target: str
    ordinal: int
    groups: tuple[int, ...] | None
    page: int
    written_at: float
    arrived_at: float | None = None
    counted_at: float | None = None
    ended_at: float | None = None
    outcome: str = ""


class Vendor:
    """The vendor of a world. It is the `Server` of all connections.

    Attributes:
        requests: all that were written.
        faults: of each target, what went wrong with it.
        trace: what happened, a line each, where it is wanted.
    """

    def __init__(self, world: WorldPlan, loop: SimulationLoop, trace: list[str] | None) -> None:
        self.requests: list[Sent] = []
        self.faults: dict[str, list[str]] = {}
        self.trace = trace
        self._world = world
        self._plan = world.server
        self._loop = loop
        self._rng = random.Random(world.seed + 1)
        self._budget = self._plan.fault_budget
        # The request that each connection has open, and the call that ends it.
        self._open: dict[int, tuple[Sent, Callable[[], None]]] = {}
        self._waiting: dict[int, list[Sent]] = {}
        self._in_flight = 0
        self._counted: dict[Limit, list[float]] = {limit: [] for limit in self._plan.limits}
        # Good pages given of each date, which make it move.
        self._given: Counter[int] = Counter()

    # What connections call.

    def latency(self) -> float:
        network, rng = self._world.network, self._rng
        tail = network.tail * rng.random() if network.tail and rng.random() < 0.05 else 0.0
        return network.base + network.jitter * rng.random() + tail

    def connecting(self, target: str) -> str | None:
        if self._in_maintenance() or ("refused" in self._plan.faults and self._fault_is_due(0.3)):
            self.note(f"refused  {target}")
            self._blame(target, "refused")
            return "refused"
        return None

    def written(self, connection: Connection, head: str) -> None:
        target = head.split(" ", 2)[1]
        query = parse_qs(urlsplit(target).query)
        if "nm" in query:
            ordinal = int(query["nm"][0])
        else:
            ordinal = datetime.date.fromisoformat(query.get("ymd", query.get("startYmd", [""]))[0]).toordinal()
        groups = tuple(map(int, query["grpIdxList"][0].split(","))) if "grpIdxList" in query else None
        sent = Sent(
            len(self.requests), connection.client, target, ordinal, groups, int(query["pages"][0]),
            self._loop.time(), outcome="lost",
        )  # fmt: skip
        self.requests.append(sent)
        self._waiting.setdefault(connection.number, []).append(sent)
        self.note(f"written  #{sent.number} client {sent.client} connection {connection.number} {target}")

    def received(self, connection: Connection, head: str) -> None:
        sent = self._waiting[connection.number].pop(0)
        if connection.server_closed:
            self.note(f"lost     #{sent.number}")
            self._blame(sent.target, "lost")
            return
        sent.outcome = ""
        sent.arrived_at = self._loop.time()
        self._in_flight += 1
        rejected = self._in_flight > self._plan.in_flight
        if not self._plan.counts_late:
            rejected |= self._count(sent)
        fate = self._fate()
        self.note(f"arrived  #{sent.number} {self._in_flight} in flight, fate: {fate or 'ok'}")
        usual, most = self._plan.work
        work = usual * (0.5 + self._rng.random())
        if most > usual and self._rng.random() < 0.1:
            work = self._rng.uniform(usual, most)

        def answer() -> None:
            self._answer(connection, sent, fate, rejected)

        self._open[connection.number] = sent, answer
        self._loop.call_later(work, answer)

    def disconnected(self, connection: Connection) -> None:
        """The client has gone. The work goes on for a while, and its answer goes nowhere."""
        connection.server_closed = True
        if (found := self._open.get(connection.number)) is not None:
            sent = found[0]
            self.note(f"gone     #{sent.number}")
            self._blame(sent.target, "gone")

            def end() -> None:
                if sent.ended_at is None:
                    self._end(connection, sent, "gone")

            self._loop.call_later(self._plan.linger, end)

    # What the checks ask.

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self._loop.time():14.6f} {text}")

    def rows(self, ordinal: int, ids: tuple[int, ...], groups: tuple[int, ...] | None) -> list[Row]:
        """The records of a date that lists these ids, for those who ask for `groups`."""
        wanted = None if groups is None else set(groups)
        return [record(ordinal, group) for group in ids if wanted is None or group in wanted]

    def answers(self, ordinal: int, groups: tuple[int, ...] | None) -> list[list[Row]]:
        """Every right answer about a date: one for each version, and, where the list must be split, for each mixture.

        Nobody can see that a date moved between two parts of a list.
        """
        size = self._world.plan.groups_per_request
        parts = (
            [groups] if groups is None or size is None else [groups[i : i + size] for i in range(0, len(groups), size)]
        )
        versions = self._world.dates[ordinal].versions
        by_part = [[self.rows(ordinal, ids, part) for ids in versions] for part in parts]
        return [[row for rows in mixture for row in rows] for mixture in itertools.product(*by_part)]

    def _answer(self, connection: Connection, sent: Sent, fate: str, rejected: bool) -> None:
        if sent.ended_at is not None:
            return
        now = self._loop.time()
        if self._plan.counts_late:
            rejected |= self._count(sent)
        if rejected:
            window = max((limit.window for limit in self._plan.limits), default=1.0)
            extra = retry_after(self._plan.retry_after, now, min(5, int(window)))
            connection.send(http(now, 429, THROTTLED, extra))
            self._end(connection, sent, OVER)
        elif self._in_maintenance():
            connection.send(refusal("503", now, self._rng))
            self._end(connection, sent, "503")
        elif fate.startswith("stall"):
            # The request stays open until the client leaves.
            self._blame(sent.target, fate)
            if fate == "stall in the body":
                connection.send(http(now, 200, self._page(sent))[:-20])
        elif fate in CUTS:
            connection.send(self._cut(sent, fate))
            self._end(connection, sent, fate)
            connection.close(reset=fate == "reset" or (fate == "cut" and self._rng.random() < 0.5))
        elif fate:
            connection.send(refusal(fate, now, self._rng))
            self._end(connection, sent, fate)
        else:
            self._give_page(connection, sent)

    def _give_page(self, connection: Connection, sent: Sent) -> None:
        data = http(self._loop.time(), 200, self._page(sent))
        self._given[sent.ordinal] += 1
        split = self._rng.randrange(1, len(data)) if self._rng.random() < 0.3 else len(data)
        connection.send(data[:split])
        if data[split:]:
            connection.send(data[split:])
        self._end(connection, sent, "ok")
        if self._rng.random() < self._plan.closes:
            connection.close()

    def _cut(self, sent: Sent, fate: str) -> bytes:
        """What is sent before the connection is closed."""
        match fate:
            case "garbage":
                return b"\x00\x01 not HTTP\r\n\r\n"
            case "cut":
                data = http(self._loop.time(), 200, self._page(sent))
                return data[: -self._rng.randrange(1, 60)]
            case "cut without length":
                body = self._page(sent)
                return without_length(body[: self._rng.randrange(len(body) - 1)])
        return b""

    def _page(self, sent: Sent) -> bytes:
        date = self._world.dates.get(sent.ordinal) or DatePlan(((),))
        version = min(self._given[sent.ordinal] // 2, len(date.versions) - 1)
        groups = None if self._plan.ignores_groups else sent.groups
        rows = self.rows(sent.ordinal, date.versions[version], groups)
        of_groups = "nm=" in sent.target
        return page_body(rows, sent.page, date.lie, self._given[sent.ordinal], of_groups=of_groups)

    def _end(self, connection: Connection, sent: Sent, outcome: str) -> None:
        sent.ended_at = self._loop.time()
        sent.outcome = outcome
        self._in_flight -= 1
        self._open.pop(connection.number, None)
        if outcome not in ("ok", "gone"):
            self._blame(sent.target, outcome)
        self.note(f"ended    #{sent.number} {outcome}")

    def _blame(self, target: str, what: str) -> None:
        self.faults.setdefault(target, []).append(what)

    def _fate(self) -> str:
        if not self._fault_is_due():
            return ""
        fates = [fault for fault in self._plan.faults if fault != "refused"]
        return self._rng.choice(fates) if fates else ""

    def _fault_is_due(self, part: float = 1.0) -> bool:
        if self._budget == 0 or not self._plan.fault_rate or self._rng.random() >= self._plan.fault_rate * part:
            return False
        if self._budget is not None:
            self._budget -= 1
        return True

    def _in_maintenance(self) -> bool:
        return any(begin <= self._loop.time() < end for begin, end in self._plan.maintenance)

    def _count(self, sent: Sent) -> bool:
        """Count a request against all limits; True if it is over one."""
        now = sent.counted_at = self._loop.time()
        factor = 1.0
        for since, changed in self._plan.changes:
            if since <= now:
                factor = changed
        over = False
        for limit, times in self._counted.items():
            begin = now - limit.window
            if limit.phase is not None:
                begin = (now - limit.phase) // limit.window * limit.window + limit.phase
            while times and (times[0] < begin if limit.phase is not None else times[0] <= begin):
                times.pop(0)
            over |= len(times) >= max(1, round(limit.count * factor))
        if not over or self._plan.counts_rejected:
            for times in self._counted.values():
                times.append(now)
        return over
