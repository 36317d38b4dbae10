"""Checks of arguments: a wrong value is a `ConfigurationError`, a wrong type a `TypeError`; both name the argument."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, SupportsIndex, TypeVar

from clicksgroup.errors import ConfigurationError

T = TypeVar("T")

MAX_COUNT = 2**63 - 1
"""The largest number taken for an id or a count: a signed 64-bit column holds no more."""


def positive(name: str, value: float, *, zero: bool = False, finite: bool = False) -> float:
    """Seconds above 0, or from 0 on with `zero`; infinity is refused with `finite`."""
    if type(value) not in (int, float):
        raise TypeError(f"{name}: expected seconds as a number, got {type(value).__name__}")
    if not (value >= 0 if zero else value > 0) or (finite and math.isinf(value)):
        wanted = "a number of seconds from 0" if zero else "a positive number of seconds"
        raise ConfigurationError(f"{name}: {value!r}: expected {wanted}, such as 30")
    return value


def whole_number(name: str, value: int, *, least: int = 1) -> int:
    """An int that is at least `least`."""
    if type(value) is not int:
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ConfigurationError(f"{name}: {value}: expected a whole number of at least {least}")
    return value


def choice(name: str, value: Any, *choices: str) -> Any:
    """One of a few words."""
    if value not in choices:
        raise ConfigurationError(f"{name}: {value!r} is not one of {', '.join(map(repr, choices))}")
    return value


def instance(name: str, value: T, *types: type[Any], example: str = "") -> T:
    """A value of one of these types; `example` is a right one, for the error."""
    if not isinstance(value, types):
        wanted = " or ".join("None" if type_ is type(None) else type_.__name__ for type_ in types)
        advice = f"; write {example}" if example else ""
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}{advice}")
    return value


def parse_groups(groups: Iterable[int] | None) -> tuple[int, ...] | None:
    """The ids without repeats, in their order; None for all groups.

    Raises:
        ConfigurationError: there are none (a filter gone wrong must not mean everything), or an id is not positive.
        TypeError: anything but an iterable of whole numbers.
    """
    if groups is None:
        return None
    if isinstance(groups, (str, bytes)) or not isinstance(groups, Iterable):
        raise TypeError(f"groups: expected an iterable of ints such as [151, 207], got {type(groups).__name__}")
    ids = tuple(dict.fromkeys(map(_group_id, groups)))
    if not ids:
        raise ConfigurationError("groups: the list is empty, which could mean none or all; pass None for all groups")
    return ids


def _group_id(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"groups: expected ints such as 151, got {type(value).__name__}")
    number = value.__index__()
    if not 0 < number <= MAX_COUNT:
        raise ConfigurationError(f"groups: {number}: group ids are whole numbers from 1 to {MAX_COUNT}")
    return number
