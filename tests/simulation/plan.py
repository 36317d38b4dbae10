"""What a world is: its vendor, its network, its clients and its readers, as values."""

from __future__ import annotations

from typing import Any

import attrs

from clicksgroup import Plan, Quota, RetryPolicy

LIES = (
    "total is too high", "total is too low", "total drifts", "next page skips", "never ends", "empty and more",
    "another page", "page repeats", "count is wrong", "ends early",
)  # fmt: skip
"""How the pages of a date can contradict what is documented, each time they are read."""

FAULTS = (
    "drop", "reset", "cut", "cut without length", "500", "502", "503", "503 for 3 s", "504", "empty", "garbage",
    "html", "429", "429 for 2 s", "429 until a date", "stall", "stall in the body", "refused",
)  # fmt: skip
"""What can happen to one request."""


@attrs.frozen
class Limit:
    """A limit that the server enforces: `count` requests in `window` seconds, on fixed windows if there is a phase."""

    count: int
    window: float
    phase: float | None = None


@attrs.frozen
class Network:
    """Seconds from one side to the other: `base`, up to `jitter` more, and now and then up to `tail` more."""

    base: float
    jitter: float
    tail: float

    @property
    def most(self) -> float:
        return self.base + self.jitter + self.tail


@attrs.frozen
class ServerPlan:
    """The vendor.

    Attributes:
        limits: what it enforces.
        in_flight: as many requests may be open.
        changes: from these moments on the counts of the limits are multiplied by a factor.
        right: whether the clients' quota is what it enforces, or less.
        counts_rejected: whether a rejected request counts.
        counts_late: whether a request counts when it is answered, instead of when it arrives.
        retry_after: what it sends with a 429: "none", "seconds" or "date".
        work: seconds for most requests, and the most.
        linger: seconds for which it works on after the client has gone.
        fault_rate: of requests.
        fault_budget: how many faults there will be, or None for no bound.
        faults: which.
        maintenance: when it is out of service, from and to.
        closes: how often it closes a connection after an answer without saying so.
        ignores_groups: it answers with all groups.
    """

    limits: tuple[Limit, ...]
    in_flight: int
    changes: tuple[tuple[float, float], ...]
    right: bool
    counts_rejected: bool
    counts_late: bool
    retry_after: str
    work: tuple[float, float]
    linger: float
    fault_rate: float
    fault_budget: int | None
    faults: tuple[str, ...]
    maintenance: tuple[tuple[float, float], ...]
    closes: float
    ignores_groups: bool


@attrs.frozen
class DatePlan:
    """One date: the groups that it lists, a version after the other, and how the server lies about it."""

    versions: tuple[tuple[int, ...], ...]
    lie: str = ""

    @property
    def pages(self) -> int:
        """Pages of its longest version."""
        return max(max(1, -(-len(ids) // 30)) for ids in self.versions)


@attrs.frozen
class ReaderPlan:
    """One reader.

    Attributes:
        client: the number of its client.
        begins: when.
        call: "clicks", "pages", "days", "day", "page", "totals" (from its date on) or "groups" (with its date's
            ordinal as the part of a name that it asks for).
        dates: ordinals, which no other reader has; one for "day", "page", "totals" and "groups".
        groups: the ids it asks for.
        ordered: as the client takes it.
        style: "read", "slow", "break", "aclose", "impatient" (cancels `anext` and asks again) or "timeout".
        stop_after: items, where it breaks or closes.
        pause: seconds, where it is slow, impatient or has a time limit.
        callers: how many ask for the same day or page at once.
        notes_failures: whether dates that fail are to be noted and left out.
        days: of the range of totals.
    """

    client: int
    begins: float
    call: str
    dates: tuple[int, ...]
    groups: tuple[int, ...] | None
    ordered: bool
    style: str
    stop_after: int
    pause: float
    callers: int = 1
    notes_failures: bool = False
    days: int = 1


@attrs.frozen
class ClientPlan:
    """One client. `closes` is when it is closed, whatever its readers do, or None."""

    closes: float | None
    check: Any
    api_version: Any
    middleware: bool


@attrs.frozen
class Kill:
    """When a process is killed: after so many seconds, or else after so many statements on its database."""

    seconds: float | None
    statements: int


@attrs.frozen
class BackfillPlan:
    """A backfill that is killed, and run again some seconds later. Where it is `doubled`, two run at the same time."""

    dates: tuple[int, ...]
    groups: tuple[int, ...] | None
    kills: tuple[Kill, ...]
    restarts_after: float
    doubled: bool = False


@attrs.frozen
class RedisPlan:
    """A Redis that keeps the quota of all clients.

    Attributes:
        latency: seconds to it, and again from it, up to twice as much.
        failures: how often a call or its answer is lost.
        steps: when its clock is set, and by how many seconds.
        forgets: when it loses its memory, or None.
    """

    latency: float
    failures: float
    steps: tuple[tuple[float, float], ...]
    forgets: float | None


@attrs.frozen
class WorldPlan:
    """A world. With `shared_quota` each client is a process of its own, and a file or Redis keeps the quota of all."""

    seed: int
    plan: Plan
    quota: Quota
    network: Network
    server: ServerPlan
    retry: RetryPolicy
    timeout: float
    mild: bool
    logs: bool
    clients: tuple[ClientPlan, ...]
    readers: tuple[ReaderPlan, ...]
    dates: dict[int, DatePlan]
    shared_quota: bool = False
    backfill: BackfillPlan | None = None
    redis: RedisPlan | None = None
