"""From bytes to records, strictly: nothing is coerced, and an error names the path of what is wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import DecodeError
from clicksgroup.models import Group, GroupClicks, GroupTotals
from clicksgroup.protocol.error_responses import Redact, api_error, bounded, snippet, unchanged
from clicksgroup.protocol.json_bodies import load_json
from clicksgroup.protocol.leniency import convert_without_loss, lossless, show_json
from clicksgroup.protocol.requests import PageRequest, Query
from clicksgroup.protocol.responses import CLICK_FIELDS, NAME_FIELDS, Extra, PageResponse

T = TypeVar("T")
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
        envelope = load_json(body, request, redact)
        problems: list[str] = []
        try:
            if type(envelope) is not dict:
                raise _MismatchError("an object", envelope, "$")
            if self._lenient:
                problems = convert_without_loss(envelope, request.query.kind, redact)
            code = envelope.get("code", _MISSING)
            if type(code) is not int:
                raise _MismatchError("a whole number", code, "code")
            if code != 0:
                raise api_error(envelope, code, request, redact)
            extra, records = _structure(envelope.get("result", _MISSING), request.query)
        except _MismatchError as error:
            mismatch = error
        else:
            # Errors will show it.
            if extra.nextYn not in ("Y", "N"):
                extra.nextYn = bounded(redact(extra.nextYn))
            return PageResponse(request, extra, records, tuple(problems))
        raise _decode_error(mismatch, body, request, redact)


@attrs.define
class GroupItem:
    """An item of the vendor's list of groups, under its names. Its other fields do not matter here."""

    idx: int
    nm: str
    linkCnt: int  # noqa: N815
    memo: str | None = None


class _MismatchError(Exception):
    def __init__(self, wanted: str, came: object, path: str = "") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.came = came
        self.path = path


_MISSING = object()
_WHOLE = f"a whole number from 0 to {MAX_COUNT}"
_WANTED = {"nextYn": "a string", "nm": "a string"}
_fields = itemgetter(*CLICK_FIELDS)


def _structure(result: Any, query: Query) -> tuple[Extra, list[Any]]:
    if type(result) is not dict:
        raise _MismatchError("an object", result, "result")
    extra = _structure_as(Extra, result.get("extra", _MISSING), "result.extra")
    rows = result.get("list", _MISSING)
    if type(rows) is not list:
        raise _MismatchError("a list", rows, "result.list")
    if query.kind == "groups":
        items = _structure_as(list[GroupItem], rows, "result.list")
        return extra, [Group(item.idx, item.nm, item.memo or "", item.linkCnt) for item in items]
    if query.kind == "totals":
        return extra, _records(rows, functools.partial(GroupTotals, query.start, query.end))
    return extra, _records(rows, functools.partial(GroupClicks, query.start))


def _structure_as(type_: type[T], value: Any, path: str) -> T:
    try:
        return _converter.structure(value, type_)
    except cattrs.BaseValidationError as error:
        mismatch = _locate(error, path)
    except _MismatchError as error:
        mismatch = _MismatchError(error.wanted, error.came, path)
    raise mismatch


def _whole(value: Any, _: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    raise _MismatchError(_WHOLE, value)


def _text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise _MismatchError("a string", value)


def _records(rows: list[Any], make: Callable[[int, str, int, int], Any]) -> list[Any]:
    """One loop over all records: cattrs takes three times as long for a record of its own class."""
    records = []
    for index, row in enumerate(rows):
        try:
            group_id, name, clicks, users = _fields(row)
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
            raise _row_mismatch(row, f"result.list[{index}]")
        records.append(make(group_id, name, clicks, users))
    return records


def _row_mismatch(row: Any, path: str) -> _MismatchError:
    """Which field of a record is not as documented."""
    if type(row) is not dict:
        return _MismatchError("an object", row, path)
    for field in CLICK_FIELDS:
        value = row.get(field, _MISSING)
        try:
            _text(value, str) if field == "grpNm" else _whole(value, int)
        except _MismatchError as error:
            return _MismatchError(error.wanted, value, f"{path}.{field}")
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
    return converter


_converter = _make_converter()


def _locate(error: cattrs.BaseValidationError, path: str) -> _MismatchError:
    """The first thing that is wrong, with its path, out of cattrs' tree of errors."""
    inner = error.exceptions[0]
    note = next((note for note in getattr(inner, "__notes__", ()) if hasattr(note, "type")), None)
    field = str(getattr(note, "name", ""))
    path += f".{field}" if field else f"[{getattr(note, 'index', '')}]"
    if isinstance(inner, cattrs.BaseValidationError):
        return _locate(inner, path)
    if isinstance(inner, _MismatchError):
        return _MismatchError(inner.wanted, inner.came, path)
    return _MismatchError(_WANTED.get(field, _WHOLE), _MISSING, path)


def _decode_error(mismatch: _MismatchError, body: bytes, request: PageRequest, redact: Redact) -> DecodeError:
    if mismatch.came is _MISSING:
        what = f"{mismatch.path} is missing, expected {mismatch.wanted}"
    else:
        what = f"{mismatch.path}: expected {mismatch.wanted}, got {show_json(mismatch.came, redact)}"
    null_name = mismatch.came is None and mismatch.path.endswith(NAME_FIELDS)
    convertible = null_name or (lossless(mismatch.came) is not None and mismatch.wanted.startswith("a whole number"))
    advice = '; check="warn" takes the value without loss' if convertible else ""
    return DecodeError(
        f"{request}: {what}{advice}; `clicksgroup doctor` checks the live service",
        field=mismatch.path,
        snippet=snippet(body, redact),
        date=request.query.start,
        page=request.number,
    )
