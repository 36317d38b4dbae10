"""Names of groups, in English and Korean. A few of them are hard to print or to store."""

from __future__ import annotations

import datetime

_EXAMPLES = ("Electronics", "Kitchenware", "Brian Smith Advertiser Only")

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


def is_hard(position: int) -> bool:
    """Whether the group at a position has one of the hard names. Such a group is permanent."""
    return position % 9 == 5


def permanent_name(position: int) -> str:
    """The name of the permanent group at a position."""
    if position < len(_EXAMPLES):
        return _EXAMPLES[position]
    if is_hard(position):
        repeat, which = divmod(position // 9, len(_HARD))
        return _HARD[which] + (f" {repeat + 1}" if repeat else "")
    return _name(position)


def campaign_name(position: int, start: int) -> str:
    """The name of the campaign at a position that began on the day with the ordinal `start`."""
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
