"""A server that allows less than is configured, in virtual time: how often it answers 429, and what of it is used."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable

import attrs

from benchmarks.harness import table
from clicksgroup.plans import Quota
from clicksgroup.quota.local import LocalQuota
from clicksgroup.quota.shared import SharedQuota
from tests.virtual_time import VirtualTimeLoop

ASSUMED = Quota((24, 60), in_flight=2)
WINDOWS = 12


@attrs.frozen
class Case:
    """How a server counts, and what it says.

    Args:
        is_sliding: whether its windows slide, or are fixed.
        counts_rejected: whether requests that it rejects count as well.
        says_when: whether it sends a `Retry-After`.
    """

    is_sliding: bool
    counts_rejected: bool
    says_when: bool

    def __str__(self) -> str:
        words = ["sliding" if self.is_sliding else "fixed"]
        words += ["rejected counted"] * self.counts_rejected + ["Retry-After"] * self.says_when
        return ", ".join(words)


CASES = [Case(*flags) for flags in itertools.product((True, False), repeat=3)]


class Server:
    """Allows so many requests in 60 s. `reject_number` is rejected whatever its number in the window."""

    def __init__(
        self, allowed: int, case: Case, seed: int, *, latency: float = 0.4, reject_number: int | None = None
    ) -> None:
        self.allowed = allowed
        self.latency = latency
        self.random = random.Random(seed)
        self.accepted = 0
        self.rejected = 0
        self._case = case
        self._reject_number = reject_number
        self._phase = self.random.random() * 60
        self._counted: list[float] = []

    def arrive(self, now: float) -> float | None:
        """None if the request is accepted, else the seconds of `Retry-After`, or 0."""
        begin = now - 60 if self._case.is_sliding else now - (now - self._phase) % 60
        self._counted = [at for at in self._counted if at > begin]
        is_accepted = len(self._counted) < self.allowed and self.accepted + self.rejected + 1 != self._reject_number
        if is_accepted or self._case.counts_rejected:
            self._counted.append(now)
        self.accepted += is_accepted
        self.rejected += not is_accepted
        if is_accepted:
            return None
        if not self._case.says_when or not self._counted:
            return 0.0
        # In a sliding window there is room when so many have left it that fewer than allowed are counted.
        leaves = self._counted[max(len(self._counted) - self.allowed, 0)]
        return (leaves if self._case.is_sliding else begin) + 60 - now + 0.01


def run_against(
    server: Server,
    quota: Quota,
    *,
    windows: int,
    look: Callable[[SharedQuota, float], None] | None = None,
    kept: SharedQuota | None = None,
    runner: asyncio.Runner | None = None,
) -> None:
    """Send requests until so many windows have passed. `look` is called after each."""

    async def worker(used: SharedQuota) -> None:
        clock = asyncio.get_running_loop().time
        failures = 0
        while clock() < windows * 60:
            slot = await used.acquire()
            if clock() >= windows * 60:
                slot.refund()
                return
            await asyncio.sleep(server.random.random() * server.latency / 2)
            retry_after = server.arrive(clock())
            await asyncio.sleep(server.random.random() * server.latency / 2)
            if retry_after is None:
                failures = 0
                slot.answered()
            else:
                # As the client does: full jitter, and the server's wish as a floor.
                backoff = server.random.random() * min(30.0, 0.5 * 2**failures)
                failures += 1
                slot.throttled(max(backoff, retry_after))
            slot.release()
            if look is not None:
                look(used, clock())

    async def work() -> None:
        used = kept or LocalQuota(quota, asyncio.get_running_loop())
        await asyncio.gather(*(worker(used) for _ in range(quota.in_flight)))

    if runner is not None:
        runner.run(work())
        return
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as own:
        own.run(work())


def lower_table(seeds: int) -> str:
    """The most answers of 429, and the least share of the true limit, over all ways to count."""
    logger = logging.getLogger("clicksgroup")
    level = logger.level
    logger.setLevel(logging.ERROR)
    rows = []
    for allowed in (20, 12, 6):
        for case in CASES:
            servers = [Server(allowed, case, seed) for seed in range(seeds)]
            for server in servers:
                run_against(server, ASSUMED, windows=WINDOWS)
            most = max(server.rejected for server in servers)
            least = min(server.accepted for server in servers) / (WINDOWS * allowed)
            rows.append((allowed, case, most, f"{least:.3f}"))
    logger.setLevel(level)
    return table(["server allows, of 24 assumed", "it counts", "most 429s in 12 windows", "least share used"], rows)
