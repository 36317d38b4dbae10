"""A quota that is kept outside of the process: what callers use, in any number of event loops."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from clicksgroup.arguments import positive
from clicksgroup.errors import ClientClosedError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend, clock
from clicksgroup.quota.exchanger import Exchanger
from clicksgroup.quota.ledger import Forecast
from clicksgroup.quota.shared import SharedQuota, Slot
from clicksgroup.quota.state import ExchangeResult


class RemoteQuota(SharedQuota):
    """Keeps a quota in a file or a server, for all event loops of a process.

    Each event loop takes part on its own, as another process would.
    """

    def __init__(self, quota: Quota, make_backend: Callable[[], Backend], outage_timeout: float) -> None:
        super().__init__(quota)
        self.outage_timeout = positive("outage_timeout", outage_timeout, finite=True)
        self._exchangers: dict[asyncio.AbstractEventLoop, Exchanger] = {}
        # What the last exchange of any loop told, and when.
        self._forecast: tuple[Forecast, float] | None = None
        self._make_backend = make_backend
        # Where the arguments are refused, a traceback may show the `repr` all the same.
        self._description = "that was refused"
        self._description = make_backend().describe()

    def forecast(self) -> Forecast:
        if self._forecast is None:
            return super().forecast()
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
        return await self._exchanger().acquire(max_pause)

    async def on_open(self) -> None:
        for loop in list(self._exchangers):
            if loop.is_closed():
                self._exchangers.pop(loop, None)
        exchanger = Exchanger(self.quota, self._make_backend(), self.outage_timeout, self._learn)
        await exchanger.open()
        self._exchangers[asyncio.get_running_loop()] = exchanger

    async def on_close(self) -> None:
        await self._exchangers.pop(asyncio.get_running_loop()).close()

    def _exchanger(self) -> Exchanger:
        exchanger = self._exchangers.get(asyncio.get_running_loop())
        if exchanger is None:
            raise ClientClosedError(f"{self!r} is not open in this event loop: use it inside `async with`")
        return exchanger

    def _learn(self, result: ExchangeResult) -> None:
        self._forecast = result.forecast, clock()
        if result.granted:
            self._announce_limits(result.forecast)
