"""What the store knows of a date, and whether that is final."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.store.schema import Tables

FIRST_MIDNIGHT = datetime.timedelta(hours=14)
"""A date begins first at UTC+14 (Kiritimati), 14 hours before it does in UTC."""

LAST_MIDNIGHT = datetime.timedelta(hours=12)
"""A date ends last at UTC-12, 12 hours after it does in UTC."""


@attrs.frozen
class Coverage:
    """Which dates the store knows, for the groups that were asked about. Provisional.

    Args:
        final: fetched after they had ended everywhere on Earth (plus `settle`), and without problems.
        provisional: fetched, but earlier than that or with problems; a backfill asks for them again.
        missing: not known, or not for all the groups asked about.
    """

    final: list[datetime.date]
    provisional: list[datetime.date]
    missing: list[datetime.date]


@attrs.frozen
class Knowledge:
    """What is known of one date: `fetched_at` is that of its oldest part, `problems` those of all its parts."""

    fetched_at: datetime.datetime
    problems: tuple[str, ...]

    def is_final(self, date: datetime.date, settle: datetime.timedelta) -> bool:
        """Whether the counts of `date` were settled when they were fetched."""
        return not self.problems and self.fetched_at - _midnight(date) - LAST_MIDNIGHT >= settle + _ONE_DAY


def has_begun(date: datetime.date, now: datetime.datetime) -> bool:
    """Whether `date` has begun anywhere on Earth."""
    return _midnight(date) - now <= FIRST_MIDNIGHT


def equals_any(column: sa.ColumnElement[int], numbers: Sequence[int]) -> sa.ColumnElement[bool]:
    """`column IN (...)` with the numbers in the text of the statement: engines take few thousand parameters."""
    return column.in_(sa.bindparam(None, numbers, expanding=True, literal_execute=True))


async def read_knowledge(
    connection: AsyncConnection,
    tables: Tables,
    account: str,
    start: datetime.date,
    end: datetime.date,
    groups: tuple[int, ...] | None,
) -> dict[datetime.date, Knowledge]:
    """The dates from `start` to `end` that are known whole or, where `groups` is given, for all of these."""
    whole, parts = tables.click_dates, tables.click_date_groups
    wholes = {
        date: Knowledge(fetched_at, problems)
        for date, fetched_at, problems in await connection.execute(
            sa.select(whole.c.date, whole.c.fetched_at, whole.c.problems).where(
                whole.c.account == account, whole.c.date.between(start, end)
            )
        )
    }
    asked = sa.and_(parts.c.account == account, parts.c.date.between(start, end))
    if groups is not None:
        asked &= equals_any(parts.c.group_id, groups)
    problems: dict[datetime.date, tuple[str, ...]] = {}
    for date, more in await connection.execute(
        sa.select(parts.c.date, parts.c.problems).where(asked, parts.c.problems.is_not(None)).distinct()
    ):
        problems[date] = (*problems.get(date, ()), *more)
    known = {
        date: Knowledge(knowledge.fetched_at, (*knowledge.problems, *problems.get(date, ())))
        for date, knowledge in wholes.items()
    }
    if groups is not None:
        # A part is always newer than the whole (`put` sees to that), so it counts alone where the parts are enough.
        for date, fetched_at in await connection.execute(
            sa.select(parts.c.date, sa.func.min(parts.c.fetched_at))
            .where(asked)
            .group_by(parts.c.date)
            .having(sa.func.count() == len(groups))
        ):
            known[date] = Knowledge(fetched_at, problems.get(date, ()))
    return known


_ONE_DAY = datetime.timedelta(days=1)


def _midnight(date: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(date, datetime.time(), datetime.UTC)
