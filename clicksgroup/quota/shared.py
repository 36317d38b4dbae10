"""The one promise that all quotas make, whoever they share it with."""

from __future__ import annotations

import abc
import asyncio
import math
from types import TracebackType
from typing import Self

from clicksgroup.plans import Quota

CLOCK_DRIFT = 1.0005
"""A window is counted this much longer, since the server's clock and ours do not run at quite the same speed."""

ORPHAN_HOLD = 5.0
"""Seconds for which a request that nobody will see the end of (its process or client is gone) keeps its place in
flight: the server may still be working on it."""


class QuotaPausedError(Exception):
    """A pause (after a 429) lasts longer than the caller is willing to wait. `seconds` is what remains of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the quota is paused for {seconds:.1f} s")
        self.seconds = seconds


class Slot(abc.ABC):
    """Leave to send one request. Its holder says, synchronously and in this order, what became of it.

    Either `refund()` alone; or `answered()` or `throttled()`, then `release()`; or `release()` alone when no answer
    came; or `abandon()` at any point before `release()`.
    """

    __slots__ = ()

    @abc.abstractmethod
    def answered(self) -> None:
        """The answer's headers have arrived, and it is no 429: the windows forget the request one window from now."""

    @abc.abstractmethod
    def throttled(self, seconds: float) -> None:
        """The answer is a 429: nobody may start for `seconds`, then one goes first to see whether it passes."""

    @abc.abstractmethod
    def release(self) -> None:
        """The request has ended (its body is read, or it was given up): its place in flight is free."""

    @abc.abstractmethod
    def refund(self) -> None:
        """The request's headers were never sent: it is as though the slot had never been granted."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """Nobody will learn how the request ended: its place in flight is free in `ORPHAN_HOLD` seconds."""


class SharedQuota(abc.ABC):
    """A quota that is being kept: who asks here before each request keeps it together with all others who do.

    The client does not know which one it was given. `async with` opens it (more than once is fine: the last one out
    closes it); a client that is given one opens it for as long as it is open itself.
    """

    def __init__(self, quota: Quota) -> None:
        if not isinstance(quota, Quota):
            raise TypeError(f"quota: expected a Quota, got {type(quota).__name__}")
        self.quota = quota
        self._users = 0
        self._door: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._is_open = False

    @abc.abstractmethod
    async def acquire(self, max_pause: float = math.inf) -> Slot:
        """Wait, first come first served, until one request may start.

        A caller that is cancelled burns nothing.

        Args:
            max_pause: how many seconds of a pause the caller would sit out; waiting for the windows does not count.

        Raises:
            QuotaPausedError: a pause is longer than `max_pause`: at once, or when such a pause begins.
            QuotaUnavailableError: whatever keeps the quota stayed away too long.
        """

    def acquire_nowait(self) -> Slot | None:
        """A slot, if that can be had without waiting for anything and without passing by anybody; None otherwise."""
        return None

    async def _open(self) -> None:  # noqa: B027 - a quota in memory has nothing to open
        """Called for the first user."""

    async def _close(self) -> None:  # noqa: B027
        """Called for the last user."""

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            async with self._opening_or_closing():
                if not self._is_open:
                    await self._open()
                    self._is_open = True
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        async with self._opening_or_closing():
            if self._is_open and not self._users:
                self._is_open = False
                await self._close()

    def _opening_or_closing(self) -> asyncio.Lock:
        """One at a time: whoever enters meanwhile must find it open, not half open or half closed."""
        loop = asyncio.get_running_loop()
        if self._door is None or self._door[0] is not loop:
            self._door = loop, asyncio.Lock()
        return self._door[1]
