"""A backfill asks for what is missing, keeps what it stored, and stops when all dates would fail."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import trustme
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup.client import ClicksClient
from clicksgroup.dates import date_range
from clicksgroup.errors import (
    APIError,
    AuthenticationError,
    ClicksGroupError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ForbiddenError,
    QuotaUnavailableError,
    RateLimitError,
    ServerError,
    StatusError,
    StoreError,
    TransportError,
)
from clicksgroup.plans import Quota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from clicksgroup.store import BackfillProgress, ClickStore
from clicksgroup.store.backfill import Clock
from tests.certificates import serving
from tests.store.databases import LONG_AFTER, TempDatabase, make_day
from tests.store.fake_client import FakeClient, Outcome, complete, failing

DATES = date_range("2025-01-01", "2025-01-10")
WHERE: dict[str, Any] = {"date": DATES[4], "page": 1}


async def test_every_date_is_stored_and_reported(store: ClickStore) -> None:
    """A date that is named twice counts once."""
    client = FakeClient()
    report = await store.backfill(client, [*DATES, DATES[0]])
    assert (report.dates, report.fetched, report.skipped, report.failed) == (10, 10, 0, {})
    assert report.requests == 40
    assert [len(day) async for day in store.days(DATES[0], DATES[-1])] == [95] * 10


async def test_nothing_to_do(store: ClickStore) -> None:
    """Once all dates are final, it sends no request."""
    client = FakeClient()
    await store.backfill(client, DATES)
    report = await store.backfill(client, DATES)
    assert (report.requests, report.fetched, report.skipped) == (0, 0, 10)
    assert len(client.asked) == 10


async def test_refresh(store: ClickStore) -> None:
    """`refresh=True` asks for final dates too."""
    client = FakeClient()
    await store.backfill(client, DATES)
    assert (await store.backfill(client, DATES, refresh=True)).fetched == 10


async def test_provisional_dates(store: ClickStore) -> None:
    """Dates that were fetched early or with problems are asked for again."""
    early = datetime.datetime(2025, 1, 3, 11, 0, tzinfo=datetime.UTC)
    for date in DATES[:3]:
        await store.put(make_day(date, {1: 1}, fetched_at=early))
    await store.put(make_day(DATES[3], {1: 1}, problems=("odd",)))
    client = FakeClient()
    await store.backfill(client, DATES[:5])
    assert client.asked == list(DATES[1:5])


async def test_dates_of_groups(store: ClickStore) -> None:
    """With `groups`, only dates that lack one of these are asked for, whether the groups were listed or not."""
    await store.put(make_day(DATES[0], {1: 1}, groups=(1, 2)))
    await store.put(make_day(DATES[1], {1: 1}))
    client = FakeClient()
    await store.backfill(client, DATES[:3], groups=[2, 1, 2])
    assert client.asked == [DATES[2]]
    await store.backfill(client, DATES[:3], groups=[2, 3])
    assert client.asked == [DATES[2], DATES[0], DATES[2]]
    await store.backfill(client, DATES[:3])
    assert client.asked[3:] == [DATES[0], DATES[2]]


async def test_one_date_fails(store: ClickStore) -> None:
    """The others are stored; the failed one is reported, remembered, and asked for the next time."""
    error = DecodeError("page 1: no JSON", date=DATES[4], page=1)
    report = await store.backfill(FakeClient(failing({5: error})), DATES)
    assert (report.fetched, report.failed) == (9, {DATES[4]: error})
    assert await store.failures(DATES[0], DATES[-1]) == {DATES[4]: "DecodeError: page 1: no JSON"}
    client = FakeClient()
    await store.backfill(client, DATES)
    assert client.asked == [DATES[4]]
    assert await store.failures(DATES[0], DATES[-1]) == {}


def certificate_failure() -> TransportError:
    return TransportError("the certificate is not trusted", retryable=False, stops_all=True, **WHERE)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no", status=401, **WHERE),
        ForbiddenError("no", status=403, **WHERE),
        RateLimitError("no", **WHERE),
        ConfigurationError("no"),
        certificate_failure(),
        QuotaUnavailableError("no"),
        ClientClosedError("no"),
        StoreError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_fatal_error(store: ClickStore, error: ClicksGroupError) -> None:
    """An error that all dates would meet ends the job before another request, with everything so far stored."""
    client = FakeClient(failing({5: error}))
    with pytest.raises(type(error)) as caught:
        await store.backfill(client, DATES)
    assert caught.value is error
    assert client.asked == list(DATES[:5])
    assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:4])


async def test_same_failure_three_times(store: ClickStore) -> None:
    """Three consecutive dates that fail in the same way end the job."""
    client = FakeClient(failing({day: APIError("plan", code=7, message="plan", **WHERE) for day in (2, 4, 5, 6)}))
    with pytest.raises(APIError):
        await store.backfill(client, DATES)
    assert client.asked == list(DATES[:6])
    assert (await store.coverage(DATES[0], DATES[-1])).final == [DATES[0], DATES[2]]


async def test_different_failures(store: ClickStore) -> None:
    """Consecutive dates that fail in different ways do not end the job."""
    errors: dict[int, ClicksGroupError] = {
        1: APIError(code=7, **WHERE),
        2: APIError(code=8, **WHERE),
        3: ServerError(status=500, **WHERE),
        4: ServerError(status=503, **WHERE),
        5: TransportError(**WHERE),
        6: TransportError(**WHERE),
    }
    report = await store.backfill(FakeClient(failing(errors)), DATES)
    assert report.failed == {datetime.date(2025, 1, day): error for day, error in errors.items()}
    assert report.fetched == 4


async def test_future_date(database: TempDatabase) -> None:
    """A date is refused until it begins in Kiritimati, at 10:00 UTC of the day before."""
    now = datetime.datetime(2025, 1, 4, 9, 59, 59, tzinfo=datetime.UTC)
    async with database.store(clock=Clock(now=lambda: now)) as store:
        client = FakeClient()
        with pytest.raises(ConfigurationError, match=r"2025-01-05 has not begun .* the latest .* is 2025-01-04"):
            await store.backfill(client, DATES[:5])
        assert client.asked == []
        now += datetime.timedelta(seconds=1)
        assert (await store.backfill(client, DATES[:5])).fetched == 5


async def test_endless_dates(database: TempDatabase) -> None:
    """The first date that is refused ends the reading of dates, which may be endless."""
    read = 0

    def dates() -> Iterator[datetime.date]:
        nonlocal read
        for day in itertools.count():
            read += 1
            yield datetime.date(2025, 1, 1) + datetime.timedelta(days=day)

    now = datetime.datetime(2025, 1, 4, tzinfo=datetime.UTC)
    async with database.store(clock=Clock(now=lambda: now)) as store:
        with pytest.raises(ConfigurationError, match="2025-01-05 has not begun"):
            await store.backfill(FakeClient(), dates())
    assert read == 5


async def test_eta_at_a_steady_pace(database: TempDatabase) -> None:
    """At one date a minute, the ETA is a minute for each date that is left."""
    now = 0.0

    def a_minute_each(date: datetime.date, groups: tuple[int, ...] | None) -> Outcome:
        nonlocal now
        now += 60.0
        return complete(date, groups)

    seen: list[BackfillProgress] = []
    async with database.store(clock=Clock(monotonic=lambda: now)) as store:
        await store.put(make_day(DATES[0], {1: 1}))
        await store.backfill(FakeClient(a_minute_each), DATES, progress=seen.append)
    assert [(p.date, p.done, p.total, p.requests, p.seconds, p.eta) for p in seen] == [
        (DATES[n], n + 1, 10, n * 4, n * 60.0, (9 - n) * 60.0) for n in range(1, 10)
    ]


async def test_eta_after_a_burst(database: TempDatabase) -> None:
    """The quota lets the first requests pass at once, so the ETA is what the quota allows for those that are left."""
    seen: list[BackfillProgress] = []
    async with database.store(clock=Clock(monotonic=lambda: 0.0)) as store:
        await store.backfill(FakeClient(seconds_per_request=2.5), DATES, progress=seen.append)
    assert [p.eta for p in seen] == [(9 - n) * 4 * 2.5 for n in range(10)]


async def test_progress_raises(store: ClickStore) -> None:
    """An exception of the callback ends the job, and the date that was just stored is kept."""

    def fail_at_the_third(progress: BackfillProgress) -> None:
        if progress.done == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.backfill(FakeClient(), DATES, progress=fail_at_the_third)
    assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:3])


async def test_cancelled_in_a_transaction(database: TempDatabase) -> None:
    """A backfill that is cancelled while it stores the third date keeps that date."""
    engine = create_async_engine(database.url)
    client = FakeClient()

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def cancel(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if len(client.asked) == 3 and statement.startswith("INSERT") and not job.cancelling():
            job.cancel()

    async with ClickStore(engine, schema=database.schema) as store:
        job = asyncio.ensure_future(store.backfill(client, DATES))
        with pytest.raises(asyncio.CancelledError):
            await job
        assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:3])
    await engine.dispose()


async def test_count_does_not_fit(store: ClickStore) -> None:
    """A number beyond 64 bits fails its own date; the others are stored."""

    def huge(date: datetime.date, groups: tuple[int, ...] | None) -> Outcome:
        return make_day(date, {1: 2**64 if date.day == 5 else 1}, groups=groups)

    report = await store.backfill(FakeClient(huge), DATES)
    assert (report.fetched, list(report.failed)) == (9, [DATES[4]])


async def test_two_backfills_at_once(database: TempDatabase) -> None:
    """Neither fails, and the store holds each record once."""
    async with database.store() as a, database.store() as b:
        clients = FakeClient(), FakeClient()
        reports = await asyncio.gather(a.backfill(clients[0], DATES), b.backfill(clients[1], reversed(DATES)))
        assert [report.failed for report in reports] == [{}, {}]
        records = [record async for record in a.clicks(DATES[0], DATES[-1])]
    assert records == [record for date in DATES for record in complete(date, None)]


async def test_groups_disappear(store: ClickStore) -> None:
    """Groups that the vendor no longer lists are deleted when the date is fetched again."""
    early = datetime.datetime(2025, 1, 1, 12, tzinfo=datetime.UTC)
    await store.put(make_day(DATES[0], {1: 1, 2: 2, 3: 3}, fetched_at=early))
    answer = make_day(DATES[0], {2: 5}, fetched_at=LONG_AFTER)
    await store.backfill(FakeClient(lambda *_: answer), DATES[0])
    assert [record.group_id async for record in store.clicks(DATES[0], DATES[0])] == [2]


class TestWithSandbox:
    """With the real client, against the sandbox."""

    async def test_failures_out_of_order(self, store: ClickStore) -> None:
        """Failures that end one after the other, but of dates that are not consecutive, do not end the job.

        With many requests in flight, each third date fails at its first page, before its neighbours are complete.
        """

        def fail_each_third(seen: SeenRequest) -> Fault | None:
            return Fault(status=404) if seen.date is not None and seen.date.day % 3 == 0 else None

        async with Sandbox(quota=Quota(in_flight=8), faults=fail_each_third) as sandbox, sandbox.client() as client:
            report = await store.backfill(client, date_range("2025-01-01", "2025-01-30"))
        assert (report.fetched, len(report.failed), report.requests) == (20, 10, 20 * 4 + 10)

    @pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, ForbiddenError)])
    async def test_fatal_status(self, store: ClickStore, status: int, error: type[ClicksGroupError]) -> None:
        """No request follows one that ends the job; running it again goes on from there."""
        faults = [Fault(date=DATES[2], page=2, status=status)]
        async with Sandbox(quota=Quota(in_flight=1), faults=faults) as sandbox, sandbox.client() as client:
            with pytest.raises(error):
                await store.backfill(client, DATES)
            assert len(sandbox.requests) == 10
            assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:2])
            assert (await store.backfill(client, DATES)).requests == 32

    async def test_same_failure_three_times(self, store: ClickStore) -> None:
        """No fourth request follows three consecutive failures."""
        async with Sandbox(quota=Quota(in_flight=1), faults=lambda seen: Fault(status=404)) as sandbox:
            async with sandbox.client() as client:
                with pytest.raises(StatusError):
                    await store.backfill(client, DATES)
            assert len(sandbox.requests) == 3

    async def test_groups_of_a_plan(self, store: ClickStore) -> None:
        """On Premium, with five ids a request, all the ids count as fetched, and no other group does."""
        async with Sandbox(groups=10, plan="premium", quota=Quota(in_flight=2)) as sandbox, sandbox.client() as client:
            ids = [record.group_id for record in sandbox.truth(DATES[0])][:7]
            report = await store.backfill(client, DATES, groups=[*ids, 999_999])
            assert (report.fetched, report.requests) == (10, 20)
            assert (await store.backfill(client, DATES, groups=[999_999, ids[0]])).requests == 0
            assert (await store.coverage(DATES[0], DATES[-1])).missing == list(DATES)
            truth = sorted(
                (record for date in DATES for record in sandbox.truth(date) if record.group_id in ids),
                key=lambda record: (record.date, record.group_id),
            )
        assert [record async for record in store.clicks(DATES[0], DATES[-1])] == truth

    async def test_refused_by_the_client(self, store: ClickStore) -> None:
        """Premium requires groups: the error of the client is raised, and nothing is sent."""
        async with Sandbox(plan="premium") as sandbox, sandbox.client() as client:
            with pytest.raises(ConfigurationError):
                await store.backfill(client, DATES)
            assert sandbox.requests == []

    @pytest.mark.parametrize("verified", ["by authority", "by fingerprint"])
    async def test_untrusted_certificate(self, store: ClickStore, verified: str) -> None:
        """It ends the job at the first date, since no other would be answered."""
        connections = 0

        def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.close()

        server = await asyncio.start_server(count, "localhost", 0, ssl=serving(trustme.CA(), "localhost"))
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(bytes(32)) if verified == "by fingerprint" else True)
        async with (
            server,
            aiohttp.ClientSession(connector=connector) as session,
            ClicksClient("key", base_url=url, quota=Quota(in_flight=1), session=session) as client,
        ):
            with pytest.raises(TransportError) as caught:
                await store.backfill(client, DATES)
        assert caught.value.date == DATES[0]
        assert await store.failures(DATES[0], DATES[-1]) == {}
