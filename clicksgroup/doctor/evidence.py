"""The raw answers, taken apart as far as they let themselves be: nothing here takes a type for granted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import orjson

from clicksgroup.doctor.findings import Answer

SHOWN = 120
"""Characters of what came that a finding shows."""

NOTHING: Any = object()
"""What is found where there is no such field, or no JSON."""


class Evidence:
    """The answers, taken apart."""

    def __init__(self, answers: Sequence[Answer], groups: tuple[int, ...] | None) -> None:
        self.answers = answers
        self.groups = groups
        self.envelopes = [envelope for answer in answers if (envelope := load(answer)) is not NOTHING]
        self.pages = [
            SeenPage(answer.page, extra, rows)
            for answer in answers
            if isinstance(extra := at(load(answer), "result", "extra"), dict)
            and isinstance(rows := at(load(answer), "result", "list"), list)
        ]

    def last(self) -> SeenPage | None:
        """The page that said it was the last."""
        return next((page for page in self.pages if page.extra.get("nextYn") == "N"), None)

    def twice(self) -> tuple[SeenPage, SeenPage] | None:
        """The first page, and the first page again."""
        firsts = [page for page in self.pages if page.number == 1]
        return (firsts[0], firsts[-1]) if len(firsts) > 1 else None


@attrs.frozen
class SeenPage:
    """A page whose `extra` and `list` are what they should be, whatever is in them. `number` was asked for."""

    number: int
    extra: dict[str, Any]
    rows: list[Any]

    def column(self, field: str) -> list[Any]:
        """One field of all records; None where it is missing."""
        return [row.get(field) if isinstance(row, dict) else None for row in self.rows]


def load(answer: Answer) -> Any:
    """The body as JSON, or `NOTHING`."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return NOTHING


def field(value: Any, name: str) -> Any:
    """A field of an object, or `NOTHING`."""
    return value.get(name, NOTHING) if isinstance(value, dict) else NOTHING


def at(value: Any, *path: str) -> Any:
    """The field at the end of a path, or `NOTHING`."""
    for name in path:
        value = field(value, name)
    return value


def is_whole(value: Any) -> bool:
    """Whether it is a whole number from 0."""
    return type(value) is int and value >= 0


def is_whole_like(value: Any) -> bool:
    """Whether it converts to one without loss, as `check="warn"` does."""
    if type(value) is str:
        return value.isascii() and value.isdigit() and len(value) < 20
    return is_whole(value) or (type(value) is float and value.is_integer() and 0 <= value < 2**53)


def show(value: Any) -> str:
    """A value as JSON, bounded."""
    text = "nothing" if value is NOTHING else orjson.dumps(value).decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
