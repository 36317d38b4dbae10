"""What the quotas that are kept outside of the process have in common: one task does all their talking.

Callers queue up here, first come first served, and what becomes of their slots is only noted down; the pump tells
the file or the engine all of it in one exchange, and hands on what it grants. So a caller that is cancelled burns
nothing, and a report that is late only delays the others: never does it let one too many start.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import Sequence

from clicksgroup.errors import ClientClosedError, ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot
from clicksgroup.quota.state import Event, EventKind, ExchangeResult

logger = logging.getLogger("clicksgroup")

LOOK = 1.0
"""Seconds after which whoever waits asks again, whatever it was told: a pause, a refund or a death may have come."""

POLL = (0.004, 0.05)
"""Seconds between two looks while only another process can free a place: at first, and at most."""

CLOSE_TIMEOUT = 1.0
"""Seconds for which closing tries to report what is still open."""


class UnreachableError(Exception):
    """The file or the engine cannot be asked just now; the text says why, and holds no secret."""


def clock() -> float:
    """Seconds that no one can set, and that go on while the machine sleeps where the system can tell (Linux)."""
    return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()


_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class RemoteQuota(SharedQuota):
    """A quota that a file or an engine keeps. Subclasses know how to talk to it: once, in `_exchange`."""

    _heartbeat = math.inf  # seconds after which the other side wants to hear from whoever has it open

    def __init__(self, quota: Quota, outage_timeout: float) -> None:
        super().__init__(quota)
        if type(outage_timeout) not in (int, float) or not 0 < outage_timeout < math.inf:
            raise ConfigurationError(f"outage_timeout: {outage_timeout!r}: expected a positive number of seconds")
        self.outage_timeout = float(outage_timeout)
        self._pump: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._wake = asyncio.Event()
        self._waiters: dict[asyncio.Future[Slot], tuple[float, float]] = {}  # max_pause, and since when it waits
        self._tickets: list[str] = []  # what is asked for: one for each waiter, up to a bound
        self._held: dict[str, bool] = {}  # slots that callers have, and whether they were answered
        self._events: list[Event] = []  # not told yet
        self._paused_until = -math.inf
        self._announced_pause = False
        self._away_since: float | None = None
        self._poll_seconds = POLL[0]
        self._closing = False

    @abc.abstractmethod
    async def _exchange(self, events: Sequence[Event], tickets: Sequence[str]) -> ExchangeResult:
        """Tell what happened, and ask for as many slots as there are tickets, in that order.

        Any part of it may be told again, when it is not known whether it arrived.

        Raises:
            UnreachableError: there is no telling now; it will be tried again.
        """

    def _news(self) -> bool:
        """Whether another process may have freed a place since the last exchange."""
        return True

    async def _disconnect(self) -> None:
        """Let go of files and connections."""

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        if self._pump is None or self._pump.get_loop() is not asyncio.get_running_loop() or self._closing:
            raise ClientClosedError(f"{self!r} is not open in this event loop: use `async with` around it")
        paused = self._paused_until - clock()
        if paused > max_pause:
            raise QuotaPausedError(paused)
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = (max_pause, clock())
        self._wake.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if self._waiters.pop(waiter, None) is None and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().refund()
            self._wake.set()
            raise

    async def _open(self) -> None:
        self._forget()
        try:
            await self._connect()
        except BaseException:
            await self._disconnect()
            raise
        self._pump = asyncio.create_task(self._run(), name=f"{type(self).__name__} pump")

    async def _connect(self) -> None:
        """The first exchange, so that what is wrong shows at once."""
        until = clock() + self.outage_timeout
        while True:
            try:
                self._apply(await self._exchange((), ()))
                return
            except UnreachableError as error:
                reason = str(error)
            if clock() >= until:
                raise self._unavailable(reason)
            await self._sleep(POLL[1])

    async def _close(self) -> None:
        pump, self._pump = self._pump, None
        if pump is None:
            return
        self._closing = True
        self._fail(ClientClosedError(f"{self!r} was closed"))
        for slot in tuple(self._held):
            self._note("abandoned", slot)
        self._wake.set()
        try:
            await asyncio.wait(
                {pump}, timeout=CLOSE_TIMEOUT
            )  # if that is too short, the other side will miss us by itself
        finally:
            pump.cancel()
            await self._disconnect()
        if pump.done() and not pump.cancelled() and (error := pump.exception()) is not None:
            raise error

    async def _run(self) -> None:
        try:
            while not self._closing or self._has_business():
                self._wake.clear()
                speaks = self._has_business() or self._heartbeat < math.inf
                seconds = await self._turn() if speaks else math.inf
                if not self._closing or self._has_business():
                    await self._rest(seconds)
        except BaseException as error:
            self._closing = True
            self._fail(error if isinstance(error, Exception) else ClientClosedError(f"{self!r} was cancelled"))
            raise

    def _has_business(self) -> bool:
        return bool(self._events or self._waiters or self._tickets)

    async def _turn(self) -> float:
        """One exchange; how long to rest after it."""
        tickets = self._take_tickets()
        told = len(self._events)
        try:
            result = await self._exchange(tuple(self._events[:told]), tickets)
        except UnreachableError as error:
            return self._on_unavailable(str(error))
        except ConfigurationError as error:
            self._fail(error)
            return LOOK
        self._away_since = None
        del self._events[:told]
        return self._apply(result)

    def _take_tickets(self) -> tuple[str, ...]:
        """One for each caller that waits, up to a bound; those of callers who gave up are given back.

        The bound is what keeps the order among processes without any of them filling the queue: twice what may be
        in flight, and one.
        """
        wanted = min(len(self._waiters), 2 * self.quota.in_flight + 1)
        for ticket in self._tickets[wanted:]:
            self._events.append(Event("refunded", ticket, clock()))
        del self._tickets[wanted:]
        self._tickets.extend(uuid.uuid4().hex for _ in range(wanted - len(self._tickets)))
        return tuple(self._tickets)

    def _apply(self, result: ExchangeResult) -> float:
        """Hand on what was granted; how long to rest."""
        now = clock()
        unheard_pause = any(event.kind == "throttled" for event in self._events)
        for ticket in result.granted:
            if ticket not in self._tickets:
                continue
            self._tickets.remove(ticket)
            waiter = None if unheard_pause else next((w for w in self._waiters if not w.done()), None)
            if waiter is None:
                self._note("refunded", ticket)
            else:
                del self._waiters[waiter]
                self._held[ticket] = False
                waiter.set_result(_RemoteSlot(self, ticket))
        if result.granted:
            self._poll_seconds = POLL[0]
            if self._announced_pause and self._paused_until <= now:
                self._announced_pause = False
                logger.info("the pause of %s is over", self.describe())
        if result.paused > 0:
            self._pause(now + result.paused)
        return result.again

    def _pause(self, until: float) -> None:
        if until <= self._paused_until:
            return
        left = until - clock()
        if self._paused_until <= clock():
            logger.info("429: nobody who shares %s sends a request for %.1f s", self.describe(), left)
            self._announced_pause = True
        self._paused_until = until
        for waiter, (max_pause, _) in tuple(self._waiters.items()):
            if left > max_pause:
                self._refuse(waiter, QuotaPausedError(left))

    def _on_unavailable(self, reason: str) -> float:
        """The other side is away: whoever has waited for it long enough is told so; how long until the next try."""
        now = clock()
        if self._away_since is None:
            self._away_since = now
        left = self.outage_timeout
        for waiter, (_, since) in tuple(self._waiters.items()):
            left = max(self._away_since, since) + self.outage_timeout - now
            if left > 0:
                break
            self._refuse(waiter, self._unavailable(reason))
        return min(max(left, 0.001), POLL[1] if now - self._away_since < self.outage_timeout else 10 * POLL[1])

    def _unavailable(self, reason: str) -> QuotaUnavailableError:
        return QuotaUnavailableError(
            f"{self.describe()} has been away for more than {self.outage_timeout:g} s: {reason}"
        )

    @abc.abstractmethod
    def describe(self) -> str:
        """Where the quota is kept, in words, without any password."""

    def _fail(self, error: Exception) -> None:
        for waiter in tuple(self._waiters):
            self._refuse(waiter, error)

    def _refuse(self, waiter: asyncio.Future[Slot], error: Exception) -> None:
        del self._waiters[waiter]
        if not waiter.done():
            waiter.set_exception(error)

    def _note(self, kind: EventKind, slot: str, seconds: float = 0.0) -> None:
        """Something became of a slot: it is told with the next exchange."""
        self._events.append(Event(kind, slot, clock(), seconds))
        if kind in ("answered", "throttled"):
            self._held[slot] = True
        else:
            self._held.pop(slot, None)
        if kind == "throttled":
            self._pause(clock() + seconds)
        self._wake.set()

    async def _rest(self, seconds: float) -> None:
        """Until the seconds are over, something happens here or, where only others can help, they did something."""
        if not self._waiters:
            retry = seconds if self._events else math.inf
            look = LOOK if self._held and self._heartbeat < math.inf else math.inf
            await self._sleep(min(retry, self._heartbeat, look))
            return
        longest = min(LOOK, self._heartbeat)
        if seconds < math.inf:
            await self._sleep(min(seconds, longest))
            return
        until = clock() + longest
        while not self._wake.is_set() and clock() < until:
            await self._sleep(self._poll_seconds)
            self._poll_seconds = min(self._poll_seconds * 1.5, POLL[1])
            if self._news():
                return

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if seconds < math.inf else None):
                await self._wake.wait()


class _RemoteSlot(Slot):
    __slots__ = ("_id", "_quota")

    def __init__(self, quota: RemoteQuota, slot: str) -> None:
        self._quota = quota
        self._id = slot

    def answered(self) -> None:
        self._tell("answered")

    def throttled(self, seconds: float) -> None:
        self._tell("throttled", seconds)

    def release(self) -> None:
        self._tell("released")

    def refund(self) -> None:
        self._tell("refunded")

    def abandon(self) -> None:
        self._tell("abandoned")

    def _tell(self, kind: EventKind, seconds: float = 0.0) -> None:
        if self._id in self._quota._held:
            self._quota._note(kind, self._id, seconds)
