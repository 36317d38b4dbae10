"""How far a job is and how long it will take: a live line on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import attrs

from clicksgroup.cli.console import LiveLine, format_duration, is_interactive, is_quiet, joined, say, stderr
from clicksgroup.cli.resources import OpenedClient

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

    def text(self, width: float = float("inf")) -> str:
        """`3 of 31 dates · 3 requests · next request in 12 s · about 2 h left`; in few columns less of it."""
        first, *others = self.parts
        wait = self.next_request
        waiting = f"next request in {format_duration(wait)}" if wait is not None and wait >= LONG_WAIT else None
        left = f"about {format_duration(self.left)} left" if self.left is not None else None
        texts = [joined(first, *others[:count], waiting, left) for count in range(len(others), -1, -1)]
        last = left or waiting
        texts += [joined(first, last), last or first]
        return next((text for text in texts if len(text) <= width), texts[-1])


@contextlib.asynccontextmanager
async def showing(state: Callable[[], State], line: LiveLine) -> AsyncIterator[None]:
    """Show the state of the job while the block runs, and not before `QUIET_SECONDS` have passed."""
    task = asyncio.create_task(_show(state, line))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        line.hide()


async def _show(state: Callable[[], State], line: LiveLine) -> None:
    if is_quiet():
        return
    if not is_interactive():
        while True:
            await asyncio.sleep(LINE_SECONDS)
            say(state().text())
    await asyncio.sleep(QUIET_SECONDS)
    while True:
        now = state()
        line.show(now.text(stderr.width), done=now.done)
        await asyncio.sleep(TICK_SECONDS)


@attrs.define
class Pace:
    """How long the requests of a client take, to tell how long those that are left will."""

    opened: OpenedClient
    started_at: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return asyncio.get_running_loop().time() - self.started_at

    def seconds_left(self, requests: int) -> float:
        """Seconds until so many more requests are answered, at the pace so far and as the quota allows."""
        stats, quota = self.opened.client.stats, self.opened.quota
        if requests <= 0:
            return 0.0
        busy = max(self.seconds - quota.seconds_waited, 0.0)
        # Requests that start together are answered together.
        rounds = math.ceil(stats.pages / quota.quota.in_flight)
        each = busy / (rounds * quota.quota.in_flight) if rounds else 0.0
        # The quota counts those in flight already.
        waiting = requests - max(stats.requests - stats.pages - stats.retries, 0)
        delayed = [quota.seconds_until(i) + (waiting - i + 1) * each for i in self._last_window(waiting)]
        return max(each * requests, *delayed, 0.0)

    def _last_window(self, requests: int) -> Iterable[int]:
        """Some of the requests that fit a window: any of them may be the last that the quota delays."""
        if requests > MANY_REQUESTS:
            return [requests]
        counts = [count for count, _ in self.opened.quota.quota.limits]
        samples = (range(requests, max(requests - n, 0), -math.ceil(n / WINDOW_SAMPLES)) for n in counts)
        return set().union(*samples)
