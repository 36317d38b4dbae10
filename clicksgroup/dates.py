"""Dates as people write them, and ranges of them."""

from __future__ import annotations

import calendar
import datetime
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from clicksgroup.errors import ConfigurationError

DateLike: TypeAlias = datetime.date | str
"""A `datetime.date`, a string `YYYY-MM-DD`, or a `datetime.datetime` at midnight."""

DatesLike: TypeAlias = DateLike | Iterable[DateLike]
"""One date, or any iterable of dates, read lazily; it may be endless."""

FIRST_MIDNIGHT = datetime.timedelta(hours=14)
"""A date begins first at UTC+14 (Kiritimati), 14 hours before it does in UTC."""

_YMD = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)


def parse_date(value: DateLike, name: str = "date") -> datetime.date:
    """The date that `value` means; `name` is what the error calls it.

    Raises:
        ConfigurationError: a string in another form, a day that does not exist, a `datetime` not at midnight.
        TypeError: a value of any other type.
    """
    if type(value) is datetime.date:
        return value
    if isinstance(value, str):
        return _parse_text(value, name)
    if isinstance(value, datetime.datetime):
        # pandas.NaT is a datetime that equals nothing.
        if value != value:
            raise ConfigurationError(f"{name}: {value!r} is not a date")
        if value.time() != datetime.time():
            raise ConfigurationError(f"{name}: {value!r} is not at midnight; pass its date, such as moment.date()")
        return value.date()
    if isinstance(value, datetime.date):
        return datetime.date(value.year, value.month, value.day)
    raise TypeError(f"{name}: expected a datetime.date or a string YYYY-MM-DD, got {type(value).__name__}")


def parse_dates(dates: DatesLike) -> Iterable[datetime.date]:
    """The dates that a call was given. A collection is checked at once, any other iterable as it is read."""
    if isinstance(dates, (str, datetime.date)):
        return (parse_date(dates, "dates"),)
    if isinstance(dates, DateRange):
        return dates
    if not isinstance(dates, Iterable):
        raise TypeError(f"dates: expected a date or an iterable of dates, got {type(dates).__name__}")
    if isinstance(dates, Collection):
        return tuple(parse_date(date, f"dates[{i}]") for i, date in enumerate(dates))
    return (parse_date(date, f"dates[{i}]") for i, date in enumerate(dates))


def date_range(start: DateLike, end: DateLike) -> DateRange:
    """All dates from `start` to `end`, both included, as a lazy sequence.

    >>> import clicksgroup
    >>> dates = clicksgroup.date_range("2025-02-27", "2025-03-01")
    >>> len(dates), str(dates[0]), str(dates[-1])
    (3, '2025-02-27', '2025-03-01')

    Raises:
        ConfigurationError: one of them is not a date, or `end` is before `start`.
    """
    first, last = parse_date(start, "start"), parse_date(end, "end")
    if last < first:
        raise ConfigurationError(f"end: {last} is before start, {first}")
    return DateRange(range(first.toordinal(), last.toordinal() + 1))


def consecutive_dates(dates: Iterable[datetime.date]) -> Iterator[list[datetime.date]]:
    """The dates, which ascend, in runs without a gap."""
    # In a run, dates and their indices go up alike.
    for _, run in itertools.groupby(enumerate(dates), lambda item: item[1].toordinal() - item[0]):
        yield [date for _, date in run]


def latest_date(now: datetime.datetime) -> datetime.date:
    """Return the latest date that has begun anywhere on Earth at `now` (aware, UTC)."""
    return (now + FIRST_MIDNIGHT).date()


def has_begun(date: datetime.date, now: datetime.datetime) -> bool:
    """Whether `date` has begun anywhere on Earth at `now` (aware, UTC)."""
    return date <= latest_date(now)


def require_begun(date: datetime.date, now: datetime.datetime, name: str) -> None:
    """Raise `ConfigurationError` for the argument `name` if `date` has not begun anywhere on Earth at `now`."""
    if not has_begun(date, now):
        raise ConfigurationError(
            f"{name}: {date} has not begun anywhere on Earth; the latest date to ask for is {latest_date(now)}"
        )


def _parse_text(text: str, name: str) -> datetime.date:
    found = _YMD.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{name}: {text!r} is not a date; write it as YYYY-MM-DD, such as 2025-01-31")
    year, month, day = map(int, found.groups())
    try:
        return datetime.date(year, month, day)
    except ValueError as error:
        reason = str(error)
    if 1 <= month <= 12 and year >= 1:
        reason = f"{calendar.month_name[month]} {year} has {calendar.monthrange(year, month)[1]} days"
    raise ConfigurationError(f"{name}: {text} is not a date: {reason}")


class DateRange(Sequence[datetime.date]):
    """A lazy, immutable, hashable sequence of dates; made by `date_range`. Slices are such sequences again."""

    __slots__ = ("_ordinals",)

    def __init__(self, ordinals: range) -> None:
        self._ordinals = ordinals

    def __len__(self) -> int:
        return len(self._ordinals)

    @overload
    def __getitem__(self, index: int) -> datetime.date: ...
    @overload
    def __getitem__(self, index: slice) -> DateRange: ...
    def __getitem__(self, index: int | slice) -> datetime.date | DateRange:
        if isinstance(index, slice):
            return DateRange(self._ordinals[index])
        return datetime.date.fromordinal(self._ordinals[index])

    def __iter__(self) -> Iterator[datetime.date]:
        return map(datetime.date.fromordinal, self._ordinals)

    def __reversed__(self) -> Iterator[datetime.date]:
        return map(datetime.date.fromordinal, reversed(self._ordinals))

    def __contains__(self, value: object) -> bool:
        return type(value) is datetime.date and value.toordinal() in self._ordinals

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        if value not in self:
            raise ValueError(f"{value!r} is not in the range")
        found = self._ordinals.index(value.toordinal())
        if found in range(*slice(start, stop).indices(len(self))):
            return found
        raise ValueError(f"{value!r} is not in that part of the range")

    def __eq__(self, other: object) -> bool:
        return self._ordinals == other._ordinals if isinstance(other, DateRange) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ordinals)

    def __repr__(self) -> str:
        if not self:
            return "<date_range: empty>"
        step = f", every {self._ordinals.step} days" if self._ordinals.step != 1 else ""
        return f"<date_range {self[0]} to {self[-1]}: {len(self)} dates{step}>"
