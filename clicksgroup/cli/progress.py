"""How far work is, on stderr: live where somebody watches, a plain line now and then where nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable

import attrs
from rich.text import Text

from clicksgroup.cli import words
from clicksgroup.cli.console import QUIET_SECONDS, LiveLine
from clicksgroup.cli.session import Session
from clicksgroup.models import Page
from clicksgroup.protocol.requests import PAGE_SIZE

TICK = 0.5
"""Seconds between two looks at how far it is."""

LONG_WAIT = 1.0
"""Seconds of waiting for quota that are worth a word."""


@contextlib.asynccontextmanager
async def ticking(tick: Callable[[], None]) -> AsyncIterator[None]:
    """Call `tick` now and then while the block runs, not before `QUIET_SECONDS` have passed."""
    task = asyncio.create_task(_tick(tick))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tick(tick: Callable[[], None]) -> None:
    await asyncio.sleep(QUIET_SECONDS)
    while True:
        tick()
        await asyncio.sleep(TICK)


def waiting(session: Session) -> str | None:
    """That it is the quota that work waits for, if it is."""
    seconds = session.quota.waiting
    return f"waiting for quota, {words.duration(seconds)}" if seconds >= LONG_WAIT else None


def left(seconds: float | None) -> str | None:
    """How long it will take."""
    return None if seconds is None else f"about {words.duration(seconds)} left"


@attrs.define
class Tally:
    """What has come of a stream of pages in the order of their dates."""

    total: int
    dates: int = 0
    pages: int = 0
    records: int = 0
    pages_of_date: int = 0
    last: Page | None = None
    began_at: float = attrs.field(factory=time.monotonic)

    def add(self, page: Page) -> None:
        if self.last is None or self.last.date != page.date:
            self.dates += 1
            self.pages_of_date = 0
        self.last = page
        self.pages += 1
        self.pages_of_date += 1
        self.records += len(page.records)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began_at

    def eta(self, session: Session) -> float | None:
        """Seconds that it will still take: the pace so far, or what the quota allows if that is longer."""
        if self.last is None:
            return None
        before = self.dates - 1  # dates that are over
        of_this = max(math.ceil(self.last.total_count / PAGE_SIZE), self.pages_of_date)
        a_date = (self.pages - self.pages_of_date) / before if before else of_this
        had = session.client.stats.pages  # more than was read: the stream works ahead
        pages = math.ceil(max(self.pages - self.pages_of_date + of_this + a_date * (self.total - self.dates) - had, 0))
        return max(self.seconds / had * pages, session.quota.quota.seconds_for(pages))

    def line(self, session: Session) -> str:
        done = self.dates - 1 if self.last is not None and self.last.next_number is not None else self.dates
        parts = [
            f"{done:,} of {words.count(self.total, 'date')}",
            words.count(self.pages, "page"),
            words.count(self.records, "record"),
            waiting(session),
            left(self.eta(session)),
        ]
        return " · ".join(part for part in parts if part)


def show(line: LiveLine, text: str) -> None:
    line.show(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
