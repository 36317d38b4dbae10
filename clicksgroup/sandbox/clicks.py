"""Generated clicks that look like those of a real account, and are the same in every version.

Each number is drawn from (seed, position, date) by a stable hash, so a date does not depend on the dates before it.
An account has *positions*, and on any date each position holds one group. Most positions hold one permanent group. The
others hold campaigns: when one ends, another one with a new id follows.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any

import attrs

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Group, GroupClicks, GroupTotals

MAX_GROUPS = 10_000
"""Most groups on a date: with more, the ids of campaigns and of permanent groups could be equal."""

# The account has the groups of each position on the dates of these years.
_ACCOUNT_DATES = date_range("2025-01-01", "2027-12-31")

_EPOCH = datetime.date(2020, 1, 1).toordinal()

# Clicks on Monday to Sunday, as multiples of those on an average day.
_SHOPPING = (0.95, 0.88, 0.90, 0.98, 1.10, 1.32, 1.25)
_OFFICE = (1.12, 1.22, 1.18, 1.10, 0.96, 0.34, 0.28)
_LEISURE = (0.68, 0.70, 0.78, 0.92, 1.24, 1.66, 1.42)

# The first three positions hold the groups of the vendor's example. They differ from what is drawn in these traits.
_EXAMPLES: tuple[dict[str, Any], ...] = (
    # It grows: its cycle of three years rises from autumn 2024 to spring 2026.
    {
        "group_id": 151,
        "name": "Electronics",
        "level": 420.0,
        "week": _SHOPPING,
        "swing": 1.2,
        "period": 1096 / math.tau,
        "phase": datetime.date(2025, 7, 1).toordinal(),
    },
    {"group_id": 207, "name": "Kitchenware", "level": 17_500.0, "week": _SHOPPING, "swing": 0.12},
    {"group_id": 209, "name": "Brian Smith Advertiser Only", "level": 5_600.0, "week": _LEISURE, "swing": 0.12},
)
_COLLAPSING = 2

_MEMOS = ("", "", "", "Ask sales before you change a link.", "매장 담당자: 김민수")

# The collapsing group keeps a tenth of its clicks for four weeks of every thirteen, so that every quarter shows it. In
# 2025 the first collapse is on 5 March.
_COLLAPSE_CYCLE, _COLLAPSE_AFTER, _COLLAPSED = 91, 63, 0.1
_COLLAPSE_ANCHOR = datetime.date(2025, 1, 1).toordinal()


class GeneratedClicks:
    """The clicks of each group on each date.

    Args:
        seed: the same seed gives the same clicks.
        groups: how many groups a date lists: a number, or a function of the date.
    """

    def __init__(self, seed: int = 0, groups: int | Callable[[datetime.date], int] = 95) -> None:
        self._seed = seed
        if not callable(groups):
            _check_count(groups)
        self._count: Callable[[datetime.date], int] = groups if callable(groups) else lambda _: groups
        self._group = functools.lru_cache(maxsize=4096)(self._draw_group)
        self._campaigns = functools.lru_cache(maxsize=MAX_GROUPS)(self._draw_campaigns)
        self._records = functools.lru_cache(maxsize=64)(self._draw_records)

    def records(self, date: datetime.date) -> tuple[GroupClicks, ...]:
        """All records of a date, in the order of positions: sorted neither by id nor by clicks."""
        count = self._count(date)
        _check_count(count)
        return self._records(date, count)

    def totals(self, start: datetime.date, end: datetime.date) -> list[GroupTotals]:
        """All records of a range: clicks are added up, users are counted once.

        So `unique_users` is at least that of the group's best day, and less than the sum if users came back.
        """
        by_group: dict[int, list[GroupClicks]] = {}
        for date in date_range(start, end):
            for record in self.records(date):
                by_group.setdefault(record.group_id, []).append(record)
        return [_total(start, end, records) for records in by_group.values()]

    @functools.cached_property
    def account(self) -> list[Group]:
        """The account's groups: those that the dates of 2025 to 2027 list. Other dates list further campaigns.

        Where the number of groups is a function of the date, these are the groups of its largest number.
        """
        count = max(map(self._count, _ACCOUNT_DATES))
        return [group for position in range(count) for group in self._account_groups(position)]

    def _account_groups(self, position: int) -> list[Group]:
        first, last = (self._number(position, _ACCOUNT_DATES[end].toordinal()) for end in (0, -1))
        groups = (self._draw_group(position, number) for number in range(first, last + 1))
        memo, links = _draws(self._seed, position, 0, count=2, salt="account")
        note = _MEMOS[int(memo * len(_MEMOS))]
        return [Group(group.group_id, group.name, note, 1 + int(40 * links**3)) for group in groups]

    def _draw_records(self, date: datetime.date, count: int) -> tuple[GroupClicks, ...]:
        return tuple(self._draw_record(date, position) for position in range(count))

    def _draw_record(self, date: datetime.date, position: int) -> GroupClicks:
        ordinal = date.toordinal()
        group = self._group(position, self._number(position, ordinal))
        noise, people = _draws(self._seed, position, ordinal, count=2)
        level = (
            group.level
            * group.week[date.weekday()]
            * math.exp(group.swing * math.sin((ordinal - group.phase) / group.period))
            * group.life(ordinal)
            * self._burst(position, ordinal, group)
            * math.exp(0.36 * (noise - 0.5))
        )
        if position == _COLLAPSING and (ordinal - _COLLAPSE_ANCHOR) % _COLLAPSE_CYCLE >= _COLLAPSE_AFTER:
            level *= _COLLAPSED
        clicks = round(level)
        unique_users = min(clicks, math.ceil(clicks * (group.users_per_click + 0.05 * (people - 0.5))))
        return GroupClicks(date, group.group_id, group.name, clicks, unique_users)

    def _burst(self, position: int, ordinal: int, group: _SandboxGroup) -> float:
        """Now and then a link is shared: three days with many clicks follow, fewer each day."""
        cycle, day = divmod(ordinal, group.burst_every)
        when, strength = _draws(self._seed, position, cycle, count=2, salt="burst")
        since = day - int(when * (group.burst_every - 2))
        return 1 + (0.5 + 2.0 * strength**2) * 0.45**since if 0 <= since < 3 else 1.0

    def _number(self, position: int, ordinal: int) -> int:
        """Which campaign of a position runs on a day. Number 0 runs on the epoch; a permanent group has no other."""
        days, first = self._campaigns(position)
        return (ordinal - first) // days if days else 0

    def _draw_campaigns(self, position: int) -> tuple[int, int]:
        """How many days each campaign takes, and the day on which number 0 begins. 0 where the group is permanent."""
        kind, length, phase = _draws(self._seed, position, 0, count=3, salt="place")
        if position < len(_EXAMPLES) or _is_hard(position) or kind < 0.6:
            return 0, 0
        days = 40 + int(110 * length)
        return days, _EPOCH - int(days * phase)

    def _draw_group(self, position: int, number: int) -> _SandboxGroup:
        size, week, swing, phase, period, users, burst = _draws(self._seed, position, number, count=7, salt="group")
        (id_offset,) = _draws(self._seed, position, 0, count=1, salt="id")
        group = _SandboxGroup(
            211 + 7 * (position - len(_EXAMPLES)) + int(7 * id_offset),
            _permanent_name(position),
            level=4.0 * 2700.0 ** (size**1.7),
            week=(_SHOPPING, _SHOPPING, _OFFICE, _LEISURE)[int(week * 4)],
            swing=0.1 + 0.6 * swing,
            period=(420 + 700 * period) / math.tau,
            phase=1000 * phase,
            users_per_click=0.72 + 0.22 * users,
            burst_every=30 + int(70 * burst),
        )
        if position < len(_EXAMPLES):
            return attrs.evolve(group, **_EXAMPLES[position])
        days, first = self._campaigns(position)
        if not days:
            return group
        start = first + number * days
        # Ids of campaigns before and after the epoch alternate: all are positive, and those of today are short.
        group_id = 100_000 * (1 + 2 * number if number >= 0 else -2 * number) + group.group_id
        return attrs.evolve(group, group_id=group_id, name=_campaign_name(position, start), start=start, days=days)


@attrs.frozen
class _SandboxGroup:
    """The traits of a group. `start` and `days` are those of a campaign."""

    group_id: int
    name: str
    level: float
    week: tuple[float, ...]
    swing: float
    period: float
    phase: float
    users_per_click: float
    burst_every: int
    start: int = 0
    days: int = 0

    def life(self, ordinal: int) -> float:
        """A campaign grows for three days, is strongest then, and fades."""
        if not self.days:
            return 1.0
        age = ordinal - self.start
        return min(1.0, (age + 1) / 3) * (0.08 + 1.9 * math.exp(-2.6 * age / self.days))


def _total(start: datetime.date, end: datetime.date, records: list[GroupClicks]) -> GroupTotals:
    last = records[-1]
    users = [record.unique_users for record in records]
    returning = 0.1 + 0.02 * (last.group_id % 8)
    once = max(max(users), int(sum(users) * len(users) ** -returning))
    return GroupTotals(start, end, last.group_id, last.group_name, sum(record.clicks for record in records), once)


def _draws(seed: int, position: int, when: int, *, count: int, salt: str = "") -> list[float]:
    """`count` numbers in [0, 1), the same on every machine and Python. Another salt would change all clicks."""
    digest = hashlib.blake2b(f"{seed}:{salt}:{position}:{when}".encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in range(0, 4 * count, 4)]


def _check_count(count: int) -> None:
    if type(count) is not int or not 0 <= count <= MAX_GROUPS:
        raise ConfigurationError(f"groups: {count!r} is not a whole number from 0 to {MAX_GROUPS:,}, such as 95")


def _is_hard(position: int) -> bool:
    """Whether the group at a position has one of the hard names. Such a group is permanent."""
    return position % 9 == 5


def _permanent_name(position: int) -> str:
    if _is_hard(position):
        repeat, which = divmod(position // 9, len(_HARD))
        return _HARD[which] + (f" {repeat + 1}" if repeat else "")
    return _name(position)


def _campaign_name(position: int, start: int) -> str:
    began = datetime.date.fromordinal(max(start, 1))
    month = f"{began.year}년 {began.month}월" if position % 2 else f"{began.year}-{began.month:02}"
    return f"{_name(position)} {month}"


def _name(position: int) -> str:
    """A name that no other position has. Every other one is Korean."""
    number = position // 2
    things, channels = (_KOREAN_THINGS, _KOREAN_CHANNELS) if position % 2 else (_ENGLISH_THINGS, _ENGLISH_CHANNELS)
    # The lengths are coprime, so stepping through both lists meets every pair before one repeats.
    repeat = number // (len(things) * len(channels))
    name = f"{things[number % len(things)]} {channels[number % len(channels)]}"
    return name + (f" {repeat + 1}" if repeat else "")


# One in nine names is hard.
_HARD = (
    '"Buy 2, get 1" coupon',
    "여름 휴가 특가 🏖️",
    "Newsletter\nfooter",
    "Outlet: shoes, bags, belts",
    "O'Neill & Söhne, 'Spring'",
    "🎉 Grand opening 🎉",
    "=SUM(clicks); 50% off",
    '겨울 세일, "마지막 기회"',
)

_ENGLISH_THINGS = (
    "Sneakers", "Coffee", "Skincare", "Camping", "Garden", "Toys", "Headphones", "Bicycles", "Books", "Furniture",
    "Pet food", "Running", "Watches",
)  # fmt: skip
_ENGLISH_CHANNELS = (
    "Instagram", "Newsletter", "QR flyer", "Search ads", "YouTube", "Partner blog", "Text message", "Loyalty club",
)  # fmt: skip
_KOREAN_THINGS = (
    "운동화", "커피 원두", "화장품", "캠핑용품", "가구", "장난감", "이어폰", "도서", "반려동물", "한우 세트", "김치",
)  # fmt: skip
_KOREAN_CHANNELS = (
    "인스타그램", "카카오톡 채널", "네이버 블로그", "문자 발송", "유튜브", "당근 광고", "매장 QR", "회원 쿠폰",
)  # fmt: skip
