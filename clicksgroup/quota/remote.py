"""A quota that is kept outside of the process, for callers in any number of event loops.

Callers wait in the process, first come, first served, and reports about their slots are only recorded. In each event
loop one task makes exchanges: each tells the backend all of it and hands out the slots that it grants. So a caller that
is cancelled costs nothing, and a report that arrives late only delays other requests: it never lets too many start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import time
import uuid
from collections.abc import Callable

from clicksgroup.arguments import positive
from clicksgroup.errors import ClientClosedError, ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend, UnreachableError, clock
from clicksgroup.quota.ledger import Event, EventKind, Forecast
from clicksgroup.quota.shared import SharedQuota, Slot, Waiters
from clicksgroup.quota.state import LEASE, ExchangeResult, Report

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

LEASE_MARGIN = 5.0
"""Seconds before the end of its lease at which a slot is no longer used: its request must reach the server in time."""

BLOCKED = 5.0
"""Seconds. A wait for the place of another process that is longer is logged."""


class RemoteQuota(SharedQuota):
    """Keeps a quota in a file or a server, for all event loops of a process.

    Each event loop takes part on its own, as another process would.
    """

    def __init__(self, quota: Quota, make_backend: Callable[[], Backend], outage_timeout: float) -> None:
        # Where the arguments are refused, a traceback may show the `repr` all the same.
        self.quota = quota
        self._exchangers: dict[asyncio.AbstractEventLoop, Exchanger] = {}
        self._description = "with arguments that were refused"
        super().__init__(quota)
        self.outage_timeout = positive("outage_timeout", outage_timeout, finite=True)
        # What the last exchange of any loop told, and when.
        self._forecast = super().forecast(), clock()
        self._make_backend = make_backend
        self._description = make_backend().description

    def forecast(self) -> Forecast:
        forecast, at = self._forecast
        return forecast.later(clock() - at)

    def __repr__(self) -> str:
        opened = [each for loop, each in self._exchangers.copy().items() if not loop.is_closed()]
        state = "closed"
        if opened:
            held, waiting = sum(len(each.held) for each in opened), sum(len(each.waiters) for each in opened)
            state = self._live_state(held, waiting)
        return f"<{type(self).__name__} {self._description}: {self.quota!r}, {state}>"

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        exchanger = self._exchangers.get(asyncio.get_running_loop())
        if exchanger is None:
            raise ClientClosedError(f"{self!r} is not open in this event loop: use it inside `async with`")
        if exchanger.failure is not None:
            raise exchanger.failure
        return await exchanger.waiters.wait(max_pause, clock())

    async def on_open(self) -> None:
        for loop in list(self._exchangers):
            if loop.is_closed():
                self._exchangers.pop(loop, None)
        exchanger = Exchanger(self._make_backend(), self.outage_timeout, self._remember)
        await exchanger.open()
        self._exchangers[asyncio.get_running_loop()] = exchanger

    async def on_close(self) -> None:
        await self._exchangers.pop(asyncio.get_running_loop()).close()

    def _remember(self, result: ExchangeResult) -> None:
        self._forecast = result.forecast, clock()
        if result.granted:
            self._announce_limits(result.forecast.limits)


class Exchanger:
    """One event loop's part in a quota. `on_result` is told what each exchange shows."""

    def __init__(self, backend: Backend, outage_timeout: float, on_result: Callable[[ExchangeResult], None]) -> None:
        self._backend = backend
        self._outage_timeout = outage_timeout
        self._on_result = on_result
        self._wake = asyncio.Event()
        self.waiters = Waiters(
            self._wake.set,
            f"the pause is kept in {backend.description}; to end it, {backend.how_to_end_pause}; then nothing "
            "starts for one window",
        )
        # One id for each caller that waits, up to a bound.
        self._request_ids: list[str] = []
        self.held: dict[str, Slot] = {}
        # Events that no exchange has reported yet.
        self._events: list[Event] = []
        self._lease_until = math.inf
        # Since when only other processes are in the way; infinity once that was logged.
        self._blocked_since: float | None = None
        self._unreachable_since: float | None = None
        self._poll_interval = POLL[0]
        # Why no caller is served any more.
        self.failure: Exception | None = None

    async def open(self) -> None:
        """Make the first exchange, so that a wrong configuration is raised at once."""
        deadline = time.monotonic() + self._outage_timeout
        try:
            while True:
                try:
                    began = clock()
                    self._apply(await self._backend.exchange(Report()), began)
                    break
                except UnreachableError as error:
                    reason = str(error)
                if time.monotonic() >= deadline:
                    raise self._unavailable(reason)
                await asyncio.sleep(POLL[1])
        except BaseException:
            await self._backend.close()
            raise
        self._task = asyncio.create_task(self._run(), name=f"exchanges with {self._backend.description}")

    async def close(self) -> None:
        """Abandon the slots that are held, report it, and close the backend."""
        if self.failure is None:
            self._fail(ClientClosedError(f"{self._backend.description} was closed while this call waited for a slot"))
        for slot in tuple(self.held.values()):
            slot.abandon()
        self._wake.set()
        task = self._task
        try:
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT)
        finally:
            task.cancel()
            await self._backend.close()
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _fail(self, failure: Exception) -> None:
        self.failure = failure
        self.waiters.refuse(lambda: failure)

    async def _run(self) -> None:
        try:
            retry_in, leaving = math.inf, False
            while not leaving or self._events:
                await self._wait_until_due(retry_in)
                self._wake.clear()
                leaving = self.failure is not None
                retry_in = await self._exchange(leaving)
        except BaseException as error:
            cancelled = ClientClosedError(f"{self._backend.description} was cancelled")
            self._fail(error if isinstance(error, Exception) else cancelled)
            raise

    async def _exchange(self, leaving: bool) -> float:
        """Make one exchange; the seconds until time alone lets another request start."""
        request_ids = self._requests()
        held = {slot.id: slot.is_answered for slot in self.held.values()}
        report = Report(tuple(self._events), request_ids, held, leaving)
        began = clock()
        try:
            result = await self._backend.exchange(report)
        except UnreachableError as error:
            return self._on_unavailable(str(error))
        except ConfigurationError as error:
            failure = error
            self.waiters.refuse(lambda: failure)
            return RECHECK
        self._unreachable_since = None
        del self._events[: len(report.events)]
        return self._apply(result, began)

    def _requests(self) -> tuple[str, ...]:
        """An id for each caller that waits; the ids of callers who gave up are given back.

        More ids than may be in flight keep the order among the processes, and the bound keeps the shared queue short.
        """
        wanted = min(len(self.waiters), 2 * self._backend.quota.in_flight + 1)
        for request_id in self._request_ids[wanted:]:
            self._events.append(Event("refunded", request_id, clock()))
        del self._request_ids[wanted:]
        self._request_ids.extend(uuid.uuid4().hex for _ in range(wanted - len(self._request_ids)))
        return tuple(self._request_ids)

    def _apply(self, result: ExchangeResult, began: float) -> float:
        if began >= self._lease_until:
            # This process stood still. Others may have been granted its places meanwhile.
            for slot in self.held.values():
                slot.expire()
        self._lease_until = began + result.lease_left
        self._on_result(result)
        # A slot that was granted before the backend heard of a 429 must not be used.
        paused = result.pause_left > 0 or any(event.kind == "throttled" for event in self._events)
        for request_id in result.granted:
            self._request_ids.remove(request_id)
            slot = self.held[request_id] = Slot(self._report, request_id, self._has_expired)
            waiter = None if paused else self.waiters.pop()
            if waiter is None:
                slot.refund()
            else:
                waiter.set_result(slot)
        now = clock()
        if result.granted:
            self._poll_interval = POLL[0]
            self.waiters.granted(now)
        self.waiters.pause(now + result.pause_left, now)
        self._announce_wait(result, now)
        return result.retry_in

    def _has_expired(self) -> bool:
        return clock() >= self._lease_until - LEASE_MARGIN

    def _report(self, slot: Slot, kind: EventKind, seconds: float) -> None:
        self._events.append(Event(kind, slot.id, clock(), seconds))
        if kind not in ("answered", "throttled"):
            del self.held[slot.id]
        self._wake.set()

    def _announce_wait(self, result: ExchangeResult, now: float) -> None:
        """Log a long wait, for a window or for other processes, once."""
        self.waiters.announce_wait(result.forecast)
        if not self.waiters or self.held or not result.others or result.retry_in < math.inf:
            self._blocked_since = None
            return
        self._blocked_since = self._blocked_since or now
        if now - self._blocked_since >= BLOCKED:
            others = re.sub(r"holder-(\d+)-\w+", r"process \1", ", ".join(result.others))
            logger.warning(
                "%s: waiting for a place in flight, which %s has held for %.0f s or longer; if it does not run any "
                "more, its lease expires in %.0f s at the latest",
                *(self._backend.description, others, now - self._blocked_since, LEASE),
            )
            self._blocked_since = math.inf

    def _on_unavailable(self, reason: str) -> float:
        """Refuse the callers that have waited for `outage_timeout`; the seconds until the next attempt."""
        now = asyncio.get_running_loop().time()
        if self._unreachable_since is None:
            self._unreachable_since = now
        if now < self._unreachable_since + self._outage_timeout:
            return POLL[1]
        self.waiters.refuse(lambda: self._unavailable(reason), came_until=now - self._outage_timeout)
        return min(OUTAGE_POLL, self._outage_timeout)

    def _unavailable(self, reason: str) -> QuotaUnavailableError:
        return QuotaUnavailableError(
            f"{self._backend.description} was out of reach for {self._outage_timeout:g} s (outage_timeout=): {reason}"
        )

    async def _wait_until_due(self, seconds: float) -> None:
        """Wait for the next exchange: time has passed, or something was reported here or changed elsewhere."""
        recheck = min(RECHECK, LEASE / 3)
        if self.waiters and seconds == math.inf:
            deadline = time.monotonic() + recheck
            while not self._wake.is_set() and time.monotonic() < deadline:
                await self._sleep(self._poll_interval)
                self._poll_interval = min(self._poll_interval * 1.5, POLL[1])
                if self._backend.has_changed():
                    return
        elif self.waiters or self._events or self.held or self.waiters.pause_left(clock()) > 0:
            # A server that lost its memory must soon learn of slots that are held. A pause may be ended by hand.
            await self._sleep(min(seconds, recheck))
        else:
            # A lease is renewed when a third of it has passed.
            await self._sleep(LEASE / 3)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
