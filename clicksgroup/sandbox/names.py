"""Names of campaigns, English and Korean, and a few that are hard on whoever prints or stores them."""

from __future__ import annotations

import datetime

_EXAMPLES = ("Electronics", "Kitchenware", "Brian Smith Advertiser Only")

# One in every nine names; the first three are on the first page.
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
_ENGLISH_PLACES = (
    "Instagram", "Newsletter", "QR flyer", "Search ads", "YouTube", "Partner blog", "Text message", "Loyalty club",
)  # fmt: skip
_KOREAN_THINGS = (
    "운동화", "커피 원두", "화장품", "캠핑용품", "가구", "장난감", "이어폰", "도서", "반려동물", "한우 세트", "김치",
)  # fmt: skip
_KOREAN_PLACES = (
    "인스타그램", "카카오톡 채널", "네이버 블로그", "문자 발송", "유튜브", "당근 광고", "매장 QR", "회원 쿠폰",
)  # fmt: skip


def is_hard(place: int) -> bool:
    """Whether the group of a place has one of the hard names; such a group stays."""
    return place % 9 == 5


def evergreen_name(place: int) -> str:
    """The name of the group that a place holds always."""
    if place < len(_EXAMPLES):
        return _EXAMPLES[place]
    if is_hard(place):
        turn, which = divmod(place // 9, len(_HARD))
        return _HARD[which] + (f" {turn + 1}" if turn else "")
    return _name(place)


def campaign_name(place: int, start: int) -> str:
    """The name of the campaign that began in a place on the day of that ordinal."""
    began = datetime.date.fromordinal(max(start, 1))
    month = f"{began.year}년 {began.month}월" if place % 2 else f"{began.year}-{began.month:02}"
    return f"{_name(place)} {month}"


def _name(place: int) -> str:
    """No two places share one. Every other one is Korean."""
    number = place // 2
    things, places = (_KOREAN_THINGS, _KOREAN_PLACES) if place % 2 else (_ENGLISH_THINGS, _ENGLISH_PLACES)
    # The lengths have no common divisor, so that stepping through both meets every pair before one comes again.
    turn = number // (len(things) * len(places))
    name = f"{things[number % len(things)]} {places[number % len(places)]}"
    return name + (f" {turn + 1}" if turn else "")
