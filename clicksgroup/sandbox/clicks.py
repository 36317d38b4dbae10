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
from collections.abc import Iterable
from typing import Any

import attrs

from clicksgroup.dates import DateRange, date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Group, GroupClicks, GroupTotals

MAX_GROUPS = 10_000
"""Most groups on a date: with more, the ids of campaigns and of permanent groups could be equal."""

# The account has the groups of each position on the dates of these years.
ACCOUNT_DATES = date_range("2025-01-01", "2027-12-31")

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


def generate_records(seed: int, date: datetime.date, count: int) -> tuple[GroupClicks, ...]:
    """All records of a date, in the order of positions: sorted neither by id nor by clicks."""
    check_count(count)
    return tuple(_record(seed, position, date) for position in range(count))


def check_count(count: int) -> None:
    """Raise `ConfigurationError` for an impossible number of groups."""
    if type(count) is not int or not 0 <= count <= MAX_GROUPS:
        raise ConfigurationError(f"groups: {count!r} is not a whole number from 0 to {MAX_GROUPS:,}, such as 95")


def generate_account(seed: int, count: int) -> list[Group]:
    """The account's groups: those that the dates of 2025 to 2027 list. Other dates list further campaigns."""
    account = []
    for position in range(count):
        first, last = (_campaign(seed, position, ACCOUNT_DATES[end].toordinal()) for end in (0, -1))
        memo, links = _draws(seed, position, 0, count=2, salt="account")
        for number in range(first, last + 1):
            group = _group(seed, position, number)
            account.append(Group(group.group_id, group.name, _MEMOS[int(memo * len(_MEMOS))], 1 + int(40 * links**3)))
    return account


def sum_by_group(dates: DateRange, records: Iterable[GroupClicks]) -> list[GroupTotals]:
    """The totals of the records of these dates: clicks are added up, users are counted once.

    So `unique_users` is at least that of the group's best day, and less than the sum if users came back.
    """
    by_group: dict[int, list[GroupClicks]] = {}
    for record in records:
        by_group.setdefault(record.group_id, []).append(record)
    totals = []
    for group_id, days in by_group.items():
        users = [record.unique_users for record in days]
        returning = 0.1 + 0.02 * (group_id % 8)
        once = max(max(users), int(sum(users) * len(users) ** -returning))
        clicks = sum(record.clicks for record in days)
        totals.append(GroupTotals(dates[0], dates[-1], group_id, days[0].group_name, clicks, once))
    return totals


def _record(seed: int, position: int, date: datetime.date) -> GroupClicks:
    day = date.toordinal()
    group = _group(seed, position, _campaign(seed, position, day))
    noise, people = _draws(seed, position, day, count=2)
    level = (
        group.level
        * group.week[date.weekday()]
        * math.exp(group.swing * math.sin((day - group.phase) / group.period))
        * _life(group, day)
        * _burst(seed, position, day, group.burst_every)
        * math.exp(0.36 * (noise - 0.5))
    )
    if position == _COLLAPSING and (day - _COLLAPSE_ANCHOR) % _COLLAPSE_CYCLE >= _COLLAPSE_AFTER:
        level *= _COLLAPSED
    clicks = round(level)
    unique_users = min(clicks, math.ceil(clicks * (group.users_per_click + 0.05 * (people - 0.5))))
    return GroupClicks(date, group.group_id, group.name, clicks, unique_users)


@attrs.frozen
class _Group:
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


def _life(group: _Group, day: int) -> float:
    """A campaign grows for three days, is strongest then, and fades."""
    if not group.days:
        return 1.0
    age = day - group.start
    return min(1.0, (age + 1) / 3) * (0.08 + 1.9 * math.exp(-2.6 * age / group.days))


def _burst(seed: int, position: int, day: int, every: int) -> float:
    """Now and then a link is shared: three days with many clicks follow, fewer each day."""
    cycle, day_of_cycle = divmod(day, every)
    when, strength = _draws(seed, position, cycle, count=2, salt="burst")
    since = day_of_cycle - int(when * (every - 2))
    return 1 + (0.5 + 2.0 * strength**2) * 0.45**since if 0 <= since < 3 else 1.0


@functools.lru_cache(maxsize=MAX_GROUPS)
def _campaigns(seed: int, position: int) -> tuple[int, int]:
    """How many days each campaign takes, and the day on which number 0 begins. 0 where the group is permanent."""
    kind, length, phase = _draws(seed, position, 0, count=3, salt="place")
    if position < len(_EXAMPLES) or _is_hard(position) or kind < 0.6:
        return 0, 0
    days = 40 + int(110 * length)
    return days, _EPOCH - int(days * phase)


def _campaign(seed: int, position: int, day: int) -> int:
    """Which campaign of a position runs on a day. Number 0 runs on the epoch; a permanent group has no other."""
    days, first = _campaigns(seed, position)
    return (day - first) // days if days else 0


@functools.lru_cache(maxsize=MAX_GROUPS)
def _group(seed: int, position: int, number: int) -> _Group:
    size, week, swing, phase, period, users, burst = _draws(seed, position, number, count=7, salt="group")
    (id_offset,) = _draws(seed, position, 0, count=1, salt="id")
    group = _Group(
        211 + 7 * (position - len(_EXAMPLES)) + int(7 * id_offset),
        _name(position),
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
    days, first = _campaigns(seed, position)
    if not days:
        return group
    # Ids of campaigns before and after the epoch alternate: all are positive, and those of today are short.
    group_id = 100_000 * (1 + 2 * number if number >= 0 else -2 * number) + group.group_id
    start = first + number * days
    began = datetime.date.fromordinal(max(start, 1))
    month = f"{began.year}년 {began.month}월" if position % 2 else f"{began.year}-{began.month:02}"
    return attrs.evolve(group, group_id=group_id, name=f"{group.name} {month}", start=start, days=days)


def _draws(seed: int, position: int, when: int, *, count: int, salt: str = "") -> list[float]:
    """`count` numbers in [0, 1), the same on every machine and Python. Another salt would change all clicks."""
    digest = hashlib.blake2b(f"{seed}:{salt}:{position}:{when}".encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in range(0, 4 * count, 4)]


def _is_hard(position: int) -> bool:
    """Whether the group at a position has one of the hard names. Such a group is permanent."""
    return position % 9 == 5


def _name(position: int) -> str:
    """A name that no other position has. One in nine is hard; of the others every other one is Korean."""
    if _is_hard(position):
        repeat, which = divmod(position // 9, len(_HARD))
        name = _HARD[which]
    else:
        things, channels = (_KOREAN_THINGS, _KOREAN_CHANNELS) if position % 2 else (_ENGLISH_THINGS, _ENGLISH_CHANNELS)
        # The lengths are coprime, so stepping through both lists meets every pair before one repeats.
        repeat, which = divmod(position // 2, len(things) * len(channels))
        name = f"{things[which % len(things)]} {channels[which % len(channels)]}"
    return f"{name} {repeat + 1}" if repeat else name


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
