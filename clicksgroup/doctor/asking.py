"""Asking: each answer is kept as it came, while the client does all that it does for any request."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable
from typing import Any

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientHandlerType

from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateLike, parse_date
from clicksgroup.doctor.checks import UNREADABLE, judge
from clicksgroup.doctor.evidence import at, field, is_whole_like, load
from clicksgroup.doctor.findings import Answer, Finding, Verdict
from clicksgroup.errors import PaginationError, PaginationWarning, RequestError, TransportError
from clicksgroup.protocol.requests import PAGE_SIZE

REQUESTS = 3
"""The most that `examine` sends."""


class Recorder:
    """A middleware for an aiohttp session that keeps each answer as it came; `answers` are in their order."""

    def __init__(self) -> None:
        self._kept: list[tuple[Answer, bytes, bytearray]] = []  # its body still to come, with the key in it

    @property
    def answers(self) -> list[Answer]:
        """What has come so far, the key redacted where the server echoes it."""
        return [
            attrs.evolve(answer, body=bytes(body).replace(key, b"***") if key else bytes(body))
            for answer, key, body in self._kept
        ]

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        copied = _Copied(response.content)
        response.content = copied  # type: ignore[assignment]
        headers = {name.lower(): value for name, value in response.headers.items()}
        page = int(request.url.query.get("pages", "1"))
        received_at = datetime.datetime.now(datetime.UTC).timestamp()
        key = request.headers.get("Authorization", "").removeprefix("APIKey ").encode()
        self._kept.append((Answer(page, response.status, headers, b"", received_at), key, copied.body))
        return response


async def examine(
    client: ClicksClient, recorder: Recorder, date: DateLike, *, groups: Iterable[int] | None = None
) -> list[Finding]:
    """Ask for the first page of a date, for the last if there are several, for the first again, and judge.

    Args:
        client: one with `check="warn"`, and without retries if no more than `REQUESTS` are to be sent. It borrows a
            session that has `recorder` among its middlewares.
        recorder: that of the session.
        date: a date that is over, since one that is not may change between two answers.
        groups: the ids to ask for, no more than fit one request; None for all groups.

    Raises:
        ConfigurationError: a date or groups that cannot be right.
        TransportError: there was no answer.
        RateLimitError: the quota is paused, and nothing was sent.
    """
    asked = parse_date(date)
    ids = None if groups is None else tuple(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PaginationWarning)  # the findings say it
        refused = await _refused(client, recorder, asked, 1, ids)
        if refused is None or isinstance(refused, PaginationError):
            last = _last_page(recorder.answers[0])
            for number in (last, 1) if last > 1 else (1,):
                error = await _refused(client, recorder, asked, number, ids)
                refused = refused or error
                if error is not None and not isinstance(error, PaginationError):
                    break
    findings = judge(recorder.answers, ids)
    if refused is not None and all(finding.verdict is not Verdict.DIFFERS for finding in findings):
        findings.append(Finding("this client reads what comes", Verdict.DIFFERS, str(refused), UNREADABLE))
    return findings


async def _refused(
    client: ClicksClient, recorder: Recorder, date: datetime.date, number: int, groups: tuple[int, ...] | None
) -> RequestError | None:
    """Ask for a page; the error, if the client cannot take what came for one."""
    before = len(recorder.answers)
    try:
        await client.page(date, number, groups=groups)
    except RequestError as error:
        if isinstance(error, TransportError) or len(recorder.answers) == before:  # there is nothing to judge
            raise
        return error
    return None


def _last_page(first: Answer) -> int:
    extra = at(load(first), "result", "extra")
    total, more = field(extra, "totalCount"), field(extra, "nextYn")
    total = int(total) if is_whole_like(total) else 0
    return max(-(-total // PAGE_SIZE), 2 if more == "Y" else 1)


class _Copied:
    """The stream of a body, a copy of which is kept while it is read."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self.body = bytearray()

    async def read(self, n: int = -1) -> bytes:
        chunk = await self._content.read(n)
        self.body += chunk
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)
