"""A quota that is kept outside of the process: one task makes all exchanges with the backend that keeps it.

Callers wait in the process, first come, first served, and reports about their slots are only recorded. Each exchange
tells the backend all of it and hands out the slots that it grants. So a caller that is cancelled costs nothing, and a
report that arrives late only delays other requests: it never lets too many start.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence

from clicksgroup.arguments import positive
from clicksgroup.errors import ClientClosedError, ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.shared import EventKind, QuotaPausedError, SharedQuota, Slot, live_state
from clicksgroup.quota.state import Event, ExchangeResult
from clicksgroup.quota.waiters import Waiters

logger = logging.getLogger("clicksgroup")

RECHECK = 1.0
"""Seconds after which callers that wait ask again in any case, since a 429, a refund or a death elsewhere may have
changed what they were told."""

POLL = (0.004, 0.05)
"""Seconds between two looks at the backend while only another process can free a slot: at first, and at most."""

OUTAGE_POLL = 0.5
"""Seconds between two attempts while the backend has been out of reach for longer than `outage_timeout`."""

CLOSE_TIMEOUT = 1.0
"""Seconds for which closing tries to report the slots that are still held. If it times out, our lease expires."""


class UnreachableError(Exception):
    """The backend cannot be asked at the moment. The text says why, and holds no secret."""


def clock() -> float:
    """Seconds of a clock that nobody can set; on Linux it also counts the time in which the machine sleeps."""
    return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()


_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Backend(abc.ABC):
    """The file or server that keeps a quota. One `RemoteQuota` makes all calls, one after another."""

    heartbeat = math.inf
    """Seconds after which it must hear again from a process that has the quota open."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Where the quota is kept, for messages. Without any password."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Prepare for exchanges. If it fails, `close` is called.

        Raises:
            QuotaUnavailableError: trying again would not help.
        """

    @abc.abstractmethod
    async def exchange(
        self, events: Sequence[Event], request_ids: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        """Report what happened in this process, and ask which of its requests may start.

        Args:
            events: what happened. After a failure the same events come again.
            request_ids: the requests that wait, in their order, those of the last exchange included.
            held: ids of the slots that are held here, and whether each was answered: for a backend that lost them.

        Raises:
            UnreachableError: it may be tried again.
            ConfigurationError: others keep a different quota there.
        """

    def has_changed(self) -> bool:
        """Whether another process may have changed anything since the last exchange."""
        return True

    @abc.abstractmethod
    async def close(self) -> None:
        """Close files and connections."""


class RemoteQuota(SharedQuota):
    """Keeps a quota in a backend, for one event loop of one process."""

    def __init__(self, quota: Quota, backend: Backend, outage_timeout: float) -> None:
        super().__init__(quota)
        self.backend = backend
        self.outage_timeout = positive("outage_timeout", outage_timeout, finite=True)
        self._task: asyncio.Task[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._wake = asyncio.Event()
        self._waiters = Waiters(self._wake.set)
        # One id for each caller that waits, up to a bound.
        self._request_ids: list[str] = []
        self._held: dict[str, Slot] = {}
        # Events that no exchange has reported yet.
        self._events: list[Event] = []
        self._paused_until = -math.inf
        self._announced_pause = False
        self._unreachable_since: float | None = None
        self._poll_interval = POLL[0]
        self._closing = False

    def __repr__(self) -> str:
        state = "closed"
        if self._task is not None:
            state = live_state(self.quota, len(self._held), [], len(self._waiters), self._paused_until - clock())
        return f"<{type(self).__name__} {self.backend.describe()}: {self.quota!r}, {state}>"

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        if self._task is None or self._task.get_loop() is not asyncio.get_running_loop() or self._closing:
            raise ClientClosedError(f"{self!r} is not open in this event loop: use it inside `async with`")
        pause = self._paused_until - clock()
        if pause > max_pause:
            raise QuotaPausedError(pause)
        return await self._waiters.wait(max_pause)

    async def on_open(self) -> None:
        self._reset()
        try:
            await self.backend.open()
            await self._connect()
        except BaseException:
            await self.backend.close()
            raise
        self._task = asyncio.create_task(self._run(), name=f"{type(self).__name__} exchanges")

    async def _connect(self) -> None:
        """Make the first exchange, so that a wrong configuration is raised at once."""
        deadline = time.monotonic() + self.outage_timeout
        while True:
            try:
                self._apply(await self.backend.exchange((), (), {}))
                return
            except UnreachableError as error:
                reason = str(error)
            if time.monotonic() >= deadline:
                raise self._unavailable(reason)
            await asyncio.sleep(POLL[1])

    async def on_close(self) -> None:
        task, self._task = self._task, None
        assert task is not None
        self._closing = True
        self._waiters.refuse(
            lambda: ClientClosedError(f"{self.backend.describe()} was closed while this call waited for a slot")
        )
        for slot in tuple(self._held.values()):
            slot.abandon()
        self._wake.set()
        try:
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT)
        finally:
            task.cancel()
            await self.backend.close()
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _run(self) -> None:
        try:
            while not self._closing or self._has_work():
                self._wake.clear()
                must_exchange = self._has_work() or self.backend.heartbeat < math.inf
                retry_in = await self._exchange() if must_exchange else math.inf
                if not self._closing or self._has_work():
                    await self._wait_until_due(retry_in)
        except BaseException as error:
            self._closing = True
            failure = error if isinstance(error, Exception) else ClientClosedError(f"{self!r} was cancelled")
            self._waiters.refuse(lambda: failure)
            raise

    def _has_work(self) -> bool:
        return bool(self._events or self._waiters or self._request_ids)

    async def _exchange(self) -> float:
        """Make one exchange; the seconds until time alone lets another request start."""
        request_ids = self._requests()
        events = tuple(self._events)
        held = {slot.id: slot.is_answered for slot in self._held.values()}
        try:
            result = await self.backend.exchange(events, request_ids, held)
        except UnreachableError as error:
            return self._on_unavailable(str(error))
        except ConfigurationError as error:
            failure = error
            self._waiters.refuse(lambda: failure)
            return RECHECK
        self._unreachable_since = None
        del self._events[: len(events)]
        return self._apply(result)

    def _requests(self) -> tuple[str, ...]:
        """An id for each caller that waits; the ids of callers who gave up are given back.

        More ids than may be in flight keep the order among the processes, and the bound keeps the shared queue short.
        """
        wanted = min(len(self._waiters), 2 * self.quota.in_flight + 1)
        for request_id in self._request_ids[wanted:]:
            self._events.append(Event("refunded", request_id, clock()))
        del self._request_ids[wanted:]
        self._request_ids.extend(uuid.uuid4().hex for _ in range(wanted - len(self._request_ids)))
        return tuple(self._request_ids)

    def _apply(self, result: ExchangeResult) -> float:
        # A slot that was granted before the backend heard of our 429 must not be used.
        pause_unreported = any(event.kind == "throttled" for event in self._events)
        for request_id in result.granted:
            if request_id not in self._request_ids:
                continue
            self._request_ids.remove(request_id)
            slot = self._held[request_id] = Slot(self._report, request_id)
            waiter = None if pause_unreported else self._waiters.pop()
            if waiter is None:
                slot.refund()
            else:
                waiter.set_result(slot)
        now = clock()
        if result.granted:
            self._poll_interval = POLL[0]
            if self._announced_pause and self._paused_until <= now:
                self._announced_pause = False
                logger.info("the pause of %s is over", self.backend.describe())
        if result.pause_left > 0:
            self._pause(now + result.pause_left)
        return result.retry_in

    def _report(self, slot: Slot, kind: EventKind, seconds: float) -> None:
        now = clock()
        self._events.append(Event(kind, slot.id, now, seconds))
        if kind == "throttled":
            self._pause(now + seconds)
        elif kind != "answered":
            del self._held[slot.id]
        self._wake.set()

    def _pause(self, until: float) -> None:
        if until <= self._paused_until:
            return
        now = clock()
        if self._paused_until <= now:
            self._announced_pause = True
            logger.info("429: all requests that share %s pause for %.1f s", self.backend.describe(), until - now)
        self._paused_until = until
        self._waiters.refuse_pause(until - now)

    def _on_unavailable(self, reason: str) -> float:
        """Refuse the callers that have waited for `outage_timeout`; the seconds until the next attempt."""
        now = asyncio.get_running_loop().time()
        if self._unreachable_since is None:
            self._unreachable_since = now
        if now < self._unreachable_since + self.outage_timeout:
            return POLL[1]
        self._waiters.refuse(lambda: self._unavailable(reason), came_until=now - self.outage_timeout)
        return min(OUTAGE_POLL, self.outage_timeout)

    def _unavailable(self, reason: str) -> QuotaUnavailableError:
        return QuotaUnavailableError(
            f"{self.backend.describe()} was out of reach for {self.outage_timeout:g} s (outage_timeout=): {reason}"
        )

    async def _wait_until_due(self, seconds: float) -> None:
        """Wait for the next exchange: time has passed, or something was reported here or changed elsewhere."""
        recheck = min(RECHECK, self.backend.heartbeat)
        if not self._waiters:
            # While slots are held, a server that lost its memory must soon learn of them.
            idle = recheck if self._held and self.backend.heartbeat < math.inf else self.backend.heartbeat
            await self._sleep(min(seconds, idle) if self._events else idle)
        elif seconds < math.inf:
            await self._sleep(min(seconds, recheck))
        else:
            deadline = time.monotonic() + recheck
            while not self._wake.is_set() and time.monotonic() < deadline:
                await self._sleep(self._poll_interval)
                self._poll_interval = min(self._poll_interval * 1.5, POLL[1])
                if self.backend.has_changed():
                    return

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if seconds < math.inf else None):
                await self._wake.wait()
