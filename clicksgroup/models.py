"""The values that the client gives. All are frozen, slotted, comparable and hashable."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import attrs


@attrs.frozen(weakref_slot=False)
class GroupClicks:
    """The clicks on one link group on one date.

    Args:
        date: the date that was asked for. In which time zone it begins is not documented by the vendor.
        group_id: the vendor's `grpIdx`.
        group_name: the vendor's `grpNm`.
        clicks: all clicks on the group's links (`acesCnt`).
        unique_users: people who clicked (`pernCnt`). Never add them over dates or groups: the same person counts
            in each. For a range ask `ClicksClient.totals`.
    """

    date: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int


class _Records:
    """What `Page` and `Day` have in common: their records."""

    __slots__ = ()

    records: tuple[GroupClicks, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[GroupClicks]:
        return iter(self.records)

    def __bool__(self) -> bool:
        """An answer without records is an answer."""
        return True

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The records as an Arrow stream (extra `arrow`): polars, DuckDB and pyarrow take the object as it is."""
        from clicksgroup.exports import record_table

        return record_table(self.records).__arrow_c_stream__(requested_schema)


def _count(records: tuple[GroupClicks, ...]) -> str:
    return f"<{len(records)} records>"


@attrs.frozen
class Page(_Records):
    """One response: at most 30 records of one date. `len(page)` and iteration go over its records.

    Args:
        date: the date that was asked for.
        number: the page's number, from 1 (`pages`).
        next_number: the number of the next page, or None on the last one (`nextPages`, `nextYn`).
        count: records on this page, as the server said (`count`).
        total_count: records on all pages, as the server said (`totalCount`).
        records: the records, in the server's order.
        groups: the ids that this request asked for, or None for all groups.
    """

    date: datetime.date
    number: int
    next_number: int | None
    count: int
    total_count: int
    records: tuple[GroupClicks, ...] = attrs.field(repr=_count)
    groups: tuple[int, ...] | None


@attrs.frozen
class Day(_Records):
    """A whole date: all its pages, checked. `len(day)` and iteration go over its records.

    Args:
        date: the date.
        total_count: how many records the server said there are.
        records: all of them, in the server's order.
        fetched_at: the moment before the first page was asked for (aware, UTC).
        groups: the ids that were asked for, or None for all groups.
        problems: what `check="warn"` accepted, in words; empty otherwise.
    """

    date: datetime.date
    total_count: int
    records: tuple[GroupClicks, ...] = attrs.field(repr=_count)
    fetched_at: datetime.datetime
    groups: tuple[int, ...] | None
    problems: tuple[str, ...]


@attrs.frozen
class Group:
    """A link group as the list of groups describes it.

    Args:
        id: the vendor's `idx`, which is `grpIdx` in clicks by group.
        name: its name (`nm`).
        memo: its note (`memo`); "" if there is none.
        link_count: how many links it holds (`linkCnt`).
    """

    id: int
    name: str
    memo: str
    link_count: int


@attrs.frozen
class GroupTotals:
    """The clicks on one link group over a range of dates, both ends included, each person counted once (v2)."""

    start: datetime.date
    end: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int


@attrs.frozen
class Estimate:
    """What a job would cost: `requests` of the quota, and `seconds` until the last of them may start.

    Of an open client the seconds count from now: what is left of each window, learned limits, and a pause.
    """

    requests: int
    seconds: float


@attrs.frozen
class Stats:
    """What a client has done so far, frozen at the moment it was asked.

    Args:
        requests: requests whose sending began, retries and resends included.
        retries: requests that repeated one that had failed.
        throttled: answers with status 429.
        pages: pages received and decoded.
        records: records on those pages.
        bytes: bytes of body received, after decompression.
        waited: seconds spent waiting for quota, summed over all requests.
        limits: requests and seconds of each window in force: those configured, or lower ones that were learned from
            answers of 429.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    pages: int = 0
    records: int = 0
    bytes: int = 0
    waited: float = 0.0
    limits: tuple[tuple[int, float], ...] = ()
