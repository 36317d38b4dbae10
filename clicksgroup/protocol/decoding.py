"""From bytes to records, strictly: nothing is coerced, and an error names the path of what is wrong."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_structure_fn

from clicksgroup.errors import DecodeError
from clicksgroup.groups import MAX_COUNT
from clicksgroup.models import GroupClicks, GroupTotals, Page
from clicksgroup.protocol.error_responses import Redact, api_error, as_it_is, bounded, snippet
from clicksgroup.protocol.requests import PageRequest, Query

Check: TypeAlias = Literal["strict", "warn"]


@attrs.define
class Extra:
    """The vendor's `extra`, under the vendor's names."""

    pages: int
    nextYn: str  # noqa: N815
    count: int
    totalCount: int  # noqa: N815
    nextPages: int | None = None  # noqa: N815


class RecordColumns:
    """The vendor's `list`, checked, as columns. Iterating makes its records.

    Thousands of them wait where many dates are under way in order, and as records they would keep the garbage
    collector busy.
    """

    __slots__ = ("_clicks", "_names", "_query", "_users", "group_ids")

    def __init__(
        self, query: Query, group_ids: list[int], names: list[str], clicks: list[int], users: list[int]
    ) -> None:
        self._query = query
        self.group_ids = group_ids
        self._names = names
        self._clicks = clicks
        self._users = users

    def __len__(self) -> int:
        return len(self.group_ids)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records())

    def records(self) -> list[Any]:
        """`GroupClicks`, or `GroupTotals` where those were asked for."""
        query = self._query
        columns = zip(self.group_ids, self._names, self._clicks, self._users, strict=True)
        if query.totals:
            return [GroupTotals(query.start, query.end, *row) for row in columns]
        records: list[GroupClicks] = []
        draft, made, date = _Draft, GroupClicks, query.start
        for group_id, name, clicks, users in columns:
            record = draft()
            record.date = date
            record.group_id = group_id
            record.group_name = name
            record.clicks = clicks
            record.unique_users = users
            record.__class__ = made  # type: ignore[assignment]
            records.append(record)  # type: ignore[arg-type]
        return records


class RawRecords(list[Any]):
    """A mark for cattrs: the vendor's `list` as it came."""


@attrs.define
class Listing:
    """The vendor's `result`."""

    extra: Extra
    list: RawRecords


@attrs.define
class PageResponse:
    """What came for one request: the page's own words, its rows, and what `check="warn"` let pass.

    `attempts` is how many requests it took.
    """

    request: PageRequest
    extra: Extra
    rows: RecordColumns
    problems: tuple[str, ...] = ()
    attempts: int = 1

    def page(self) -> Page:
        """The same for users."""
        query, number, extra = self.request.query, self.request.number, self.extra
        return Page(
            query.start,
            number,
            number + 1 if extra.nextYn == "Y" else None,
            extra.count,
            extra.totalCount,
            tuple(self.rows),
            query.groups,
        )


class _Draft:
    """A `GroupClicks` in the making: the same slots, not frozen yet.

    A frozen class's own `__init__` takes four times as long, and nothing is done more often than this.
    """

    __slots__ = ("clicks", "date", "group_id", "group_name", "unique_users")

    date: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int


class _MismatchError(Exception):
    def __init__(self, wanted: str, came: object, path: str = "") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.came = came
        self.path = path


_MISSING = object()
_WHOLE = f"a whole number from 0 to {MAX_COUNT}"
_WANTED = {"extra": "an object", "list": "a list", "nextYn": "a string"}  # else a whole number
_fields = itemgetter("grpIdx", "grpNm", "acesCnt", "pernCnt")
_COUNTS = ("pages", "nextPages", "count", "totalCount")


class Decoder:
    """Turns bodies into responses. One for each client, since it remembers the problems of the body it is reading.

    Args:
        check: `"strict"` takes nothing but the documented types. `"warn"` converts what converts without loss
            (`"181"`, `181.0`, a null name) and says so in `PageResponse.problems`.
    """

    def __init__(self, check: Check = "strict") -> None:
        self._lenient = check == "warn"
        self._problems: list[str] = []
        self._redact: Redact = as_it_is
        self._converter = _converter(self._lenient)

    def read(self, body: bytes, request: PageRequest, redact: Redact = as_it_is) -> PageResponse:
        """The response that a successful status' body holds.

        Args:
            body: what came.
            request: what was asked.
            redact: takes out of a text of the server's what no error may show. Records are left as they are.

        Raises:
            APIError: an envelope whose code is not 0.
            DecodeError: no JSON (`field` is empty), or JSON of another shape.
        """
        envelope = _load(body, request, redact)
        self._problems = []
        self._redact = redact
        try:
            code = self._code(envelope)
            if code != 0:
                raise api_error(envelope, code, request, redact)
            listing = self._converter.structure(envelope.get("result", _MISSING), Listing)
            rows = self._rows(listing.list, request.query)
        except cattrs.BaseValidationError as error:
            mismatch = _locate(error, "result")
        except _MismatchError as error:
            mismatch = error
            mismatch.path = mismatch.path or "result"
        else:
            if self._lenient:
                self._note_converted_counts(envelope["result"]["extra"], listing.extra)
            extra = listing.extra
            if extra.nextYn != "N" and extra.nextYn != "Y":  # it will be shown
                extra.nextYn = bounded(redact(extra.nextYn))
            return PageResponse(request, extra, rows, tuple(self._problems))
        raise _decode_error(mismatch, body, request, redact)

    def _code(self, envelope: object) -> int:
        if type(envelope) is not dict:
            raise _MismatchError("an object", envelope, "$")
        code = envelope.get("code", _MISSING)
        if type(code) is int:
            return code
        if self._lenient and (whole := _lossless(code)) is not None:
            self._converted("code", code, whole)
            return whole
        raise _MismatchError("a whole number", code, "code")

    def _note_converted_counts(self, came: dict[str, Any], taken: Extra) -> None:
        for name in _COUNTS:
            if type(value := came.get(name)) not in (int, type(None)):
                self._converted(f"result.extra.{name}", value, getattr(taken, name))

    def _rows(self, rows: list[Any], query: Query) -> RecordColumns:
        group_ids: list[int] = []
        names: list[str] = []
        all_clicks: list[int] = []
        all_users: list[int] = []
        try:
            for group_id, name, clicks, users in map(_fields, rows):
                if (
                    type(group_id) is not int
                    or type(name) is not str
                    or type(clicks) is not int
                    or type(users) is not int
                    # Of whole numbers, the or of the bits is in the range if and only if each of them is.
                    or not 0 <= group_id | clicks | users <= MAX_COUNT
                ):
                    group_id, name, clicks, users = self._odd_row(rows[len(names)], f"result.list[{len(names)}]")
                group_ids.append(group_id)
                names.append(name)
                all_clicks.append(clicks)
                all_users.append(users)
        except (KeyError, TypeError):  # a row that is no object, or lacks a field
            self._odd_row(rows[len(names)], f"result.list[{len(names)}]")
            raise
        return RecordColumns(query, group_ids, names, all_clicks, all_users)

    def _odd_row(self, row: Any, path: str) -> tuple[int, str, int, int]:
        """The fields of a row that is not as documented, where they can be had without loss."""
        if type(row) is not dict:
            raise _MismatchError("an object", row, path)
        group_id = self._odd_whole(row, "grpIdx", path)
        name = row.get("grpNm", _MISSING)
        if self._lenient and name is None:
            name = ""
            self._converted(f"{path}.grpNm", None, name)
        if type(name) is not str:
            raise _MismatchError("a string", name, f"{path}.grpNm")
        return group_id, name, self._odd_whole(row, "acesCnt", path), self._odd_whole(row, "pernCnt", path)

    def _odd_whole(self, row: dict[str, Any], field: str, path: str) -> int:
        value = row.get(field, _MISSING)
        whole = value if type(value) is int else _lossless(value) if self._lenient else None
        if whole is None or not 0 <= whole <= MAX_COUNT:
            raise _MismatchError(_WHOLE, value, f"{path}.{field}")
        if whole is not value:
            self._converted(f"{path}.{field}", value, whole)
        return int(whole)

    def _converted(self, path: str, came: object, taken: object) -> None:
        self._problems.append(self._redact(f"{path}: {came!r} was taken as {taken!r}"))


@functools.cache
def _converter(lenient: bool) -> cattrs.Converter:
    """The one for all decoders of a kind: to make one takes as long as a dozen pages."""
    converter = cattrs.Converter(detailed_validation=True)

    def make_object(cls: type[Any]) -> Callable[[Any, Any], Any]:
        structure = make_dict_structure_fn(cls, converter)

        def an_object(value: Any, type_: Any) -> Any:
            if type(value) is not dict:
                raise _MismatchError("an object", value)
            return structure(value, type_)

        return an_object

    converter.register_structure_hook(int, _lenient_whole if lenient else _whole)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(RawRecords, _list)
    converter.register_structure_hook_factory(attrs.has, make_object)
    return converter


def _whole(value: Any, _: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    raise _MismatchError(_WHOLE, value)


def _lenient_whole(value: Any, _: Any) -> int:
    whole = _lossless(value)
    if whole is not None and 0 <= whole <= MAX_COUNT:
        return whole
    return _whole(value, _)


def _text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise _MismatchError("a string", value)


def _list(value: Any, _: Any) -> RawRecords:
    if type(value) is list:
        return value  # type: ignore[return-value]
    raise _MismatchError("a list", value)


def _load(body: bytes, request: PageRequest, redact: Redact) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "nothing" if not body.strip() else f"no JSON ({error.msg})"
    raise DecodeError(
        f"{request}: expected a JSON envelope, got {reason}: {snippet(body, redact)!r}",
        snippet=snippet(body, redact),
        date=request.query.start,
        page=request.number,
    )


def _locate(error: cattrs.BaseValidationError, path: str) -> _MismatchError:
    """The first thing that is wrong, with its path, out of cattrs' tree of errors."""
    inner = error.exceptions[0]
    field = next((str(note.name) for note in getattr(inner, "__notes__", ()) if hasattr(note, "name")), "")
    path = f"{path}.{field}"
    if isinstance(inner, cattrs.BaseValidationError):
        return _locate(inner, path)
    if isinstance(inner, _MismatchError):
        return _MismatchError(inner.wanted, inner.came, path)
    return _MismatchError(_WANTED.get(field, _WHOLE), _MISSING, path)


def _decode_error(mismatch: _MismatchError, body: bytes, request: PageRequest, redact: Redact) -> DecodeError:
    came = "nothing" if mismatch.came is _MISSING else _show(mismatch.came, redact)
    return DecodeError(
        f"{request}: {mismatch.path}: expected {mismatch.wanted}, got {came}",
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


def _lossless(value: object) -> int | None:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return None
