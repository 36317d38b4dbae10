"""Group ids as people give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex

from clicksgroup.errors import ConfigurationError

MAX_COUNT = 2**63 - 1
"""The largest number taken for an id or a count: what a signed 64-bit column holds."""


def read_groups(groups: Iterable[int] | None) -> tuple[int, ...] | None:
    """The ids without repeats, in their order; None for all groups.

    Raises:
        ConfigurationError: none at all (a filter gone wrong must not mean everything), or an id that is not positive.
        TypeError: anything but an iterable of whole numbers.
    """
    if groups is None:
        return None
    if isinstance(groups, (str, bytes)) or not isinstance(groups, Iterable):
        raise TypeError(f"groups: expected an iterable of ints, got {type(groups).__name__}")
    ids = tuple(dict.fromkeys(map(_group_id, groups)))
    if not ids:
        raise ConfigurationError("groups: it is empty, which could mean none or all; pass None for all groups")
    return ids


def _group_id(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"groups: expected ints, got {type(value).__name__}")
    number = value.__index__()
    if not 0 < number <= MAX_COUNT:
        raise ConfigurationError(f"groups: {number}: group ids are whole numbers from 1 to {MAX_COUNT}")
    return number
