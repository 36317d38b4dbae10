"""Checks whether the live service is as it is documented, with two or three requests. Provisional.

`examine` sends the requests. `check_answers` checks each assumption from the recorded answers alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateLike, parse_date
from clicksgroup.doctor.checks import Finding, Verdict, check_answers, read_pages
from clicksgroup.doctor.recording import Answer, Recorder
from clicksgroup.errors import PaginationError, PaginationWarning, RequestError
from clicksgroup.protocol import PAGE_SIZE, PageResponse

__all__ = ["REQUESTS", "Answer", "Finding", "Recorder", "Verdict", "check_answers", "examine"]

REQUESTS = 3
"""The most requests that `examine` sends."""


async def examine(
    client: ClicksClient, recorder: Recorder, date: DateLike, *, groups: Iterable[int] | None = None
) -> list[Finding]:
    """Ask for the first page of a date, for the last if there are several, and for the first again. Then check all.

    Args:
        client: a client with `check="warn"`, without retries if no more than `REQUESTS` are to be sent. It borrows a
            session that has `recorder` among its middlewares.
        recorder: the recorder of that session.
        date: a date that is over, because the counts of others may change between two answers.
        groups: the ids to ask for, no more than fit one request; None for all groups.

    Raises:
        ConfigurationError: the date or the groups are refused.
        TransportError: there was no answer to the first request. Later ones that fail leave fewer answers to check.
        RateLimitError: the quota is paused, so nothing was sent.
        DecodeError: a body is too large to be a page.
    """
    date = parse_date(date)
    ids = None if groups is None else tuple(groups)

    async def ask(number: int) -> bool:
        """Ask for a page. False if its answer shows that asking for more is useless."""
        try:
            await client.page(date, number, groups=ids)
        except RequestError as error:
            if not recorder.answers:
                raise
            return isinstance(error, PaginationError)
        return True

    with warnings.catch_warnings():
        # The findings report what these warnings say.
        warnings.simplefilter("ignore", PaginationWarning)
        if await ask(1):
            last = max(map(_pages_of_date, read_pages(recorder.answers)), default=1)
            if last == 1 or await ask(last):
                await ask(1)
    return check_answers(recorder.answers, ids)


def _pages_of_date(page: PageResponse) -> int:
    if page.extra.nextYn != "Y":
        return max(-(-page.extra.totalCount // PAGE_SIZE), 1)
    return max(-(-page.extra.totalCount // (len(page.records) or PAGE_SIZE)), 2)
