"""From bytes to records, strictly: nothing is coerced, and an error names the path of what is wrong."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_structure_fn

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import DecodeError
from clicksgroup.models import GroupClicks, GroupTotals, Page
from clicksgroup.protocol.error_responses import Redact, api_error, bounded, snippet, unchanged
from clicksgroup.protocol.requests import PageRequest, Query

Check: TypeAlias = Literal["strict", "warn"]


class Decoder:
    """Turns bodies into page responses.

    Args:
        check: `"strict"` takes nothing but the documented types. `"warn"` converts what converts without loss
            (`"181"`, `181.0`, a null name) and says so in `PageResponse.problems`.
    """

    def __init__(self, check: Check = "strict") -> None:
        self._lenient = check == "warn"

    def read(self, body: bytes, request: PageRequest, redact: Redact = unchanged) -> PageResponse:
        """The page that the body of a successful status holds.

        Args:
            body: the body, decompressed.
            request: the request that it answers.
            redact: takes the key out of a text of the server's before an error shows it. Records stay as they are.

        Raises:
            APIError: an envelope whose code is not 0.
            DecodeError: no JSON (`field` is empty), or JSON of another shape.
        """
        envelope = _load(body, request, redact)
        problems: list[str] = []
        try:
            if type(envelope) is not dict:
                raise _MismatchError("an object", envelope, "$")
            if self._lenient:
                problems = _convert_without_loss(envelope, redact)
            code = envelope.get("code", _MISSING)
            if type(code) is not int:
                raise _MismatchError("a whole number", code, "code")
            if code != 0:
                raise api_error(envelope, code, request, redact)
            listing = _converter.structure(envelope.get("result", _MISSING), Listing)
        except cattrs.BaseValidationError as error:
            mismatch = _locate(error, "result")
        except _MismatchError as error:
            mismatch = error
            mismatch.path = mismatch.path or "result"
        else:
            extra = listing.extra
            # Errors will show it.
            if extra.nextYn not in ("Y", "N"):
                extra.nextYn = bounded(redact(extra.nextYn))
            return PageResponse(request, extra, listing.list, tuple(problems))
        raise _decode_error(mismatch, body, request, redact)


@attrs.define
class Extra:
    """The vendor's `extra`, under the vendor's names."""

    pages: int
    nextYn: str  # noqa: N815
    count: int
    totalCount: int  # noqa: N815
    nextPages: int | None = None  # noqa: N815


class RecordRows(list[tuple[int, str, int, int]]):
    """The vendor's `list`, checked: id, name, clicks and unique users of each group.

    Thousands of records wait where many dates are under way in order. As objects they would keep the garbage collector
    busy, so they are made when they are read.
    """

    @property
    def group_ids(self) -> list[int]:
        return [row[0] for row in self]


@attrs.define
class Listing:
    """The vendor's `result`."""

    extra: Extra
    list: RecordRows


@attrs.define
class PageResponse:
    """The answer to one request.

    Args:
        request: what was asked for.
        extra: what the server says about the page.
        rows: its records.
        problems: what `check="warn"` converted.
        attempts: how many requests it took.
    """

    request: PageRequest
    extra: Extra
    rows: RecordRows
    problems: tuple[str, ...] = ()
    attempts: int = 1

    def records(self) -> list[Any]:
        """`GroupClicks`, or `GroupTotals` where those were asked for."""
        return make_records(self.request.query, self.rows)

    def page(self) -> Page:
        """The same for users."""
        query, number, extra = self.request.query, self.request.number, self.extra
        next_number = number + 1 if extra.nextYn == "Y" else None
        records = tuple(self.records())
        return Page(query.start, number, next_number, extra.count, extra.totalCount, records, query.groups)


def make_records(query: Query, rows: RecordRows) -> list[Any]:
    """The records that these rows are, for the query that they answer."""
    start, end = query.start, query.end
    if query.totals:
        return [GroupTotals(start, end, *row) for row in rows]
    return [GroupClicks(start, group_id, name, clicks, users) for group_id, name, clicks, users in rows]


class _MismatchError(Exception):
    def __init__(self, wanted: str, came: object, path: str = "") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.came = came
        self.path = path


_MISSING = object()
_WHOLE = f"a whole number from 0 to {MAX_COUNT}"
_WANTED = {"extra": "an object", "list": "a list", "nextYn": "a string", "grpNm": "a string"}
_COUNTS = ("pages", "nextPages", "count", "totalCount")
_FIELDS = ("grpIdx", "grpNm", "acesCnt", "pernCnt")
_fields = itemgetter(*_FIELDS)


def _whole(value: Any, _: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    raise _MismatchError(_WHOLE, value)


def _text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise _MismatchError("a string", value)


def _rows(value: Any, _: Any) -> RecordRows:
    """One loop over all records: cattrs takes three times as long for a record of its own class."""
    if type(value) is not list:
        raise _MismatchError("a list", value)
    rows = RecordRows()
    for index, row in enumerate(value):
        try:
            fields = group_id, name, clicks, users = _fields(row)
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
            raise _row_mismatch(row, index)
        rows.append(fields)
    return rows


def _row_mismatch(row: Any, index: int) -> _MismatchError:
    """Which field of a record is not as documented."""
    if type(row) is not dict:
        return _MismatchError("an object", row, f"[{index}]")
    for field in _FIELDS:
        value = row.get(field, _MISSING)
        try:
            _text(value, str) if field == "grpNm" else _whole(value, int)
        except _MismatchError as error:
            return _MismatchError(error.wanted, value, f"[{index}].{field}")
    raise AssertionError(row)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)

    def structure_object(cls: type[Any]) -> Callable[[Any, Any], Any]:
        structure = make_dict_structure_fn(cls, converter)

        def checked(value: Any, type_: Any) -> Any:
            if type(value) is not dict:
                raise _MismatchError("an object", value)
            return structure(value, type_)

        return checked

    converter.register_structure_hook_factory(attrs.has, structure_object)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(RecordRows, _rows)
    return converter


_converter = _make_converter()


def _convert_without_loss(envelope: dict[str, Any], redact: Redact) -> list[str]:
    """Replace, in place, values that convert without loss to the documented type; a problem for each field."""
    result = envelope.get("result")
    result = result if type(result) is dict else {}
    extra, rows = result.get("extra"), result.get("list")
    found = [*_converted([envelope], "code", "code", redact)]
    for name in _COUNTS:
        found += _converted([extra], name, f"result.extra.{name}", redact)
    for name in _FIELDS:
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
        if name == "grpNm":
            taken = "" if value is None else None
        if taken is not None:
            found[name] = taken
            came.append(value)
    if len(came) == 1:
        yield f"{path}: {_CONVERSIONS[type(came[0])][0]}: {_show(came[0], redact)}"
    elif came:
        yield f"{path}: {len(came)} {_CONVERSIONS[type(came[0])][1]}, the first {_show(came[0], redact)}"


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


def _load(body: bytes, request: PageRequest, redact: Redact) -> Any:
    """The body as JSON.

    Raises:
        DecodeError: it is none. It is retryable where the body may have been cut on its way.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
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
    raise DecodeError(
        f"{request}: expected a JSON envelope, got {what} ({reason}): {snippet(body, redact)!r}; {advice}",
        snippet=snippet(body, redact),
        date=request.query.start,
        page=request.number,
        retryable=cut,
    )


def was_cut(body: bytes) -> bool:
    """Whether a body that is not JSON may be the beginning of some: it is empty, or ends within an object or text."""
    body = body.strip()
    if body and body[:1] not in b"{[":
        return False
    outside = _STRING.sub(b"", body)
    opened = outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
    return not body or opened > 0 or b'"' in outside


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

# An escape of JSON: a pair of surrogates, a surrogate alone (which cut-off names leave), or any other.
_LONE_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mend(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def _locate(error: cattrs.BaseValidationError, path: str) -> _MismatchError:
    """The first thing that is wrong, with its path, out of cattrs' tree of errors."""
    inner = error.exceptions[0]
    field = next((str(note.name) for note in getattr(inner, "__notes__", ()) if hasattr(note, "name")), "")
    path = f"{path}.{field}"
    if isinstance(inner, cattrs.BaseValidationError):
        return _locate(inner, path)
    if isinstance(inner, _MismatchError):
        return _MismatchError(inner.wanted, inner.came, f"{path}{inner.path}")
    return _MismatchError(_WANTED.get(field, _WHOLE), _MISSING, path)


def _decode_error(mismatch: _MismatchError, body: bytes, request: PageRequest, redact: Redact) -> DecodeError:
    if mismatch.came is _MISSING:
        what = f"{mismatch.path} is missing, expected {mismatch.wanted}"
    else:
        what = f"{mismatch.path}: expected {mismatch.wanted}, got {_show(mismatch.came, redact)}"
    null_name = mismatch.came is None and mismatch.path.endswith(".grpNm")
    convertible = null_name or (lossless(mismatch.came) is not None and mismatch.wanted.startswith("a whole number"))
    advice = '; check="warn" takes the value without loss' if convertible else ""
    return DecodeError(
        f"{request}: {what}{advice}; `clicksgroup doctor` checks the live service",
        field=mismatch.path,
        snippet=snippet(body, redact),
        date=request.query.start,
        page=request.number,
    )


def _show(value: object, redact: Redact) -> str:
    """A JSON value as JSON, bounded."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return bounded(redact(json.dumps(value, ensure_ascii=False)))
