"""From bytes to records, strictly: nothing is coerced, and an error names the path of what is wrong."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import cattrs
import orjson

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import DecodeError
from clicksgroup.models import Group, GroupClicks, GroupTotals, Page
from clicksgroup.protocol.error_responses import Redact, api_error, bounded, snippet, unchanged
from clicksgroup.protocol.requests import PageRequest, Query, QueryKind

T = TypeVar("T")
Check: TypeAlias = Literal["strict", "warn"]


@attrs.define
class Extra:
    """The vendor's `extra`, under the vendor's names."""

    pages: int
    nextYn: str  # noqa: N815
    count: int
    totalCount: int  # noqa: N815
    nextPages: int | None = None  # noqa: N815


@attrs.define
class ClickItem:
    """An item of the vendor's `list` of clicks."""

    grpIdx: int  # noqa: N815
    grpNm: str  # noqa: N815
    acesCnt: int  # noqa: N815
    pernCnt: int  # noqa: N815


@attrs.define
class GroupItem:
    """An item of the vendor's list of groups. Its other fields do not matter here."""

    idx: int
    nm: str
    linkCnt: int  # noqa: N815
    memo: str | None = None


@attrs.define
class PageResponse:
    """The answer to one request.

    Args:
        request: what was asked for.
        extra: what the server says about the page.
        records: `GroupClicks`, `GroupTotals` or `Group`, as was asked for.
        problems: what `check="warn"` converted.
        attempts: how many requests it took.
    """

    request: PageRequest
    extra: Extra
    records: list[Any]
    problems: tuple[str, ...] = ()
    attempts: int = 1

    def page(self) -> Page:
        """The page as users get it."""
        query, number, extra = self.request.query, self.request.number, self.extra
        next_number = number + 1 if extra.nextYn == "Y" else None
        records = tuple(self.records)
        return Page(query.start, number, next_number, extra.count, extra.totalCount, records, query.groups)


@attrs.frozen
class Decoder:
    """Turns bodies into page responses.

    Args:
        check: `"strict"` takes nothing but the documented types. `"warn"` converts what converts without loss
            (`"181"`, `181.0`, a null name) and says so in `PageResponse.problems`.
        redact: takes the key out of a text of the server's before an error shows it. Records stay as they are.
    """

    check: Check = "strict"
    redact: Redact = unchanged

    def read(self, body: bytes, request: PageRequest) -> PageResponse:
        """The page that the body of a successful status holds.

        Raises:
            APIError: an envelope whose code is not 0.
            DecodeError: no JSON (`field` is empty), or JSON of another shape.
        """
        envelope = load_json(body, request, self.redact)
        problems: tuple[str, ...] = ()
        try:
            if type(envelope) is not dict:
                raise _MismatchError("an object", envelope, "$")
            if self.check == "warn":
                problems = tuple(_convert_without_loss(envelope, request.query.kind, self.redact))
            code = envelope.get("code", _MISSING)
            if type(code) is not int:
                raise _MismatchError("a whole number", code, "code")
            if code != 0:
                raise api_error(envelope, code, request, self.redact)
            extra, records = _structure(envelope.get("result", _MISSING), request.query)
        except _MismatchError as error:
            mismatch = error
        else:
            # Errors will show it.
            if extra.nextYn not in ("Y", "N"):
                extra.nextYn = bounded(self.redact(extra.nextYn))
            return PageResponse(request, extra, records, problems)
        raise _decode_error(mismatch, body, request, self.redact)


_TEXTS = ("nextYn", "grpNm", "nm", "memo")
_NAMES = ("grpNm", "nm")
_WHOLE = f"a whole number from 0 to {MAX_COUNT}"
_MISSING = object()


def field_names(type_: type[attrs.AttrsInstance]) -> list[str]:
    """The fields of one of the vendor's objects, as the vendor calls them."""
    return [field.name for field in attrs.fields(type_)]


@attrs.define
class _MismatchError(Exception):
    wanted: str
    came: object
    path: str


def _structure(result: Any, query: Query) -> tuple[Extra, list[Any]]:
    if type(result) is not dict:
        raise _MismatchError("an object", result, "result")
    extra = _structure_as(Extra, result.get("extra", _MISSING), "result.extra")
    rows = result.get("list", _MISSING)
    if type(rows) is not list:
        raise _MismatchError("a list", rows, "result.list")
    if query.kind == "groups":
        items = [_structure_as(GroupItem, row, f"result.list[{i}]") for i, row in enumerate(rows)]
        return extra, [Group(item.idx, item.nm, item.memo or "", item.linkCnt) for item in items]
    if query.kind == "totals":
        return extra, _records(rows, functools.partial(GroupTotals, query.start, query.end))
    return extra, _records(rows, functools.partial(GroupClicks, query.start))


def _structure_as(type_: type[T], value: Any, path: str) -> T:
    """One of the vendor's objects, checked by cattrs."""
    if type(value) is not dict:
        raise _MismatchError("an object", value, path)
    try:
        return _converter.structure(value, type_)
    except cattrs.ClassValidationError as error:
        (_, note), *_ = error.group_exceptions()[0]
    wanted = "a string" if note.name in _TEXTS else _WHOLE
    raise _MismatchError(wanted, value.get(note.name, _MISSING), f"{path}.{note.name}")


def _records(rows: list[Any], make: Callable[[int, str, int, int], Any]) -> list[Any]:
    """All records, checked in one loop. cattrs takes three times as long, so it only says what is wrong."""
    records = []
    for index, row in enumerate(rows):
        try:
            group_id, name, clicks, users = _click_values(row)
            fits = (
                type(group_id) is type(clicks) is type(users) is int
                and type(name) is str
                and 0 <= group_id <= MAX_COUNT
                and 0 <= clicks <= MAX_COUNT
                and 0 <= users <= MAX_COUNT
            )
        except (KeyError, TypeError):
            fits = False
        if not fits:
            group_id, name, clicks, users = attrs.astuple(_structure_as(ClickItem, row, f"result.list[{index}]"))
        records.append(make(group_id, name, clicks, users))
    return records


_click_values = itemgetter(*field_names(ClickItem))


def _whole(value: Any, _: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    raise ValueError(value)


def _text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise ValueError(value)


_converter = cattrs.Converter()
_converter.register_structure_hook(int, _whole)
_converter.register_structure_hook(str, _text)


def _decode_error(mismatch: _MismatchError, body: bytes, request: PageRequest, redact: Redact) -> DecodeError:
    if mismatch.came is _MISSING:
        what = f"{mismatch.path} is missing, expected {mismatch.wanted}"
    else:
        what = f"{mismatch.path}: expected {mismatch.wanted}, got {_show(mismatch.came, redact)}"
    null_name = mismatch.came is None and mismatch.path.endswith(_NAMES)
    convertible = null_name or (_lossless(mismatch.came) is not None and mismatch.wanted.startswith("a whole number"))
    advice = '; check="warn" takes the value without loss' if convertible else ""
    return DecodeError(
        f"{request}: {what}{advice}; `clicksgroup doctor` checks the live service",
        field=mismatch.path,
        snippet=snippet(body, redact),
        **request.where,
    )


def _show(value: object, redact: Redact) -> str:
    """A JSON value as JSON, bounded."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return bounded(redact(json.dumps(value, ensure_ascii=False)))


# Values that convert without loss: `check="warn"` takes them and says so.


def _convert_without_loss(envelope: dict[str, Any], kind: QueryKind, redact: Redact) -> Iterator[str]:
    """Replace such values in place; a problem for each field."""
    result = envelope.get("result")
    result = result if type(result) is dict else {}
    rows = result.get("list")
    item = GroupItem if kind == "groups" else ClickItem
    yield from _convert([envelope], ["code"], "", redact)
    yield from _convert([result.get("extra")], field_names(Extra), "result.extra.", redact)
    yield from _convert(rows if type(rows) is list else [], field_names(item), "result.list[*].", redact)


def _convert(objects: list[Any], names: list[str], path: str, redact: Redact) -> Iterator[str]:
    """Convert these fields of all these objects. A problem says how many, and the first value."""
    for name in names:
        came: list[object] = []
        for found in objects:
            if type(found) is not dict or name not in found:
                continue
            value = found[name]
            taken: object = None
            if name not in _TEXTS:
                taken = _lossless(value)
            elif name in _NAMES and value is None:
                taken = ""
            if taken is not None:
                found[name] = taken
                came.append(value)
        if came:
            one, many = _CONVERSIONS[type(came[0])]
            what = f"{one}:" if len(came) == 1 else f"{len(came)} {many}, the first"
            yield f"{path}{name}: {what} {_show(came[0], redact)}"


_CONVERSIONS: dict[type[Any], tuple[str, str]] = {
    str: ("a string taken as a number", "strings taken as numbers"),
    float: ("a fraction taken as a whole number", "fractions taken as whole numbers"),
    type(None): ("a null taken as an empty text", "nulls taken as empty texts"),
}


def _lossless(value: object) -> int | None:
    """The whole number that a text or a fraction stands for, or None if it does not or already is one."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return None


# A body as JSON, or why it is none.


def load_json(body: bytes, request: PageRequest, redact: Redact = unchanged) -> Any:
    """The body as JSON.

    Raises:
        DecodeError: it is none. It is retryable where the body may have been cut on its way.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = error.msg
    if (mended := _LONE_SURROGATE.sub(_mend, body)) != body:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(mended)
    cut = was_cut(body)
    what = "nothing" if not body.strip() else "a part of it" if cut else "something else"
    advice = "it was cut on its way" if cut else "does base_url name the API, or is the server in maintenance?"
    shown = snippet(body, redact)
    raise DecodeError(
        f"{request}: expected a JSON envelope, got {what} ({reason}): {shown!r}; {advice}",
        snippet=shown,
        retryable=cut,
        **request.where,
    )


# An escape of JSON: a pair of surrogates, a surrogate alone (which cut-off names leave), or any other.
_LONE_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mend(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def was_cut(body: bytes) -> bool:
    """Whether a body that is not JSON may be the beginning of some: it is empty, or ends within an object or text."""
    body = body.strip()
    if body and body[:1] not in b"{[":
        return False
    outside = _STRING.sub(b"", body)
    opened = outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
    return not body or opened > 0 or b'"' in outside


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
