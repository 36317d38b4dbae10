"""The recorded answers, decoded as far as possible, as evidence for the checks."""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import orjson

from clicksgroup.errors import APIError, DecodeError
from clicksgroup.models import GroupClicks
from clicksgroup.protocol import Check, Decoder, Extra, PageResponse, Query
from clicksgroup.protocol.decoding import load_json
from clicksgroup.protocol.error_responses import bounded, snippet, unchanged
from clicksgroup.retries import parse_http_date

UNREADABLE = "this version cannot read it: please report what came"
"""What to do about an answer that no setting makes readable."""

_USE_WARN = 'it can be read with check="warn" (--check warn)'


@attrs.frozen
class Answer:
    """A recorded answer.

    Args:
        page: the number of the requested page.
        status: the HTTP status.
        headers: the headers, by their names in lower case.
        body: the body after decompression.
        received_at: seconds since the epoch, by this machine's clock.
    """

    page: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float


@attrs.frozen
class DecodedPage:
    """A body that the lenient decoder can read. `number` was asked for; `body` is the JSON as it came."""

    number: int
    body: dict[str, Any]
    extra: Extra
    records: tuple[GroupClicks, ...]

    @property
    def ids(self) -> list[int]:
        """The ids of its groups, in their order."""
        return [record.group_id for record in self.records]


class Evidence:
    """The answers, and what the strict and the lenient decoder say about them.

    `more` are the pages that say that another follows, and `last` are those that say that they are the last. `twice`
    is the first page as it came at first and at last, where it came twice. `comparable` is the same, unless the date
    changed in between. `mismatches` are what is not as documented in each part of a body, and what to do about it.
    """

    def __init__(self, answers: Sequence[Answer], groups: tuple[int, ...] | None = None) -> None:
        self.answers = answers
        self.groups = groups
        self.pages: list[DecodedPage] = []
        self.refusals: list[APIError] = []
        self.mismatches: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for answer in answers:
            self._read(answer)
        self.envelopes = [*self.pages, *self.refusals, *self.mismatches]
        self.records = [record for page in self.pages for record in page.records]
        self.listed = tuple(dict.fromkeys(record.group_id for record in self.records))
        self.more = [page for page in self.pages if page.extra.nextYn == "Y"]
        self.last = [page for page in self.pages if page.extra.nextYn == "N"]
        firsts = [page for page in self.pages if page.number == 1]
        self.twice = [(firsts[0], firsts[-1])] if len(firsts) > 1 else []
        self.comparable = [
            (before, after)
            for before, after in self.twice
            if before.extra.totalCount == after.extra.totalCount or sorted(before.ids) == sorted(after.ids)
        ]
        self.content_types = {answer.headers.get("content-type", "none") for answer in answers if answer.status == 200}
        self.skews = [skew for answer in answers if (skew := _skew(answer)) is not None]

    def _read(self, answer: Answer) -> None:
        strict, lenient = _decode(answer, "strict"), _decode(answer, "warn")
        if isinstance(strict, DecodeError):
            # Nothing is documented about the body that comes with another status.
            if answer.status != 200:
                return
            advice = {strict.field: _USE_WARN}
            if isinstance(lenient, DecodeError):
                advice[lenient.field] = UNREADABLE
            for field, what in advice.items():
                self.mismatches[_part(field)].append((_came(answer.body, field), what))
        if isinstance(lenient, APIError):
            self.refusals.append(lenient)
        elif isinstance(lenient, PageResponse):
            for said in lenient.problems:
                self.mismatches[_part(said.partition(":")[0])].append((said, _USE_WARN))
            body = load_json(answer.body, lenient.request)
            self.pages.append(DecodedPage(answer.page, body, lenient.extra, lenient.page().records))


_ANY_DATE = Query(datetime.date.min, datetime.date.min)


def _decode(answer: Answer, check: Check) -> PageResponse | APIError | DecodeError:
    try:
        return Decoder(check).read(answer.body, _ANY_DATE.page(answer.page))
    except (APIError, DecodeError) as error:
        return error


def _part(field: str) -> str:
    """The part of a body that has a field."""
    return "records" if "list[" in field else "extra" if "extra." in field else "envelope"


def _skew(answer: Answer) -> float | None:
    """Seconds by which the server's clock is ahead of this machine's."""
    date = parse_http_date(answer.headers.get("date", ""))
    return None if date is None else date.timestamp() - answer.received_at


def _came(body: bytes, field: str) -> str:
    """The value at the path that a `DecodeError` names."""
    if not field:
        return f"no JSON: {snippet(body, unchanged)!r}"
    value = load_json(body, _ANY_DATE.page(1))
    for name in re.findall(r"[^.$\[\]]+", field):
        try:
            value = value[int(name) if isinstance(value, list) else name]
        except KeyError:
            return f"{field}: nothing"
    return f"{'the body' if field == '$' else field}: {show(value)}"


def show(value: Any) -> str:
    """A value as JSON, bounded."""
    return bounded(orjson.dumps(value).decode())


def show_ids(ids: Sequence[int]) -> str:
    """The first five ids, and how many more there are."""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(map(str, ids[:5])) + more
