"""Dates as people write them, and ranges of them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from clicksgroup.errors import ConfigurationError

DateLike: TypeAlias = datetime.date | str
"""A `datetime.date`, a string `YYYY-MM-DD`, or a `datetime.datetime` at midnight."""

DatesLike: TypeAlias = DateLike | Iterable[DateLike]
"""One date, or any iterable of dates, read lazily; it may be endless."""

_YMD = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_date(value: DateLike, name: str = "date") -> datetime.date:
    """The date that `value` means; `name` is what the error calls it.

    Raises:
        ConfigurationError: a string in another form, a day that does not exist, a `datetime` not at midnight.
        TypeError: anything that is no date.
    """
    if type(value) is datetime.date:
        return value
    if isinstance(value, str):
        if _YMD.fullmatch(value):
            try:
                return datetime.date.fromisoformat(value)
            except ValueError:
                pass
        raise ConfigurationError(f"{name}: {value!r} is no date; write it as YYYY-MM-DD, such as 2025-01-31")
    if isinstance(value, datetime.datetime):
        if value != value:  # pandas.NaT is a datetime that equals nothing
            raise ConfigurationError(f"{name}: {value!r} is no date")
        if value.time() != datetime.time():
            raise ConfigurationError(f"{name}: {value!r} is a moment, not a date; only a datetime at midnight is taken")
        return value.date()
    if isinstance(value, datetime.date):
        return datetime.date(value.year, value.month, value.day)
    raise TypeError(f"{name}: expected a datetime.date or a string YYYY-MM-DD, got {type(value).__name__}")


def read_dates(dates: DatesLike) -> Iterable[datetime.date]:
    """The dates that a call was given: checked at once where they are all at hand, lazily where they are produced."""
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
        ConfigurationError: no date, or an `end` before `start`.
    """
    first, last = parse_date(start, "start"), parse_date(end, "end")
    if last < first:
        raise ConfigurationError(f"end: {last} is before start, {first}")
    return DateRange(range(first.toordinal(), last.toordinal() + 1))


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

    def count(self, value: Any) -> int:
        return int(value in self)

    def __eq__(self, other: object) -> bool:
        return self._ordinals == other._ordinals if isinstance(other, DateRange) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ordinals)

    def __repr__(self) -> str:
        if not self:
            return "<date_range: empty>"
        step = f", every {self._ordinals.step} days" if self._ordinals.step != 1 else ""
        return f"<date_range {self[0]} to {self[-1]}: {len(self)} dates{step}>"
