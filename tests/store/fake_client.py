"""A client without a server: it answers each date with what a test wants."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import attrs

from clicksgroup.errors import ClicksGroupError
from clicksgroup.models import Day, Estimate, Stats
from tests.store.databases import make_day

Outcome: TypeAlias = Day | ClicksGroupError
Answer: TypeAlias = Callable[[datetime.date, tuple[int, ...] | None], Outcome]


def complete(date: datetime.date, groups: tuple[int, ...] | None) -> Day:
    """All the groups that were asked for, or groups 1 to 95: four pages."""
    return make_day(date, {group: date.day * group for group in groups or range(1, 96)}, groups=groups)


def failing(errors: dict[int, ClicksGroupError]) -> Answer:
    """`complete`, but for errors by the day of the month."""
    return lambda date, groups: errors.get(date.day) or complete(date, groups)


# To type checkers it is a client of any kind, so that it may be passed as a ClicksClient.
_AnyClient: Any = object


class FakeClient(_AnyClient):  # type: ignore[misc]
    """Answers each date with `answer`, counts one request for each page of 30, and remembers what was asked.

    `before_answer` is awaited before each answer.
    """

    def __init__(self, answer: Answer = complete, *, seconds_per_request: float = 0.0) -> None:
        self.origin = "https://vivoldi.com:443"
        self.asked: list[datetime.date] = []
        self.stats = Stats()
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self._answer = answer
        self._seconds_per_request = seconds_per_request

    async def day(self, date: datetime.date, *, groups: tuple[int, ...] | None = None) -> Day:
        self.asked.append(date)
        if self.before_answer is not None:
            await self.before_answer()
        outcome = self._answer(date, groups)
        if isinstance(outcome, ClicksGroupError):
            raise outcome
        return outcome

    def day_outcomes(
        self,
        dates: Iterable[datetime.date],
        *,
        groups: tuple[int, ...] | None = None,
        fatal: Callable[[datetime.date, ClicksGroupError], bool],
    ) -> contextlib.aclosing[AsyncGenerator[tuple[datetime.date, Outcome]]]:
        async def outcomes() -> AsyncGenerator[tuple[datetime.date, Outcome]]:
            for date in dates:
                self.asked.append(date)
                if self.before_answer is not None:
                    await self.before_answer()
                outcome = self._answer(date, groups)
                pages = max(1, -(-len(outcome) // 30)) if isinstance(outcome, Day) else 1
                self.stats = attrs.evolve(self.stats, requests=self.stats.requests + pages)
                if isinstance(outcome, ClicksGroupError) and fatal(date, outcome):
                    raise outcome
                yield date, outcome

        return contextlib.aclosing(outcomes())

    def estimate(
        self, dates: Iterable[datetime.date], *, groups: object = None, group_count: int | None = None
    ) -> Estimate:
        requests = sum(1 for _ in dates) * max(1, -(-(group_count or 1) // 30))
        return Estimate(requests, requests * self._seconds_per_request)
