"""How far a job is and how long it will take: a live line on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import attrs
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clicksgroup.cli.console import format_duration, is_interactive, is_quiet, joined, say, stderr, unless_gone
from clicksgroup.client import ClicksClient
from clicksgroup.quota.ledger import Forecast
from clicksgroup.quota.shared import SharedQuota, Slot

QUIET_SECONDS = 1.0
"""Work that ends sooner shows no progress."""

TICK_SECONDS = 0.5
"""Seconds between two updates of the live line."""

LINE_SECONDS = 60.0
"""Seconds between two lines of progress where stderr is no terminal."""

LONG_WAIT = 1.0
"""Seconds until the next request from which on the progress says so."""

MANY_REQUESTS = 1000
"""So many requests make the last window a small part of the time."""

WINDOW_SAMPLES = 12

_WIDEST_BAR = 72


@attrs.frozen
class State:
    """How far a job is.

    Args:
        parts: how much is done, the most important first.
        next_request: seconds until the quota allows the next request; None if none waits for it.
        left: seconds that the job will take; None where that is not known.
        done: the share that is done, from 0 to 1, for a bar.
    """

    parts: Sequence[str]
    next_request: float | None = None
    left: float | None = None
    done: float | None = None

    def text(self, width: float = math.inf) -> str:
        """`3 of 31 dates · 3 requests · next request in 12 s · about 2 h left`; in few columns less of it."""
        first, *others = self.parts
        wait = self.next_request
        waiting = f"next request in {format_duration(wait)}" if wait is not None and wait >= LONG_WAIT else None
        left = f"about {format_duration(self.left)} left" if self.left is not None else None
        last = left or waiting
        texts = [joined(first, *others[:count], waiting, left) for count in range(len(others), -1, -1)]
        texts += [joined(first, last), last or first]
        return next((text for text in texts if len(text) <= width), texts[-1])


@contextlib.asynccontextmanager
async def showing(state: Callable[[], State]) -> AsyncIterator[None]:
    """Show the state of the job while the block runs, and not before `QUIET_SECONDS` have passed."""
    task = asyncio.create_task(_show(state))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        hide_progress()


async def _show(state: Callable[[], State]) -> None:
    if is_quiet():
        return
    if not is_interactive():
        while True:
            await asyncio.sleep(LINE_SECONDS)
            say(state().text())
    await asyncio.sleep(QUIET_SECONDS)
    while True:
        with unless_gone():
            _live.start()
            _live.update(_drawn(state()), refresh=True)
        await asyncio.sleep(TICK_SECONDS)


# The line at the bottom of the terminal, redrawn in place.
_live = Live(console=stderr, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


def _drawn(state: State) -> Table:
    """The line, with a bar above it if the share that is done is known."""
    drawn = Table.grid()
    if state.done is not None:
        drawn.add_row(ProgressBar(total=1, completed=state.done, width=min(stderr.width, _WIDEST_BAR)))
    drawn.add_row(Text(state.text(stderr.width), style="dim", no_wrap=True, overflow="ellipsis"))
    return drawn


def hide_progress() -> None:
    """Remove the line from the terminal, until it is drawn again."""
    with unless_gone():
        _live.stop()


def _now() -> float:
    return asyncio.get_running_loop().time()


class WatchedQuota(SharedQuota):
    """A quota that also knows whether, and how long, callers have been waiting for it."""

    def __init__(self, inner: SharedQuota) -> None:
        super().__init__(inner.quota)
        self._inner = inner
        self._waiting = 0
        self._busy = 0.0
        # None while callers wait, and before the first request: a job may have to wait for another one.
        self._busy_since: float | None = None

    @property
    def seconds_busy(self) -> float:
        """Seconds since the first request in which no caller waited."""
        return self._busy + (0.0 if self._busy_since is None else _now() - self._busy_since)

    @property
    def next_request(self) -> float | None:
        """Seconds until the caller that is next may send its request; None if nobody waits."""
        return self.seconds_until(1) if self._waiting else None

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        self._busy, self._busy_since = self.seconds_busy, None
        self._waiting += 1
        try:
            return await self._inner.acquire(max_pause)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._busy_since = _now()

    def forecast(self) -> Forecast:
        return self._inner.forecast()

    async def on_open(self) -> None:
        await self._inner.__aenter__()

    async def on_close(self) -> None:
        await self._inner.__aexit__(None, None, None)


@attrs.frozen
class OpenedClient:
    """A client, and the quota that its requests wait for."""

    client: ClicksClient
    quota: WatchedQuota

    def seconds_left(self, requests: int) -> float:
        """Seconds until so many more requests are answered, at the pace so far and as the quota allows."""
        stats, in_flight = self.client.stats, self.quota.quota.in_flight
        if requests <= 0:
            return 0.0
        # Requests that start together are answered together.
        rounds = math.ceil(stats.pages / in_flight)
        each = self.quota.seconds_busy / (rounds * in_flight) if rounds else 0.0
        # The quota counts those in flight already.
        waiting = requests - max(stats.requests - stats.pages - stats.retries, 0)
        delayed = [self.quota.seconds_until(i) + (waiting - i + 1) * each for i in self._last_window(waiting)]
        return max(each * requests, *delayed, 0.0)

    def _last_window(self, requests: int) -> Iterable[int]:
        """Some of the requests that fit a window: any of them may be the last that the quota delays."""
        if requests > MANY_REQUESTS:
            return [requests]
        counts = [count for count, _ in self.quota.quota.limits]
        samples = (range(requests, max(requests - n, 0), -math.ceil(n / WINDOW_SAMPLES)) for n in counts)
        return set().union(*samples)
