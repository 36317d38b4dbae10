"""Which dates are final: a date ends at other times elsewhere on Earth, and its counts may change until then."""

from __future__ import annotations

import datetime

import attrs

LAST_MIDNIGHT = datetime.timedelta(hours=12)
"""A date ends last at UTC-12, 12 hours after it does in UTC."""

ONE_DAY = datetime.timedelta(days=1)


@attrs.frozen
class Coverage:
    """Which dates the store has, for the groups that were asked about. Provisional.

    Args:
        final: fetched after they had ended everywhere on Earth (plus `settle`), and without problems.
        provisional: fetched earlier than that, or with problems; a backfill asks for them again.
        missing: not fetched, or not for all the groups asked about.
    """

    final: list[datetime.date]
    provisional: list[datetime.date]
    missing: list[datetime.date]


@attrs.frozen
class FetchedDate:
    """How a date was fetched, whole or for the groups that were asked about.

    Args:
        date: the date.
        fetched_at: when; of groups that were fetched at different times, the earliest.
        problems: those of all its groups.
        total_count: how many records the whole date has; None where only its groups were fetched.
    """

    date: datetime.date
    fetched_at: datetime.datetime
    problems: tuple[str, ...]
    total_count: int | None = None

    def is_final(self, settle: datetime.timedelta) -> bool:
        """Whether the counts could no longer change when they were fetched."""
        return not self.problems and self.fetched_at - _utc_midnight(self.date) - LAST_MIDNIGHT >= settle + ONE_DAY


def _utc_midnight(date: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(date, datetime.time(), datetime.UTC)
