"""Values that convert without loss to what is documented: for `check="warn"`, which takes them and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clicksgroup.protocol.error_responses import Redact, bounded
from clicksgroup.protocol.requests import QueryKind
from clicksgroup.protocol.responses import CLICK_FIELDS, COUNT_FIELDS, GROUP_FIELDS, NAME_FIELDS


def convert_without_loss(envelope: dict[str, Any], kind: QueryKind, redact: Redact) -> list[str]:
    """Replace, in place, values that convert without loss to the documented type; a problem for each field."""
    result = envelope.get("result")
    result = result if type(result) is dict else {}
    extra, rows = result.get("extra"), result.get("list")
    found = [*_converted([envelope], "code", "code", redact)]
    for name in COUNT_FIELDS:
        found += _converted([extra], name, f"result.extra.{name}", redact)
    for name in GROUP_FIELDS if kind == "groups" else CLICK_FIELDS:
        found += _converted(rows if type(rows) is list else [], name, f"result.list[*].{name}", redact)
    return found


def _converted(objects: list[Any], name: str, path: str, redact: Redact) -> Iterator[str]:
    """Convert one field of all these objects. At most one problem is said: how many, and the first value."""
    came: list[object] = []
    for found in objects:
        if type(found) is not dict or name not in found:
            continue
        value = found[name]
        taken: object = lossless(value)
        if name in NAME_FIELDS:
            taken = "" if value is None else None
        if taken is not None:
            found[name] = taken
            came.append(value)
    if len(came) == 1:
        yield f"{path}: {_CONVERSIONS[type(came[0])][0]}: {show_json(came[0], redact)}"
    elif came:
        yield f"{path}: {len(came)} {_CONVERSIONS[type(came[0])][1]}, the first {show_json(came[0], redact)}"


_CONVERSIONS: dict[type[Any], tuple[str, str]] = {
    str: ("a string taken as a number", "strings taken as numbers"),
    float: ("a fraction taken as a whole number", "fractions taken as whole numbers"),
    type(None): ("a null taken as an empty text", "nulls taken as empty texts"),
}


def lossless(value: object) -> int | None:
    """The whole number that a text or a fraction stands for, or None if it does not or already is one."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return None


def show_json(value: object, redact: Redact) -> str:
    """A JSON value as JSON, bounded."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return bounded(redact(json.dumps(value, ensure_ascii=False)))
