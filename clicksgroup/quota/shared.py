"""The interface of a quota that is kept: `SharedQuota`, and the `Slot` that it grants for each request."""

from __future__ import annotations

import abc
import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeAlias

from clicksgroup.arguments import instance
from clicksgroup.plans import Quota

CLOCK_DRIFT = 1.0005
"""Each window is counted longer by this factor, since the server's clock may run a little slower than ours."""

ORPHAN_HOLD = 5.0
"""Seconds for which an abandoned request still counts as in flight, since the server may still be working on it."""

EventKind: TypeAlias = Literal["answered", "throttled", "released", "refunded", "abandoned"]
"""What a caller reports about its slot."""


class QuotaPausedError(Exception):
    """A pause after a 429 is longer than the caller accepts. `seconds` is what is left of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the quota is paused for {seconds:.1f} s")
        self.seconds = seconds


class Slot:
    """Permission to send one request. The caller reports, synchronously and in this order, what became of it.

    Call `refund()` alone; or `answered()` or `throttled()`, then `release()`; or `release()` alone when no answer
    came; or `abandon()` at any point before `release()`. A repeated report changes nothing.

    Args:
        report: called with each report, before `is_answered` changes.
        slot_id: what a quota that several processes share calls the slot.
    """

    __slots__ = ("_has_ended", "_receive", "id", "is_answered")

    def __init__(self, report: Callable[[Slot, EventKind, float], None], slot_id: str = "") -> None:
        self.id = slot_id
        self.is_answered = False
        self._has_ended = False
        self._receive = report

    def answered(self) -> None:
        """The headers of the answer have arrived, and it is not a 429: one window from now it counts no longer."""
        if not self.is_answered:
            self._report("answered")

    def throttled(self, seconds: float) -> None:
        """The answer is a 429: no request starts for `seconds`, then a single trial request."""
        self._report("throttled", seconds)

    def release(self) -> None:
        """The request has ended (its body is read, or it was given up): it is no longer in flight."""
        self._report("released")

    def refund(self) -> None:
        """The headers of the request were never sent: the slot counts as never granted."""
        if not self.is_answered:
            self._report("refunded")

    def abandon(self) -> None:
        """The end of the request will never be known: it counts as in flight for another `ORPHAN_HOLD` seconds."""
        self._report("abandoned")

    def _report(self, kind: EventKind, seconds: float = 0.0) -> None:
        if self._has_ended:
            return
        self._receive(self, kind, seconds)
        if kind in ("answered", "throttled"):
            self.is_answered = True
        else:
            self._has_ended = True


class SharedQuota(abc.ABC):
    """Grants slots within one quota to everybody who shares it.

    `async with` opens it, as often as needed; it closes when the last block ends. A client that is given one opens it
    for as long as the client itself is open.
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = instance("quota", quota, Quota, example="Quota((24, 60), in_flight=2)")
        self._users = 0
        self._is_open = False
        self._transition: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def in_use(self) -> bool:
        """Whether any `async with` block has it open."""
        return self._users > 0

    @abc.abstractmethod
    async def acquire(self, max_pause: float = math.inf) -> Slot:
        """Wait, first come, first served, until one request may start.

        A caller that is cancelled costs nothing.

        Args:
            max_pause: the longest pause after a 429 that the caller accepts, in seconds. Waiting for a window or for
                a request in flight does not count.

        Raises:
            QuotaPausedError: a pause is longer than `max_pause`: now, or when it begins while the caller waits.
            QuotaUnavailableError: the file or server that keeps the quota was out of reach for too long.
        """

    async def on_open(self) -> None:  # noqa: B027
        """Called when the first `async with` block begins."""

    async def on_close(self) -> None:  # noqa: B027
        """Called when the last `async with` block ends."""

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            async with self._one_transition():
                if not self._is_open:
                    await self.on_open()
                    self._is_open = True
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        async with self._one_transition():
            if self._is_open and not self._users:
                self._is_open = False
                await self.on_close()

    def _one_transition(self) -> asyncio.Lock:
        """Opening and closing exclude each other, so that no block begins with a quota that is half open."""
        loop = asyncio.get_running_loop()
        if self._transition is None or self._transition[0] is not loop:
            self._transition = loop, asyncio.Lock()
        return self._transition[1]


def live_state(quota: Quota, in_flight: int, windows: list[str], waiting: int, pause_left: float) -> str:
    """The words in which every quota shows its state in its `repr`."""
    state = [f"{in_flight} of {quota.in_flight} in flight", *windows, f"{waiting} waiting"]
    if pause_left > 0:
        state.append(f"paused for {pause_left:.1f} s")
    return ", ".join(state)
