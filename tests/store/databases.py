"""Where tests keep their stores, and a client that answers what a test wants."""

from __future__ import annotations

import datetime
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import attrs
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from clicksgroup.errors import ClicksGroupError
from clicksgroup.models import Day, Estimate, GroupClicks, Stats
from clicksgroup.store import ClickStore

POSTGRES_URL = os.environ.get(
    "CLICKSGROUP_TEST_POSTGRES_URL", "postgresql+asyncpg://postgres@127.0.0.1:5432/test"
).replace("postgresql://", "postgresql+asyncpg://")

LONG_AFTER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@attrs.frozen
class Database:
    """Where a test keeps its store."""

    dialect: str
    url: str
    schema: str | None

    def store(self, **options: Any) -> ClickStore:
        return ClickStore(self.url, schema=self.schema, **options)

    def table(self, name: str) -> str:
        return f"{self.schema}.{name}" if self.schema else name

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """What a user sees with SQL of their own: their engine, not the store's."""
        engine = create_async_engine(self.url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                result = await connection.exec_driver_sql(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            await engine.dispose()


def make_day(
    date: str | datetime.date,
    clicks: dict[int, int],
    *,
    groups: tuple[int, ...] | None = None,
    fetched_at: datetime.datetime = LONG_AFTER,
    problems: tuple[str, ...] = (),
) -> Day:
    """A day on which group `n` is called `group n` and one visitor in ten came twice."""
    date = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    records = tuple(
        GroupClicks(date, group, f"group {group}", count, count * 9 // 10) for group, count in clicks.items()
    )
    return Day(date, len(records), records, fetched_at, groups, problems)


Answer = Day | ClicksGroupError


class FakeOutcomes:
    def __init__(self, answers: AsyncIterator[tuple[datetime.date, Answer]]) -> None:
        self._answers = answers

    def __aiter__(self) -> AsyncIterator[tuple[datetime.date, Answer]]:
        return self._answers

    async def __aenter__(self) -> FakeOutcomes:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._answers.aclose()  # type: ignore[attr-defined]


class FakeClient:
    """Answers each date with what `answer` makes of it, one request a page of 30, and remembers what was asked."""

    def __init__(self, answer: Callable[[datetime.date, tuple[int, ...] | None], Answer]) -> None:
        self.answer = answer
        self.asked: list[datetime.date] = []
        self.stats = Stats()
        self.seconds_a_request = 0.0
        self.before: Callable[[], Awaitable[None]] | None = None

    async def _answers(
        self,
        dates: Iterable[datetime.date],
        groups: tuple[int, ...] | None,
        fatal: Callable[[datetime.date, ClicksGroupError], bool],
    ) -> AsyncIterator[tuple[datetime.date, Answer]]:
        for date in dates:
            self.asked.append(date)
            if self.before is not None:
                await self.before()
            answer = self.answer(date, groups)
            pages = max(1, -(-len(answer.records) // 30)) if isinstance(answer, Day) else 1
            self.stats = attrs.evolve(self.stats, requests=self.stats.requests + pages)
            if isinstance(answer, ClicksGroupError) and fatal(date, answer):
                raise answer
            yield date, answer

    def day_outcomes(
        self,
        dates: Iterable[datetime.date],
        *,
        groups: tuple[int, ...] | None = None,
        fatal: Callable[[datetime.date, ClicksGroupError], bool],
    ) -> Any:
        return FakeOutcomes(self._answers(dates, groups, fatal))

    def estimate(
        self, dates: Iterable[datetime.date], *, groups: object = None, group_count: int | None = None
    ) -> Estimate:
        requests = sum(1 for _ in dates) * max(1, -(-(group_count or 1) // 30))
        return Estimate(requests, requests * self.seconds_a_request)
