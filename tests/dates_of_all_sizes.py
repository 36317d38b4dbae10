"""A sandbox whose dates list all numbers of groups around the sizes of pages."""

from __future__ import annotations

import datetime
import math
from collections import Counter

from clicksgroup import (
    Quota,
    date_range,
)
from clicksgroup.sandbox import Sandbox

SIZES = (0, 1, 29, 30, 31, 59, 60, 61, 95, 300)
DATES = date_range("2025-01-01", "2025-03-31")
FAST = Quota(in_flight=2)


def size(date: datetime.date) -> int:
    return SIZES[date.toordinal() % len(SIZES)]


def pages(groups: int) -> int:
    return max(1, math.ceil(groups / 30))


def costs(sandbox: Sandbox) -> Counter[datetime.date | None]:
    return Counter(request.date for request in sandbox.requests)
