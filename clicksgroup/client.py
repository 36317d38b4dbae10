"""`ClicksClient`: from an API key to click records. It puts the other rooms together."""

from __future__ import annotations

import datetime
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp

from clicksgroup.arguments import choice, instance, positive, whole_number
from clicksgroup.dates import DateLike, DatesLike, parse_date, parse_dates
from clicksgroup.errors import ClicksGroupError, ConfigurationError
from clicksgroup.fetching import Fetcher
from clicksgroup.models import Day, Estimate, Group, GroupClicks, GroupTotals, Page, Stats
from clicksgroup.plans import Plan, Quota
from clicksgroup.prefetching import ItemFactory
from clicksgroup.protocol import REREADS, ApiVersion, Check, Decoder, Paginator, QueryPlanner
from clicksgroup.quota.local import local_quota
from clicksgroup.quota.shared import SharedQuota
from clicksgroup.retries import RetryPolicy
from clicksgroup.settings import origin_of, parse_api_key, parse_base_url, request_headers
from clicksgroup.streams import Lifecycle, Stream
from clicksgroup.transport import Counters, Transport

_RECORDS: ItemFactory[Any] = ItemFactory(page=lambda response: response.records)
_PAGES: ItemFactory[Page] = ItemFactory(page=lambda response: [response.page()])


class ClicksClient:
    """Streams click records per link group from Vivoldi's "Clicks by Group" API, within its quota.

    ```python
    async with ClicksClient("my-key", plan="business") as client:
        async for record in client.clicks("2025-01-31"):
            print(record.group_name, record.clicks)
    ```

    Args:
        api_key: the key; else `CLICKSGROUP_API_KEY`.
        plan: the key's plan; else `CLICKSGROUP_PLAN`, else `personal`, which is safe on every plan.
        quota: how many requests may be sent; else the plan's documented figures. A `SharedQuota`
            (`FileQuota`, `RedisQuota`) keeps it together with other processes.
        base_url: where the API is; else `CLICKSGROUP_BASE_URL`, else `https://vivoldi.com`. `http` only to a
            loopback address, or with `allow_http`.
        user_agent: who calls, by company or brand name: the vendor refuses callers it cannot identify. Else
            `CLICKSGROUP_USER_AGENT`, else `clicksgroup/<version>`.
        language: of the vendor's messages: `en` or `ko`.
        session: an aiohttp session to borrow, with its middlewares, traces, proxy and connector. It is left open, and
            our headers win. Without one the client opens its own, without proxy variables, netrc and cookies.
        timeout: seconds for one attempt, from its start to the last byte. Waiting for quota does not count.
        retry: how often and for how long a page is tried.
        check: `"strict"` raises where pages, counts or types are not as documented; `"warn"` takes what loses
            nothing, with a `PaginationWarning` and a line in `Day.problems`, and reads no date again.
        api_version: `"v2"` asks the newer API for one date at a time: the same records.
        allow_http: allow plain `http` to any host. The key then travels unprotected.

    Raises:
        ConfigurationError: an argument that cannot be right; nothing is sent.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        plan: Plan | str | None = None,
        quota: Quota | SharedQuota | None = None,
        base_url: str | None = None,
        user_agent: str | None = None,
        language: str = "en",
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        check: Check = "strict",
        api_version: ApiVersion = "v1",
        allow_http: bool = False,
    ) -> None:
        # The local is replaced or deleted too, since tracebacks may show it.
        try:
            api_key = self._key = parse_api_key(api_key)
        except TypeError:
            del api_key
            raise
        self._headers = request_headers(self._key, user_agent, choice("language", language, "en", "ko"))
        self._base_url = parse_base_url(base_url, allow_http=allow_http)
        self._plan = Plan.parse(plan if plan is not None else os.environ.get("CLICKSGROUP_PLAN") or Plan.PERSONAL)
        quota = Quota.of(self._plan) if quota is None else quota
        self._quota = instance("quota", quota, Quota, SharedQuota, example="Quota((24, 60), in_flight=2)")
        self._given_session = instance("session", session, aiohttp.ClientSession, type(None))
        self._timeout = positive("timeout", timeout)
        self._retry = instance("retry", retry, RetryPolicy, example="RetryPolicy(attempts=3)")
        self._check: Check = choice("check", check, "strict", "warn")
        # One set: a client warns once of each kind of problem.
        self._paginator = functools.partial(Paginator, check=self._check, warned=set())
        self._planner = QueryPlanner(self._plan, choice("api_version", api_version, "v1", "v2"), self._base_url)
        self._counters = Counters()
        self._lifecycle = Lifecycle(self._connect)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the API, such as `https://vivoldi.com:443`: whose clicks these are."""
        return origin_of(self._base_url)

    @property
    def stats(self) -> Stats:
        """What the client has done so far."""
        quota = self._quota_in_use()
        return self._counters.snapshot(quota.limits if isinstance(quota, Quota) else quota.limits_in_force)

    def clicks(
        self, dates: DatesLike, *, groups: Iterable[int] | None = None, ordered: bool = True
    ) -> Stream[GroupClicks]:
        """The records of one date or many, page by page as they arrive.

        Args:
            dates: one date, or any iterable of dates, read lazily.
            groups: the ids to ask for, required on Premium; None for all groups.
            ordered: give the dates in their order; else as they complete.

        Raises:
            ConfigurationError: dates or groups that cannot be right (at once, or, of dates that are read lazily, in
                the stream).
            RequestError: (in the stream) a date failed, after all that came before it has been given.
        """
        return self._lifecycle.stream(_RECORDS, self._paginators(dates, groups), ordered=ordered)

    def pages(
        self, dates: DatesLike, *, groups: Iterable[int] | None = None, ordered: bool = True, start: int = 1
    ) -> Stream[Page]:
        """The pages of one date or many, as they arrive.

        Args:
            dates: as for `clicks`.
            groups: as for `clicks`.
            ordered: as for `clicks`.
            start: the page to begin with, to resume a single date in the middle. That is not held to the total.

        Raises:
            ConfigurationError: as for `clicks`; or a `start` with several dates or a list that must be split.
            RequestError: as for `clicks`.
        """
        return self._lifecycle.stream(_PAGES, self._paginators(dates, groups, start=start), ordered=ordered)

    def days(
        self,
        dates: DatesLike,
        *,
        groups: Iterable[int] | None = None,
        ordered: bool = True,
        failed: dict[datetime.date, ClicksGroupError] | None = None,
    ) -> Stream[Day]:
        """Whole dates, each complete and checked before it is given. A date that moved while it was read is read
        again, twice at most.

        A stream that ended with an error is resumed by asking for the dates that it has not given: in order, the date
        of the error and those after it.

        Args:
            dates: as for `clicks`.
            groups: as for `clicks`.
            ordered: as for `clicks`.
            failed: a date that fails is noted here with its error and left out, and the stream goes on. An error that
                every date would meet (`stops_all`) still ends it.

        Raises:
            ConfigurationError: as for `clicks`.
            RequestError: as for `clicks`.
        """

        def note(paginator: Paginator, error: ClicksGroupError) -> tuple[Day, ...] | None:
            if failed is None or error.stops_all:
                return None
            failed[paginator.date] = error
            return ()

        factory: ItemFactory[Day] = ItemFactory(date=lambda paginator: [paginator.day()], failure=note)
        return self._lifecycle.stream(factory, self._paginators(dates, groups, rereads=REREADS), ordered=ordered)

    async def page(self, date: DateLike, number: int = 1, *, groups: Iterable[int] | None = None) -> Page:
        """One page: one request, besides retries.

        Callers that ask for the same page at the same time share one request.

        Raises:
            ConfigurationError: a date, number or groups that cannot be right, or a list that must be split.
            RequestError: it cannot be had.
        """
        day, ids = parse_date(date), self._planner.group_ids(groups)
        queries = self._planner.clicks(day, ids)
        if len(queries) > 1:
            raise ConfigurationError(
                f"groups: {len(ids or ())} ids do not fit into one request, so there is no single page {number}; ask "
                "for fewer, or use pages, clicks or day"
            )
        start = whole_number("number", number)
        paginator = self._paginator(queries, ids, start=start, single=True)
        key = ("page", day, number, ids)
        return await self._lifecycle.ask(key, lambda: self._lifecycle.stream(_PAGES, iter([paginator])))

    async def day(self, date: DateLike, *, groups: Iterable[int] | None = None) -> Day:
        """One whole date, checked. One that moved while it was read is read again, twice at most.

        Callers that ask for the same date at the same time share its requests.

        Raises:
            ConfigurationError: a date or groups that cannot be right.
            RequestError: it cannot be had.
        """
        day, ids = parse_date(date), self._planner.group_ids(groups)
        return await self._lifecycle.ask(("day", day, ids), lambda: self.days(day, groups=ids))

    def totals(self, start: DateLike, end: DateLike, *, groups: Iterable[int] | None = None) -> Stream[GroupTotals]:
        """Clicks and unique users of each group over a range, both dates included, always from v2.

        Each person counts once over the whole range, which no sum over dates can give. For that reason a range
        longer than the plan allows (Personal 7 days, Premium 14, else a month, taken as 31 days) is refused, never
        split.

        Raises:
            ConfigurationError: a range the plan does not allow, dates or groups that cannot be right.
            RequestError: (in the stream) a page cannot be had.
        """
        paginator = self._paginator(self._planner.totals(start, end, groups), None)
        return self._lifecycle.stream(_RECORDS, iter([paginator]))

    def groups(self, *, name: str | None = None) -> Stream[Group]:
        """The account's link groups, or those whose name contains `name`: where group ids come from.

        Its requests count against the quota like all others.

        Raises:
            RequestError: (in the stream) a page cannot be fetched.
        """
        paginator = self._paginator(self._planner.list_groups(name), None)
        return self._lifecycle.stream(_RECORDS, iter([paginator]))

    def estimate(
        self, dates: DatesLike, *, groups: Iterable[int] | None = None, group_count: int | None = None
    ) -> Estimate:
        """What a job would cost, before any request is spent.

        >>> from clicksgroup import ClicksClient, date_range
        >>> client = ClicksClient("my-key", plan="business")
        >>> client.estimate(date_range("2025-01-01", "2025-12-31"), group_count=100)
        Estimate(requests=1460, seconds=3600.0)

        Args:
            dates: the dates of the job; they are counted, so they must end.
            groups: the ids that the job will ask for. Groups without clicks may not be listed, so it can cost less.
            group_count: how many groups a date lists. With neither, a date is taken to be one page.

        Raises:
            ConfigurationError: dates or groups that cannot be right.
        """
        requests = sum(1 for _ in parse_dates(dates)) * self._planner.requests_per_date(groups, group_count)
        quota = self._quota_in_use()
        until = quota.seconds_for if isinstance(quota, Quota) else quota.seconds_until
        return Estimate(requests, until(requests))

    def day_outcomes(
        self,
        dates: DatesLike,
        *,
        groups: Iterable[int] | None = None,
        fatal: Callable[[datetime.date, ClicksGroupError], bool],
    ) -> Stream[tuple[datetime.date, Day | ClicksGroupError]]:
        """Whole dates as they complete, those that fail as their errors: for a job that stores each. Provisional.

        No look-ahead here: dates that were fetched but not stored would be lost, with the quota they cost, if the
        process dies.

        Args:
            dates: the dates of the job.
            groups: the ids to ask for, or None for all groups.
            fatal: called as soon as a failure is known, before another request is sent. If it returns True, the
                stream ends by raising that error, after all that is complete has been given.
        """
        paginators = self._paginators(dates, groups, rereads=REREADS)
        factory: ItemFactory[tuple[datetime.date, Day | ClicksGroupError]] = ItemFactory(
            date=lambda paginator: [(paginator.date, paginator.day())],
            failure=lambda paginator, error: None if fatal(paginator.date, error) else [(paginator.date, error)],
            look_ahead=0,
        )
        return self._lifecycle.stream(factory, paginators, ordered=False)

    async def open(self) -> Self:
        """Open the client where there is no block for `async with`, such as in a notebook; `aclose` closes it.

        Raises:
            ClientClosedError: it was opened before.
            ConfigurationError: another quota is kept for its key, or its session is closed.
            QuotaUnavailableError: the quota that it shares cannot be opened.
        """
        await self._lifecycle.open()
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all streams and requests, and close the session, unless it was borrowed. More than once is fine."""
        await self._lifecycle.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_lifecycle"):
            return "<ClicksClient: its arguments were refused>"
        fetcher = self._lifecycle.fetcher
        state = "closed" if self._lifecycle.closed else "not opened" if fetcher is None else f"open, {fetcher.quota!r}"
        return f"<ClicksClient {self._base_url}, {self._plan.label}: {state}>"

    def _quota_in_use(self) -> Quota | SharedQuota:
        fetcher = self._lifecycle.fetcher
        return self._quota if fetcher is None else fetcher.quota

    async def _connect(self, exits: AsyncExitStack) -> Fetcher:
        if isinstance(self._quota, SharedQuota):
            quota = self._quota
        else:
            digest = hashlib.sha256(self._key.encode()).hexdigest()
            quota = local_quota(self._quota, (self.origin, digest))
        await exits.enter_async_context(quota)
        session = self._given_session
        if session is None:
            session = await exits.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        elif session.closed:
            raise ConfigurationError("session: it is closed already; open the client before the session is closed")
        decoder = Decoder(self._check, self._key.redact)
        transport = Transport(session, self._base_url, self._headers, decoder, self._counters)
        return Fetcher(transport, quota, self._retry, self._timeout)

    def _paginators(
        self, dates: DatesLike, groups: Iterable[int] | None, *, start: int = 1, rereads: int | None = None
    ) -> Iterator[Paginator]:
        days, ids = parse_dates(dates), self._planner.group_ids(groups)
        if whole_number("start", start) > 1 and not (isinstance(days, Sized) and len(days) == 1):
            raise ConfigurationError(f"start: {start}: only a single date can be resumed in the middle")
        if start > 1 and len(self._planner.clicks(datetime.date.min, ids)) > 1:
            raise ConfigurationError(f"start: {start}: the list of groups must be split, so pages begin again")
        return (self._paginator(self._planner.clicks(day, ids), ids, start=start, rereads=rereads) for day in days)
