"""A page of many records is checked in time that grows with its size, not with its square."""

from __future__ import annotations

import datetime

import pytest

from clicksgroup import GroupClicks, PaginationError, PaginationWarning
from clicksgroup.protocol import Check, Extra, PageResponse, Paginator, Query

DATE = datetime.date(2025, 1, 3)
SIZE = 30_000
PER_RECORD = 10
"""Comparisons of ids that a check may make for each record. One by one there would be 15,000."""


class GroupId(int):
    """An id that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        GroupId.comparisons += 1
        # Fails here, since to go on could take minutes.
        assert GroupId.comparisons <= PER_RECORD * SIZE, "too many comparisons"
        return int(self) == other

    __hash__ = int.__hash__


def records_of(ids: list[int]) -> list[GroupClicks]:
    return [GroupClicks(DATE, GroupId(number), "name", 2, 1) for number in ids]


@pytest.mark.parametrize("check", ["strict", "warn"])
@pytest.mark.parametrize("repeated", [1, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("earlier", [False, True], ids=["of this page", "of the page before"])
def test_one_repeat(check: Check, repeated: int, earlier: bool) -> None:
    """A last record that repeats another one is found, and named, in a few comparisons for each record."""
    GroupId.comparisons = 0
    paginator = Paginator([Query(DATE, DATE)], None, check)
    pages = [list(range(1, SIZE + 1)), list(range(SIZE + 1, 2 * SIZE + 1))]
    pages[1][-1] = repeated if earlier else SIZE + repeated
    accept(paginator, pages[0], "Y")
    found = f"page 2: grpIdx {pages[1][-1]} is listed twice"
    if check == "strict":
        with pytest.raises(PaginationError, match=found):
            accept(paginator, pages[1], "N")
    else:
        with pytest.warns(PaginationWarning, match=found):
            accept(paginator, pages[1], "N")


def accept(paginator: Paginator, ids: list[int], more: str) -> None:
    request = paginator.next_request()
    assert request is not None
    extra = Extra(request.number, more, len(ids), 2 * SIZE, request.number + (more == "Y"))
    paginator.receive(request, PageResponse(request, extra, records_of(ids)))
    assert len(list(paginator.accepted())) == 1
