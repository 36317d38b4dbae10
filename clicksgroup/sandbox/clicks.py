"""Clicks that look like an account's: seeded, and the same for ever.

Every number is drawn from (seed, place, date) by a stable hash, so a date's clicks do not depend on which dates
were asked for before. An account has *places*; on any date each place holds one group. Most places hold the same
group always, the others are campaigns that come and go: a new one, with a new id, follows when the old one ends.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import math
from collections.abc import Callable

import attrs

from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks, GroupTotals
from clicksgroup.sandbox.names import campaign_name, evergreen_name, is_hard

MOST_GROUPS = 10_000
"""More groups than this a date are refused: the ids of places and campaigns are kept apart up to there."""

_EPOCH = datetime.date(2020, 1, 1).toordinal()

# Clicks of the average day that fall on Monday to Sunday.
_SHOPPING = (0.95, 0.88, 0.90, 0.98, 1.10, 1.32, 1.25)
_OFFICE = (1.12, 1.22, 1.18, 1.10, 0.96, 0.34, 0.28)
_LEISURE = (0.68, 0.70, 0.78, 0.92, 1.24, 1.66, 1.42)

# The first three places hold the groups of the vendor's example: id, average clicks.
_EXAMPLES = ((151, 420.0), (207, 17_500.0), (209, 5_600.0))
_GROWING, _COLLAPSING = 0, 2

# The place that collapses keeps a tenth for four weeks of every thirteen, so that a quarter always shows it: in 2025
# for the first time on 5 March.
_COLLAPSE_CYCLE, _COLLAPSE_AFTER, _COLLAPSED = 91, 63, 0.1
_COLLAPSE_ANCHOR = datetime.date(2025, 1, 1).toordinal()


class Clicks:
    """The truth of one sandbox: what each date's groups were clicked.

    Args:
        seed: same seed, same clicks.
        groups: how many groups a date lists: a number, or a callable of the date.
    """

    def __init__(self, seed: int = 0, groups: int | Callable[[datetime.date], int] = 95) -> None:
        self._seed = seed
        self._groups = groups
        if not callable(groups):
            _checked_count(groups)
        self._group = functools.lru_cache(maxsize=4096)(self._draw_group)
        self._place = functools.lru_cache(maxsize=MOST_GROUPS)(self._draw_place)
        self._listing = functools.lru_cache(maxsize=64)(self._draw_listing)

    def count(self, date: datetime.date) -> int:
        """How many groups a date lists."""
        return _checked_count(self._groups(date)) if callable(self._groups) else self._groups

    def records(self, date: datetime.date) -> tuple[GroupClicks, ...]:
        """All records of a date, in the server's order: of places, neither of ids nor of clicks."""
        return self.listing(date, self.count(date))

    def listing(self, date: datetime.date, count: int) -> tuple[GroupClicks, ...]:
        """The records of the first so many places on a date."""
        return self._listing(date, count)

    def totals(self, start: datetime.date, end: datetime.date) -> list[GroupTotals]:
        """All records of a range: clicks added up, people counted once.

        So `unique_users` is at least that of the group's best day, and less than the sum where people came back.
        """
        by_group: dict[int, list[GroupClicks]] = {}
        for ordinal in range(start.toordinal(), end.toordinal() + 1):
            for record in self.records(datetime.date.fromordinal(ordinal)):
                by_group.setdefault(record.group_id, []).append(record)
        return [_total(start, end, records) for records in by_group.values()]

    def _draw_listing(self, date: datetime.date, count: int) -> tuple[GroupClicks, ...]:
        ordinal = date.toordinal()
        weekday = date.weekday()
        return tuple(self._draw_record(date, ordinal, weekday, place) for place in range(count))

    def _draw_record(self, date: datetime.date, ordinal: int, weekday: int, place: int) -> GroupClicks:
        group = self._group(place, self._place(place).generation(ordinal))
        noise, people = _draws(self._seed, place, ordinal, count=2)
        level = (
            group.level
            * group.week[weekday]
            * math.exp(group.swing * math.sin((ordinal - group.phase) / group.period))
            * group.life(ordinal)
            * self._burst(place, ordinal, group)
            * math.exp(0.36 * (noise - 0.5))
        )
        if place == _COLLAPSING and (ordinal - _COLLAPSE_ANCHOR) % _COLLAPSE_CYCLE >= _COLLAPSE_AFTER:
            level *= _COLLAPSED
        clicks = round(level)
        unique_users = min(clicks, math.ceil(clicks * (group.one_click + 0.05 * (people - 0.5))))
        return GroupClicks(date, group.group_id, group.name, clicks, unique_users)

    def _burst(self, place: int, ordinal: int, group: _Group) -> float:
        """Now and then a link is shared, and three days of many clicks follow, each with fewer."""
        cycle, day = divmod(ordinal, group.burst_every)
        when, strength = _draws(self._seed, place, cycle, count=2, salt="burst")
        since = day - int(when * (group.burst_every - 2))
        return 1 + (0.5 + 2.0 * strength**2) * 0.45**since if 0 <= since < 3 else 1.0

    def _draw_place(self, place: int) -> _Place:
        kind, length, phase = _draws(self._seed, place, 0, count=3, salt="place")
        if place < len(_EXAMPLES) or is_hard(place) or kind < 0.6:
            return _Place(None, 0)
        days = 40 + int(110 * length)
        return _Place(days, int(days * phase))

    def _draw_group(self, place: int, generation: int | None) -> _Group:
        size, week, swing, phase, period, one_click, burst = _draws(
            self._seed, place, generation or 0, count=7, salt="group"
        )
        traits = {
            "level": 4.0 * 2700.0 ** (size**1.7),
            "week": (_SHOPPING, _SHOPPING, _OFFICE, _LEISURE)[int(week * 4)],
            "swing": 0.1 + 0.6 * swing,
            "period": (420 + 700 * period) / math.tau,
            "phase": 1000 * phase,
            "one_click": 0.72 + 0.22 * one_click,
            "burst_every": 30 + int(70 * burst),
        }
        if generation is None:
            evergreen = _Group(_evergreen_id(self._seed, place), evergreen_name(place), **traits)
            return _as_in_the_example(evergreen, place)
        start = self._place(place).start(generation)
        days = self._place(place).days
        return _Group(
            # Campaigns before and after the epoch alternate, so that ids are positive and those of today short.
            100_000 * (1 + 2 * generation if generation >= 0 else -2 * generation) + _evergreen_id(self._seed, place),
            campaign_name(place, start),
            start=start,
            days=days,
            **traits,
        )


@attrs.frozen
class _Place:
    """How long the groups of a place stay (None: for ever), and on which day of that cycle the epoch falls."""

    days: int | None
    phase: int

    def generation(self, ordinal: int) -> int | None:
        return None if self.days is None else (ordinal - _EPOCH + self.phase) // self.days

    def start(self, generation: int) -> int:
        assert self.days is not None
        return generation * self.days - self.phase + _EPOCH


@attrs.frozen
class _Group:
    """What does not change about a group."""

    group_id: int
    name: str
    level: float
    week: tuple[float, ...]
    swing: float
    period: float
    phase: float
    one_click: float
    burst_every: int
    start: int = 0
    days: int | None = None

    def life(self, ordinal: int) -> float:
        """A campaign starts within three days, is strongest then, and fades."""
        if self.days is None:
            return 1.0
        age = ordinal - self.start
        return min(1.0, (age + 1) / 3) * (0.08 + 1.9 * math.exp(-2.6 * age / self.days))


def _as_in_the_example(group: _Group, place: int) -> _Group:
    if place >= len(_EXAMPLES):
        return group
    level = _EXAMPLES[place][1]
    if place == _GROWING:
        # Three years from trough to trough, rising from autumn 2024 to spring 2026.
        rising = datetime.date(2025, 7, 1).toordinal()
        return attrs.evolve(group, level=level, week=_SHOPPING, swing=1.2, period=1096 / math.tau, phase=rising)
    return attrs.evolve(group, level=level, week=_LEISURE if place == _COLLAPSING else _SHOPPING, swing=0.12)


def _evergreen_id(seed: int, place: int) -> int:
    if place < len(_EXAMPLES):
        return _EXAMPLES[place][0]
    return 211 + 7 * (place - len(_EXAMPLES)) + int(7 * _draws(seed, place, 0, count=1, salt="id")[0])


def _total(start: datetime.date, end: datetime.date, records: list[GroupClicks]) -> GroupTotals:
    last = records[-1]
    people = [record.unique_users for record in records]
    who_return = 0.1 + 0.02 * (last.group_id % 8)
    once = max(max(people), int(sum(people) * len(people) ** -who_return))
    return GroupTotals(start, end, last.group_id, last.group_name, sum(record.clicks for record in records), once)


def _draws(seed: int, place: int, when: int, *, count: int, salt: str = "") -> list[float]:
    """That many numbers in [0, 1), the same on every machine and Python."""
    digest = hashlib.blake2b(f"{seed}:{salt}:{place}:{when}".encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in range(0, 4 * count, 4)]


def _checked_count(count: int) -> int:
    if type(count) is not int or not 0 <= count <= MOST_GROUPS:
        raise ConfigurationError(f"groups: {count!r} groups a date: expected a whole number from 0 to {MOST_GROUPS:,}")
    return count
