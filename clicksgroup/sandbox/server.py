"""The sandbox: a real HTTP server on this machine that stands in for the vendor's."""

from __future__ import annotations

import asyncio
import datetime
import functools
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
import orjson
from aiohttp import web
from multidict import CIMultiDict

from clicksgroup.dates import DateLike, parse_date
from clicksgroup.models import GroupClicks, GroupTotals
from clicksgroup.plans import Plan, Quota
from clicksgroup.sandbox.clicks import Clicks
from clicksgroup.sandbox.faults import Fault, Faults, scripted
from clicksgroup.sandbox.rate_limiter import RateLimiter, Verdict
from clicksgroup.sandbox.replies import cut_short, html_reply, json_reply, reset
from clicksgroup.sandbox.rules import LONGEST_URL, identifies_caller, page_envelope, refusal
from clicksgroup.sandbox.seen import V1_PATH, V2_PATH, SeenRequest, see

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient

SANDBOX_KEY = "sandbox-key"

_PAGES_KEPT = 4096  # encoded, about 2 KiB each
_SHUTDOWN_SECONDS = 0.05  # what a request that is still open gets before it is cut off
_LONGEST_LINE = 65_536  # of a request: aiohttp's own limit is a 400, and comes before the 414 that is wanted


class Sandbox:
    """A local server that behaves as the vendor's API is documented to, with believable clicks.

    It checks the key, the User-Agent and the plan's rules, keeps the plan's quota by a strict sliding window (429 to
    what goes over it, and to what is too many in flight), and answers v1 and v2 in pages of 30. What it turns away,
    with a 401, 403, 404, 405, 414 or 429, does not count against the quota. Without `latency` it answers at once, so
    that two requests are seldom open together.

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
        groups: how many groups each date lists, or a callable of the date that says so (at most 10,000).
        plan: whose rules hold.
        seed: same seed, same clicks for ever.
        latency: seconds that every answer takes, or a callable of the request that says so.
        quota: what is enforced; None for the plan's documented quota.
        faults: what goes wrong: `Fault`s, of which the first that hits a request counts, or a callable that is given
            each request (`SeenRequest`) and returns a `Fault` or None.
        host: the address to listen on.
        port: the port to listen on; 0 for any that is free.
        api_key: the key it accepts.
        retry_after: whether a 429 of the quota says when there will be room again. The vendor does not document it.

    Raises:
        ConfigurationError: no such plan, or a number of groups that cannot be.
    """

    def __init__(
        self,
        groups: int | Callable[[datetime.date], int] = 95,
        plan: Plan | str = "business",
        seed: int = 0,
        latency: float | Callable[[SeenRequest], float] = 0.0,
        quota: Quota | None = None,
        faults: Faults | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        retry_after: bool = False,
    ) -> None:
        self.plan = Plan.parse(plan)
        self.quota = quota or Quota.of(self.plan)
        self.api_key = api_key or SANDBOX_KEY
        self._clicks = Clicks(seed, groups)
        self._encoded = functools.lru_cache(maxsize=_PAGES_KEPT)(self._encode)
        self._latency = latency
        self._fault_for = scripted(faults)
        self._host, self._port = host, port
        self._retry_after = retry_after
        self._rate_limiter = RateLimiter(self.quota)
        self._requests: list[SeenRequest] = []
        self._attempts: dict[tuple[object, ...], int] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._runner: web.ServerRunner | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:49152`; the client's `base_url`."""
        if self._url is None:
            raise RuntimeError("the sandbox is not running: enter it with `async with` first")
        return self._url

    @property
    def requests(self) -> list[SeenRequest]:
        """What it has seen so far, in the order of arrival, refused requests included: a new list each time."""
        return list(self._requests)

    @property
    def in_flight(self) -> int:
        """How many requests that the quota let in are open now."""
        return self._rate_limiter.in_flight

    @property
    def in_flight_peak(self) -> int:
        """The most requests that were open at once; what was refused for being too many is not counted."""
        return self._rate_limiter.in_flight_peak

    def truth(self, date: DateLike) -> list[GroupClicks]:
        """All records of a date as the server lists them. No server need run."""
        return list(self._clicks.records(parse_date(date)))

    def truth_totals(self, start: DateLike, end: DateLike) -> list[GroupTotals]:
        """All records of a v2 range, both ends included, as the server lists them. No server need run."""
        return self._clicks.totals(parse_date(start, "start"), parse_date(end, "end"))

    def client(self, **kwargs: Any) -> ClicksClient:
        """A client for this server: its URL, key, plan and quota, and whatever else `ClicksClient` takes.

        The quota is given because a plan's own would make a fast sandbox slow, and a faster one than the sandbox's
        would be answered with 429.
        """
        from clicksgroup.client import ClicksClient

        return ClicksClient(**{
            "api_key": self.api_key, "base_url": self.url, "plan": self.plan, "quota": self.quota, **kwargs
        })  # fmt: skip

    async def wait_for_requests(self, count: int) -> None:
        """Return when that many requests have arrived since the beginning: a test need not sleep."""
        if len(self._requests) < count:
            arrived = asyncio.get_running_loop().create_future()
            self._waiters.append((count, arrived))
            await arrived

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already")
        server = web.Server(self._handle, access_log=None, max_line_size=_LONGEST_LINE)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._stop()
            raise
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def __repr__(self) -> str:
        return f"<Sandbox {self.plan.value} {self._url if self._runner is not None else 'not running'}>"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        seen = see(request.path, request.query, request.headers.get("User-Agent", ""), now)
        index = self._arrived(seen)
        refused = self._turned_away(request, seen)
        if refused is not None:
            self._requests[index] = attrs.evolve(seen, status=refused.status)
            return refused
        try:
            attempt = self._attempts[seen.question] = self._attempts.get(seen.question, 0) + 1
            seen = self._requests[index] = attrs.evolve(seen, attempt=attempt)
            fault = self._fault_for(seen)
            delay = (self._latency(seen) if callable(self._latency) else self._latency) + (fault.delay if fault else 0)
            if delay > 0:
                await asyncio.sleep(delay)
            if fault is not None and fault.reset:
                return reset(request)
            response = self._answer(seen, request.headers.get("Accept-Language", ""), fault)
            self._requests[index] = attrs.evolve(seen, status=response.status)
        finally:
            self._rate_limiter.leave()
        if fault is not None and fault.cut is not None:
            return await cut_short(request, response, fault.cut)
        return response

    def _arrived(self, seen: SeenRequest) -> int:
        self._requests.append(seen)
        due = [waiter for waiter in self._waiters if waiter[0] <= len(self._requests)]
        for waiter in due:
            self._waiters.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)
        return len(self._requests) - 1

    def _turned_away(self, request: web.BaseRequest, seen: SeenRequest) -> web.Response | None:
        """The answer to a request that the API itself never sees; None if it gets through, and is in flight."""
        if len(self.url) + len(request.raw_path) > LONGEST_URL:
            return html_reply(414)
        if seen.path not in (V1_PATH, V2_PATH):
            return html_reply(404)
        if request.method != "GET":
            return html_reply(405, {"Allow": "GET"})
        if not identifies_caller(seen.user_agent):
            return html_reply(403)
        if request.headers.get("Authorization") != f"APIKey {self.api_key}":
            return web.Response(status=401)
        verdict = self._rate_limiter.arrive(seen.at)
        if verdict is Verdict.ADMITTED:
            return None
        # What the body of a 429 holds is not documented: clients must take both.
        headers = {}
        if self._retry_after:
            headers["Retry-After"] = str(max(1, math.ceil(self._rate_limiter.seconds_until_room(seen.at))))
        return html_reply(429, headers) if verdict is Verdict.WINDOW_FULL else web.Response(status=429, headers=headers)

    def _answer(self, seen: SeenRequest, language: str, fault: Fault | None) -> web.Response:
        if fault is None:
            return json_reply(self._body(seen, language))
        headers = CIMultiDict({} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)})
        headers.update(fault.headers or {})
        status = fault.status or (200 if fault.retry_after is None else 429)
        if fault.body is not None:
            return json_reply(fault.body.encode() if isinstance(fault.body, str) else fault.body, status, headers)
        if fault.change is not None:
            return json_reply(orjson.dumps(fault.change(orjson.loads(self._body(seen, language)))), status, headers)
        if fault.status is not None or fault.retry_after is not None:
            return html_reply(status, headers)
        return json_reply(self._body(seen, language), status, headers)

    def _body(self, seen: SeenRequest, language: str) -> bytes:
        broken = refusal(seen, self.plan)
        if broken is not None:
            return orjson.dumps(broken.envelope(language))
        date, end, page = seen.date, seen.end, seen.page
        assert date is not None
        assert end is not None
        assert page is not None
        if date == end and seen.groups is None:
            return self._encoded(date, self._clicks.count(date), page)
        records: Sequence[GroupClicks | GroupTotals] = (
            self._clicks.records(date) if date == end else self._clicks.totals(date, end)
        )
        if seen.groups is not None:
            wanted = frozenset(seen.groups)
            records = [record for record in records if record.group_id in wanted]
        return orjson.dumps(page_envelope(records, page))

    def _encode(self, date: datetime.date, count: int, page: int) -> bytes:
        return orjson.dumps(page_envelope(self._clicks.listing(date, count), page))
