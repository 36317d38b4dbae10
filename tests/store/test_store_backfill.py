"""A backfill asks for what is missing, loses nothing that it had, and knows when to stop."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable

import aiohttp
import pytest
import trustme

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
from tests.store.databases import LONG_AFTER, Answer, Database, FakeClient, make_day

DATES = date_range("2025-01-01", "2025-01-10")


def complete(date: datetime.date, groups: tuple[int, ...] | None) -> Answer:
    return make_day(date, {group: date.day * group for group in groups or range(1, 96)}, groups=groups)


def failing(on: dict[int, ClicksGroupError]) -> Callable[[datetime.date, tuple[int, ...] | None], Answer]:
    return lambda date, groups: on.get(date.day) or complete(date, groups)


async def test_a_backfill_lands_every_date_and_says_what_it_did(store: ClickStore) -> None:
    client = FakeClient(complete)
    report = await store.backfill(client, [*DATES, DATES[0]])  # type: ignore[arg-type]
    assert (report.dates, report.fetched, report.skipped, report.failed) == (10, 10, 0, {})
    assert report.requests == 40
    assert [len(day) async for day in store.days(DATES[0], DATES[-1])] == [95] * 10


async def test_once_done_it_asks_for_nothing(store: ClickStore) -> None:
    client = FakeClient(complete)
    await store.backfill(client, DATES)  # type: ignore[arg-type]
    report = await store.backfill(client, DATES)  # type: ignore[arg-type]
    assert (report.requests, report.fetched, report.skipped) == (0, 0, 10)
    assert len(client.asked) == 10


async def test_refresh_asks_for_final_dates_too(store: ClickStore) -> None:
    client = FakeClient(complete)
    await store.backfill(client, DATES)  # type: ignore[arg-type]
    assert (await store.backfill(client, DATES, refresh=True)).fetched == 10  # type: ignore[arg-type]


async def test_provisional_and_problematic_dates_are_asked_for_again(store: ClickStore) -> None:
    early = datetime.datetime(2025, 1, 3, 11, 0, tzinfo=datetime.UTC)
    for date in DATES[:3]:
        await store.put(make_day(date, {1: 1}, fetched_at=early))
    await store.put(make_day(DATES[3], {1: 1}, problems=("odd",)))
    client = FakeClient(complete)
    await store.backfill(client, DATES[:5])  # type: ignore[arg-type]
    assert client.asked == list(DATES[1:5])


async def test_dates_known_for_other_groups_are_asked_for(store: ClickStore) -> None:
    """And those known for these are not, listed or not, nor those known whole."""
    await store.put(make_day(DATES[0], {1: 1}, groups=(1, 2)))
    await store.put(make_day(DATES[1], {1: 1}))
    client = FakeClient(complete)
    await store.backfill(client, DATES[:3], groups=[2, 1, 2])  # type: ignore[arg-type]
    assert client.asked == [DATES[2]]
    await store.backfill(client, DATES[:3], groups=[2, 3])  # type: ignore[arg-type]
    assert client.asked == [DATES[2], DATES[0], DATES[2]]
    await store.backfill(client, DATES[:3])  # type: ignore[arg-type]
    assert client.asked[3:] == [DATES[0], DATES[2]]


async def test_a_date_that_fails_leaves_the_others_alone(store: ClickStore) -> None:
    """It is reported, remembered, and asked for the next time."""
    error = DecodeError("page 1: no JSON", date=DATES[4])
    report = await store.backfill(FakeClient(failing({5: error})), DATES)  # type: ignore[arg-type]
    assert (report.fetched, report.failed) == (9, {DATES[4]: error})
    assert await store.failures(DATES[0], DATES[-1]) == {DATES[4]: "DecodeError: page 1: no JSON"}
    client = FakeClient(complete)
    await store.backfill(client, DATES)  # type: ignore[arg-type]
    assert client.asked == [DATES[4]]
    assert await store.failures(DATES[0], DATES[-1]) == {}


def certificate_failure() -> TransportError:
    return TransportError("the certificate is not trusted", retryable=False, stops_all=True)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no", status=401),
        ForbiddenError("no", status=403),
        RateLimitError("no"),
        ConfigurationError("no"),
        certificate_failure(),
        QuotaUnavailableError("no"),
        ClientClosedError("no"),
        StoreError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_would_meet_all_stops_the_job_at_once(store: ClickStore, error: ClicksGroupError) -> None:
    """Before another request, with everything so far stored."""
    client = FakeClient(failing({5: error}))
    with pytest.raises(type(error)) as caught:
        await store.backfill(client, DATES)  # type: ignore[arg-type]
    assert caught.value is error
    assert client.asked == list(DATES[:5])
    assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:4])


async def test_a_failure_that_three_dates_running_met_stops_the_job(store: ClickStore) -> None:
    client = FakeClient(failing({day: APIError("plan", code=7, message="plan") for day in (2, 4, 5, 6)}))
    with pytest.raises(APIError):
        await store.backfill(client, DATES)  # type: ignore[arg-type]
    assert client.asked == list(DATES[:6])
    assert (await store.coverage(DATES[0], DATES[-1])).final == [DATES[0], DATES[2]]


async def test_three_different_failures_running_do_not(store: ClickStore) -> None:
    errors: dict[int, ClicksGroupError] = {
        1: APIError(code=7),
        2: APIError(code=8),
        3: ServerError(status=500),
        4: ServerError(status=503),
        5: TransportError(),
        6: TransportError(),
    }
    report = await store.backfill(FakeClient(failing(errors)), DATES)  # type: ignore[arg-type]
    assert report.failed == {datetime.date(2025, 1, day): error for day, error in errors.items()}
    assert report.fetched == 4


async def test_a_date_that_has_not_begun_anywhere_is_refused(database: Database) -> None:
    """It begins at 10:00 UTC of the day before, in Kiritimati."""
    async with database.store() as store:
        client = FakeClient(complete)
        store._now = lambda: datetime.datetime(2025, 1, 4, 9, 59, 59, tzinfo=datetime.UTC)
        with pytest.raises(ConfigurationError, match="2025-01-05"):
            await store.backfill(client, DATES[:5])  # type: ignore[arg-type]
        assert client.asked == []
        store._now = lambda: datetime.datetime(2025, 1, 4, 10, tzinfo=datetime.UTC)
        assert (await store.backfill(client, DATES[:5])).fetched == 5  # type: ignore[arg-type]


async def test_the_eta_is_right_at_one_step_a_minute(store: ClickStore) -> None:
    await store.put(make_day(DATES[0], {1: 1}))
    now = 0.0

    def a_minute_each(date: datetime.date, groups: tuple[int, ...] | None) -> Answer:
        nonlocal now
        now += 60.0
        return complete(date, groups)

    store._clock = lambda: now
    seen: list[BackfillProgress] = []
    await store.backfill(FakeClient(a_minute_each), DATES, progress=seen.append)  # type: ignore[arg-type]
    assert [(p.date, p.done, p.total, p.requests, p.seconds, p.eta) for p in seen] == [
        (DATES[n], n + 1, 10, n * 4, n * 60.0, (9 - n) * 60.0) for n in range(1, 10)
    ]


async def test_a_burst_at_the_beginning_does_not_fool_the_eta(store: ClickStore) -> None:
    """The quota lets a minute's worth pass at once, and then it takes what it takes."""
    client = FakeClient(complete)
    client.seconds_a_request = 2.5
    store._clock = lambda: 0.0
    seen: list[BackfillProgress] = []
    await store.backfill(client, DATES, progress=seen.append)  # type: ignore[arg-type]
    assert [p.eta for p in seen] == [(9 - n) * 4 * 2.5 for n in range(10)]


async def test_what_progress_raises_stops_the_job_and_loses_nothing(store: ClickStore) -> None:
    def third_time_out(progress: BackfillProgress) -> None:
        if progress.done == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.backfill(FakeClient(complete), DATES, progress=third_time_out)  # type: ignore[arg-type]
    assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:3])


async def test_a_cancelled_backfill_keeps_the_date_in_hand(store: ClickStore) -> None:
    """The cancellation comes while the third date is on its way into the store."""
    put = store._writer._replace_date

    async def cancelled_meanwhile(connection: object, day: object, records: object) -> None:
        if len(client.asked) == 3:
            job.cancel()
            await asyncio.sleep(0)
        await put(connection, day, records)  # type: ignore[arg-type]

    store._writer._replace_date = cancelled_meanwhile  # type: ignore[assignment, method-assign]
    client = FakeClient(complete)
    job = asyncio.ensure_future(store.backfill(client, DATES))  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:3])


async def test_a_count_that_does_not_fit_is_its_dates_failure(store: ClickStore) -> None:
    """Not the store's: the other dates go on."""

    def huge(date: datetime.date, groups: tuple[int, ...] | None) -> Answer:
        return make_day(date, {1: 2**64 if date.day == 5 else 1}, groups=groups)

    report = await store.backfill(FakeClient(huge), DATES)  # type: ignore[arg-type]
    assert (report.fetched, list(report.failed)) == (9, [DATES[4]])


async def test_two_backfills_of_one_store_end_with_the_truth(database: Database) -> None:
    async with database.store() as a, database.store() as b:
        clients = FakeClient(complete), FakeClient(complete)
        reports = await asyncio.gather(a.backfill(clients[0], DATES), b.backfill(clients[1], reversed(DATES)))  # type: ignore[arg-type]
        assert [report.failed for report in reports] == [{}, {}]
        records = [record async for record in a.clicks(DATES[0], DATES[-1])]
    assert records == [record for date in DATES for record in complete(date, None)]  # type: ignore[union-attr]


async def test_a_date_of_which_fewer_groups_are_listed_now_loses_the_old_ones(store: ClickStore) -> None:
    early = datetime.datetime(2025, 1, 1, 12, tzinfo=datetime.UTC)
    await store.put(make_day(DATES[0], {1: 1, 2: 2, 3: 3}, fetched_at=early))
    answer = make_day(DATES[0], {2: 5}, fetched_at=LONG_AFTER)
    await store.backfill(FakeClient(lambda *_: answer), DATES[0])  # type: ignore[arg-type]
    assert [record.group_id async for record in store.clicks(DATES[0], DATES[0])] == [2]


class TestOverTheWire:
    """With the real client, against the sandbox."""

    async def test_failures_that_overtake_each_other_are_not_running(self, store: ClickStore) -> None:
        """With many in flight, each third date fails at its first page, before its neighbours are whole."""

        def each_third(seen: SeenRequest) -> Fault | None:
            return Fault(status=404) if seen.date is not None and seen.date.day % 3 == 0 else None

        async with Sandbox(quota=Quota(in_flight=8), faults=each_third) as sandbox, sandbox.client() as client:
            report = await store.backfill(client, date_range("2025-01-01", "2025-01-30"))
        assert (report.fetched, len(report.failed), report.requests) == (20, 10, 20 * 4 + 10)

    @pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, ForbiddenError)])
    async def test_no_request_follows_one_that_stops_the_job(
        self, store: ClickStore, status: int, error: type[ClicksGroupError]
    ) -> None:
        faults = [Fault(date=DATES[2], page=2, status=status)]
        async with Sandbox(quota=Quota(in_flight=1), faults=faults) as sandbox, sandbox.client() as client:
            with pytest.raises(error):
                await store.backfill(client, DATES)
            assert len(sandbox.requests) == 10
            assert (await store.coverage(DATES[0], DATES[-1])).final == list(DATES[:2])
            assert (await store.backfill(client, DATES)).requests == 32

    async def test_three_dates_running_stop_it_before_a_fourth(self, store: ClickStore) -> None:
        async with Sandbox(quota=Quota(in_flight=1), faults=lambda seen: Fault(status=404)) as sandbox:
            async with sandbox.client() as client:
                with pytest.raises(StatusError):
                    await store.backfill(client, DATES)
            assert len(sandbox.requests) == 3

    async def test_a_plans_groups_land_as_they_were_asked_for(self, store: ClickStore) -> None:
        """On Premium five ids a request: what is listed and what is not are known, for these groups only."""
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

    async def test_what_the_client_refuses_is_refused_and_nothing_sent(self, store: ClickStore) -> None:
        async with Sandbox(plan="premium") as sandbox, sandbox.client() as client:
            with pytest.raises(ConfigurationError):
                await store.backfill(client, DATES)
            assert sandbox.requests == []

    @pytest.mark.parametrize("verified", ["by authority", "by fingerprint"])
    async def test_a_server_that_nobody_trusts_stops_it(self, store: ClickStore, verified: str) -> None:
        """At the first date: no other would be answered."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        connections = 0

        def count(*_: object) -> None:
            nonlocal connections
            connections += 1

        server = await asyncio.start_server(count, "localhost", 0, ssl=context)
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
