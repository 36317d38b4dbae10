"""The sandbox: a real HTTP server on this machine in place of the vendor's."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import attrs
import orjson
from aiohttp import web

from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateLike, date_range, parse_date
from clicksgroup.models import Group, GroupClicks, GroupTotals
from clicksgroup.plans import Plan, Quota
from clicksgroup.sandbox import api, clicks
from clicksgroup.sandbox.api import Fault, SeenRequest

# Seconds that open requests get when the server stops.
_SHUTDOWN_TIMEOUT = 0.05

# aiohttp answers longer request lines with 400 before the sandbox can answer with 414.
_MAX_LINE = 65_536


class Sandbox:
    """A local server that behaves as the vendor documents its API, with believable clicks.

    It checks the key, the User-Agent and the plan's rules. It enforces the quota by strict sliding windows and a cap
    on requests in flight, and rejects others with 429. It answers clicks by group v1 and v2, and the
    list of groups, in pages of 30. Requests rejected with 401, 403, 404, 405, 414 or 429 do not count against the
    quota. Without `latency` it answers at once, so that two requests are rarely in flight together.

    >>> import asyncio
    >>> from clicksgroup import Quota
    >>> from clicksgroup.sandbox import Sandbox
    >>> async def main():
    ...     async with Sandbox(groups=40, quota=Quota(in_flight=2)) as sandbox:
    ...         async with sandbox.client() as client:
    ...             day = await client.day("2025-01-03")
    ...         assert list(day) == sandbox.truth("2025-01-03")
    ...         return [(request.page, request.status) for request in sandbox.requests]
    >>> asyncio.run(main())
    [(1, 200), (2, 200)]

    Args:
        groups: how many groups each date lists, at most 10,000: a number, or a function of the date.
        plan: the plan whose rules hold.
        seed: the same seed gives the same clicks, in every version.
        latency: seconds before each response: a number, or a function of the request (`SeenRequest`).
        quota: the quota to enforce; None for the plan's documented quota.
        faults: what goes wrong: `Fault`s, of which the first that hits a request happens to it, or a function of the
            request that returns a `Fault` or None.
        port: the port to listen on; 0 for any free port.
        api_key: the key to accept.
        ignores_groups: whether it answers with all groups whichever were asked for, as a server that reads `grpIdx`
            instead of `grpIdxList` would.
        retry_after: whether the sandbox's own 429s have a `Retry-After`. The vendor does not document it.

    Raises:
        ConfigurationError: an unknown plan, or an impossible number of groups.
    """

    def __init__(
        self,
        groups: int | Callable[[datetime.date], int] = 95,
        plan: Plan | str = "business",
        seed: int = 0,
        latency: float | Callable[[SeenRequest], float] = 0.0,
        quota: Quota | None = None,
        faults: Iterable[Fault] | Callable[[SeenRequest], Fault | None] | None = None,
        *,
        port: int = 0,
        api_key: str = "sandbox-key",
        ignores_groups: bool = False,
        retry_after: bool = False,
    ) -> None:
        self.plan = Plan.parse(plan)
        self.quota = quota or Quota.of(self.plan)
        self.api_key = api_key
        if not callable(groups):
            clicks.check_count(groups)
        self._groups: Callable[[datetime.date], int] = groups if callable(groups) else lambda _: groups
        self._seed = seed
        # The pages of a date are asked for one after the other.
        self._records = functools.lru_cache(maxsize=64)(functools.partial(clicks.generate_records, seed))
        self._latency = latency
        self._faults = faults if callable(faults) else tuple(faults or ())
        self._port = port
        self._ignores_groups = ignores_groups
        self._retry_after = retry_after
        self._rate_limiter = api.RateLimiter(self.quota)
        self._requests: list[SeenRequest] = []
        self._attempts: Counter[tuple[object, ...]] = Counter()
        self._next_arrival = asyncio.Event()
        # Both None unless it runs.
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._url: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:49152`; the client's `base_url`."""
        if self._url is None:
            raise RuntimeError("the sandbox is not running; enter it first: async with Sandbox() as sandbox")
        return self._url

    @property
    def requests(self) -> list[SeenRequest]:
        """All requests so far, in the order of arrival, rejected ones included. A new list each time."""
        return list(self._requests)

    @property
    def in_flight(self) -> int:
        """How many admitted requests are open now."""
        return self._rate_limiter.in_flight

    @property
    def in_flight_peak(self) -> int:
        """The most admitted requests that were open at once."""
        return self._rate_limiter.in_flight_peak

    def truth(self, date: DateLike) -> list[GroupClicks]:
        """All records of a date in the server's order. The server need not run."""
        date = parse_date(date)
        return list(self._records(date, self._groups(date)))

    def truth_totals(self, start: DateLike, end: DateLike) -> list[GroupTotals]:
        """All records of a v2 range, both ends included, in the server's order. The server need not run."""
        dates = date_range(parse_date(start, "start"), parse_date(end, "end"))
        return clicks.sum_by_group(dates, (record for date in dates for record in self.truth(date)))

    def truth_groups(self, name: str | None = None) -> list[Group]:
        """The account's groups, or those whose name contains `name`, in the server's order. The server need not run.

        They are the groups that the dates of 2025 to 2027 list; where their number is a function of the date, those of
        its largest number.
        """
        return [group for group in self._account if name is None or name in group.name]

    @functools.cached_property
    def _account(self) -> list[Group]:
        return clicks.generate_account(self._seed, max(map(self._groups, clicks.ACCOUNT_DATES)))

    def client(self, **kwargs: Any) -> ClicksClient:
        """A client with this server's URL, key, plan and quota. Other arguments are those of `ClicksClient`."""
        ours: dict[str, Any] = {"api_key": self.api_key, "base_url": self.url, "plan": self.plan, "quota": self.quota}
        return _SandboxClient(**(ours | kwargs))

    async def wait_for_requests(self, count: int) -> None:
        """Wait until that many requests have arrived since the sandbox was made, so that a test need not sleep.

        It may be called from the event loop of another thread.
        """
        if self._loop in (None, asyncio.get_running_loop()):
            await self._wait_for_requests(count)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._wait_for_requests(count), self._loop))

    async def _wait_for_requests(self, count: int) -> None:
        while len(self._requests) < count:
            await self._next_arrival.wait()

    async def __aenter__(self) -> Self:
        if self._web is not None:
            raise RuntimeError("the sandbox is already running; enter it only once")
        self._loop = asyncio.get_running_loop()
        self._web = web.Server(self._handle, access_log=None, max_line_size=_MAX_LINE)
        try:
            self._server = await self._loop.create_server(self._web, "127.0.0.1", self._port)
        except BaseException:
            self._web = None
            raise
        self._url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        server, connections = self._server, self._web
        self._server = self._web = None
        if server is not None and connections is not None:
            server.close()
            # Requests that have arrived are handled before idle connections are closed.
            await asyncio.sleep(0)
            connections.pre_shutdown()
            await connections.shutdown(_SHUTDOWN_TIMEOUT)

    def __repr__(self) -> str:
        return f"<Sandbox {self.plan.value} {'not running' if self._server is None else self._url}>"

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        now = asyncio.get_running_loop().time()
        seen = SeenRequest.parse(request.path, request.query, request.headers.get("User-Agent", ""), now)
        index = len(self._requests)
        self._requests.append(seen)
        self._next_arrival.set()
        self._next_arrival = asyncio.Event()
        rejected = self._reject(request, seen)
        if rejected is not None:
            self._requests[index] = attrs.evolve(seen, status=rejected.status)
            return rejected
        try:
            self._attempts[seen.page_key] += 1
            seen = self._requests[index] = attrs.evolve(seen, attempt=self._attempts[seen.page_key])
            fault = self._fault_for(seen)
            delay = (self._latency(seen) if callable(self._latency) else self._latency) + (fault.delay if fault else 0)
            if delay > 0:
                await asyncio.sleep(delay)
            if fault is not None and fault.reset:
                if request.transport is not None:
                    request.transport.abort()
                # For aiohttp, which cannot send it any more.
                return web.Response()
            page = self._page(seen, request.headers.get("Accept-Language", ""))
            response = api.page_response(page) if fault is None else fault.response(page)
            self._requests[index] = attrs.evolve(seen, status=response.status)
            return response
        finally:
            self._rate_limiter.release()

    def _fault_for(self, seen: SeenRequest) -> Fault | None:
        if callable(self._faults):
            return self._faults(seen)
        return next((fault for fault in self._faults if fault.hits(seen)), None)

    def _reject(self, request: web.BaseRequest, seen: SeenRequest) -> web.Response | None:
        """The response to a request that does not reach the API. None if it does: then it is in flight."""
        if len(self.url) + len(request.raw_path) > api.MAX_URL_LENGTH:
            return api.html_response(414)
        if seen.path not in (api.V1_PATH, api.V2_PATH, api.GROUPS_PATH):
            return api.html_response(404)
        if request.method != "GET":
            return api.html_response(405, {"Allow": "GET"})
        if not api.identifies_caller(seen.user_agent):
            return api.html_response(403)
        if request.headers.get("Authorization") != f"APIKey {self.api_key}":
            return web.Response(status=401)
        if self._rate_limiter.acquire(seen.at):
            return None
        wait = self._rate_limiter.seconds_until_room(seen.at)
        headers = {"Retry-After": str(max(1, math.ceil(wait)))} if self._retry_after else {}
        # The body of a 429 is not documented, so there are two kinds of them here.
        return api.html_response(429, headers) if wait > 0 else web.Response(status=429, headers=headers)

    def _page(self, seen: SeenRequest, language: str) -> bytes:
        rejected = api.rejection(seen, self.plan)
        if rejected is not None:
            code, english, korean = rejected
            message = korean if language.lower().startswith("ko") else english
            return orjson.dumps({"code": code, "message": message, "result": None})
        assert seen.page is not None
        return orjson.dumps(api.page_envelope(self._rows(seen), seen.page))

    def _rows(self, seen: SeenRequest) -> Sequence[GroupClicks | GroupTotals | Group]:
        """All rows that answer a request, on whichever page."""
        if seen.path == api.GROUPS_PATH:
            groups = self.truth_groups(seen.name)
            return groups if seen.groups is None else [group for group in groups if group.id in seen.groups]
        assert seen.date is not None
        assert seen.end is not None
        records: Sequence[GroupClicks | GroupTotals] = (
            self.truth(seen.date) if seen.date == seen.end else self.truth_totals(seen.date, seen.end)
        )
        if seen.groups is None or self._ignores_groups:
            return records
        wanted = frozenset(seen.groups)
        return [record for record in records if record.group_id in wanted]


class _SandboxClient(ClicksClient):
    @property
    def origin(self) -> str:
        """The same at whichever port, so that a store that a sandbox filled can be filled again."""
        return "a sandbox"


@contextlib.contextmanager
def run_in_thread(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Run a sandbox on an event loop of its own, in a thread of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    # A daemon, so that an interpreter that exits inside of the block does not wait for it.
    thread = threading.Thread(target=loop.run_forever, name="clicks_sandbox", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sandbox.__aenter__(), loop).result()
        try:
            yield sandbox
        finally:
            asyncio.run_coroutine_threadsafe(sandbox.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
