"""Readers: they read, pause, break, give up and ask again, as users do."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator
from typing import Any

import attrs

from clicksgroup import ClicksClient, ClicksGroupError, ClientClosedError
from tests.simulation.plan import ReaderPlan

MOST_RETRIES = 20
"""How often an impatient reader gives up and asks again, before it becomes patient."""


@attrs.define(eq=False)
class Reading:
    """What became of a reader.

    Attributes:
        plan: what it was to do.
        items: what it was given.
        failed: the dates that were left out, where it asked for that.
        clean: whether it reached the end.
        error: what it was told instead.
        stopped_at: when it wanted no more, or its client was closed.
        problems: what a stream must not do.
    """

    plan: ReaderPlan
    items: list[Any] = attrs.field(factory=list)
    failed: dict[datetime.date, ClicksGroupError] = attrs.field(factory=dict)
    clean: bool = False
    error: BaseException | None = None
    stopped_at: float | None = None
    problems: list[str] = attrs.field(factory=list)

    async def run(self, client: ClicksClient) -> None:
        """Read, until the end, an error, or as long as the plan says."""
        await asyncio.sleep(self.plan.begins)
        if self.plan.call in ("day", "page"):
            await asyncio.gather(*(self._ask(client, number) for number in range(self.plan.callers)))
        else:
            await self._read(client)
        if self.stopped_at is None:
            self.stopped_at = asyncio.get_running_loop().time()

    async def _ask(self, client: ClicksClient, caller: int) -> None:
        plan, date = self.plan, datetime.date.fromordinal(self.plan.dates[0])
        # The first caller may leave early.
        seconds = plan.pause if plan.style == "timeout" and caller == 0 else None
        try:
            async with asyncio.timeout(seconds):
                if plan.call == "day":
                    self.items.append(await client.day(date, groups=plan.groups))
                else:
                    self.items.append(await client.page(date, max(1, plan.stop_after), groups=plan.groups))
                self.clean = True
        except TimeoutError:
            pass
        except ClicksGroupError as error:
            self.error = error

    async def _read(self, client: ClicksClient) -> None:
        plan, stream = self.plan, self._stream(client)
        try:
            async with asyncio.timeout(plan.pause if plan.style == "timeout" else None):
                self.clean = await self._take(stream)
        except TimeoutError:
            await stream.aclose()
        except ClicksGroupError as error:
            self.error = error
            await self._expect_the_same(stream, error)
        else:
            if self.clean:
                await self._expect_the_end(stream)
            elif plan.style == "aclose":
                await stream.aclose()
                await self._expect_the_end(stream)

    def _stream(self, client: ClicksClient) -> AsyncGenerator[Any, None]:
        plan = self.plan
        if plan.call == "groups":
            return client.groups(name=str(plan.dates[0]))
        if plan.call == "totals":
            start = datetime.date.fromordinal(plan.dates[0])
            return client.totals(start, start + datetime.timedelta(days=plan.days - 1), groups=plan.groups)
        dates = (datetime.date.fromordinal(ordinal) for ordinal in plan.dates)
        options: dict[str, Any] = {"failed": self.failed} if plan.notes_failures else {}
        stream: AsyncGenerator[Any, None] = getattr(client, plan.call)(
            dates, groups=plan.groups, ordered=plan.ordered, **options
        )
        return stream

    async def _take(self, stream: AsyncGenerator[Any, None]) -> bool:
        """Whether the end was reached."""
        plan = self.plan
        stops = plan.style in ("break", "aclose")
        retries = 0
        while not (stops and len(self.items) >= plan.stop_after):
            try:
                impatient = plan.style == "impatient" and retries < MOST_RETRIES
                async with asyncio.timeout(plan.pause if impatient else None):
                    self.items.append(await anext(stream))
            except TimeoutError:
                retries += 1
            except StopAsyncIteration:
                return True
            if plan.style == "slow" and len(self.items) % 7 == 0:
                await asyncio.sleep(plan.pause)
        return False

    async def _expect_the_same(self, stream: AsyncGenerator[Any, None], error: ClicksGroupError) -> None:
        """After an error a stream keeps raising it."""
        try:
            await anext(stream)
        except ClicksGroupError as again:
            # A stream of a client that is closed may not even have begun.
            if again is not error and not isinstance(again, ClientClosedError):
                self.problems.append(f"after {error!r} the stream raised {again!r}")
        except StopAsyncIteration:
            self.problems.append(f"after {error!r} the stream ended as if it were complete")
        else:
            self.problems.append(f"after {error!r} the stream went on")

    async def _expect_the_end(self, stream: AsyncGenerator[Any, None]) -> None:
        # A stream that was closed with an error ahead may still raise that.
        with contextlib.suppress(StopAsyncIteration, ClicksGroupError):
            item = await anext(stream)
            self.problems.append(f"after its end the stream gave {item!r}")
