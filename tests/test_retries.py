"""Which failure is tried again, when, and how an outage is sat out."""

from __future__ import annotations

import asyncio
import datetime
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import (
    ConfigurationError,
    RetryPolicy,
)
from clicksgroup.retries import CircuitBreaker, parse_retry_after


def test_defaults() -> None:
    """The policy defaults to what is documented."""
    policy = RetryPolicy()
    assert (policy.attempts, policy.backoff, policy.max_backoff, policy.deadline) == (10, 0.5, 30.0, 300.0)
    assert policy == pickle.loads(pickle.dumps(policy))
    assert hash(policy) == hash(RetryPolicy())


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"backoff": -0.1},
        {"backoff": math.nan},
        {"max_backoff": -1},
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": math.nan},
    ],
    ids=str,
)
def test_wrong_policies(wrong: dict[str, float]) -> None:
    """A policy that cannot be right is refused."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"attempts": 2.0}, {"attempts": True}, {"backoff": "1"}, {"deadline": None}], ids=str
)
def test_policies_of_wrong_types(wrong: dict[str, float]) -> None:
    """A policy of the wrong type is refused."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 10_000))
def test_delays_are_bounded(backoff: float, most: float, attempts: int) -> None:
    """A delay is jittered in full and bounded."""
    delay = RetryPolicy(backoff=backoff, max_backoff=most).delay(attempts)
    assert 0 <= delay <= min(most, backoff * 2.0 ** min(attempts - 1, 60))


def test_delays_differ() -> None:
    """Delays differ, so that clients do not come back together."""
    assert len({RetryPolicy().delay(3) for _ in range(20)}) > 10


NOON = "Fri, 03 Jan 2025 12:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "answered_at", "seconds"),
    [
        (None, NOON, None),
        ("0", None, 0.0),
        ("120", None, 120.0),
        (" 7 ", None, 7.0),
        ("1.5", None, 1.5),
        ("99999999999999999999", None, 1e20),
        ("-5", None, None),
        ("+5", None, None),
        ("1e3", None, None),
        ("inf", None, None),
        ("nan", None, None),
        ("٣", None, None),
        ("", None, None),
        ("soon", NOON, None),
        ("9" * 400, None, None),
        ("Fri, 03 Jan 2025 12:02:00 GMT", NOON, 120.0),
        ("Fri, 03 Jan 2025 11:00:00 GMT", NOON, 0.0),
        ("Friday, 03-Jan-25 12:02:00 GMT", NOON, 120.0),
        ("Fri Jan  3 12:02:00 2025", NOON, 120.0),
        ("Fri, 03 Jan 2025 13:02:00 +0100", NOON, 120.0),
        ("Fri, 03 Jan 2025 12:02:00 -0000", NOON, 120.0),
        ("Fri, 33 Jan 2025 12:02:00 GMT", NOON, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", NOON, None),
    ],
)
def test_retry_after(header: str | None, answered_at: str | None, seconds: float | None) -> None:
    """Retry-After is read as seconds or as a date."""
    assert parse_retry_after(header, answered_at) == seconds


@pytest.mark.parametrize("answered_at", [None, "yesterday"])
def test_retry_after_without_date(answered_at: str | None) -> None:
    """A date in Retry-After is relative to our clock only where the answer has no date."""
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    seconds = parse_retry_after(f"{until:%a, %d %b %Y %H:%M:%S} GMT", answered_at)
    assert seconds is not None
    assert 3590 < seconds <= 3600


class Pages:
    """Pages that a test drives through an outage step by step: each waits, is ready to send, flies, or backs off."""

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.waiting: dict[int, asyncio.Task[None]] = {}
        self.ready: set[int] = set()
        self.flying: set[int] = set()
        self.backing_off: set[int] = set()
        self.lasts = False
        # Those of the flying that were sent in the outage.
        self.trials: set[int] = set()
        self.sent: list[int] = []

    async def arrive(self, page: int) -> None:
        """It wants to send."""
        self.backing_off.discard(page)
        self.waiting[page] = asyncio.create_task(self.admitted(page))
        await self.settle()

    async def send(self, page: int) -> None:
        """It has its slot, and sends if there is leave to."""
        self.ready.discard(page)
        if not self.breaker.try_start(page):
            await self.arrive(page)
            return
        self.flying.add(page)
        self.sent.append(page)
        if self.lasts:
            self.trials.add(page)
            assert len(self.trials) == 1, "two trial requests at a time"

    async def end(self, page: int, *, failed: bool) -> None:
        """Its request has ended."""
        self.flying.discard(page)
        self.trials.discard(page)
        self.breaker.request_ended(page, failed=failed)
        self.lasts = failed
        if failed:
            self.backing_off.add(page)
        else:
            self.trials.clear()
            self.breaker.leave(page)
        await self.settle()

    async def leave(self, page: int) -> None:
        """It is cancelled, wherever it is."""
        if task := self.waiting.pop(page, None):
            task.cancel()
        for places in (self.ready, self.flying, self.backing_off, self.trials):
            places.discard(page)
        self.breaker.leave(page)
        await self.settle()

    async def admitted(self, page: int) -> None:
        while not self.breaker.admits(page):
            await self.breaker.changed()

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        for page in [page for page, task in self.waiting.items() if task.done()]:
            self.waiting.pop(page).result()
            self.ready.add(page)

    async def recover(self) -> None:
        """The server answers again: everybody gets through, in so many rounds."""
        for _ in range(100):
            for page in list(self.backing_off):
                await self.arrive(page)
            for page in list(self.ready):
                await self.send(page)
            for page in list(self.flying):
                await self.end(page, failed=False)
            if not (self.waiting or self.ready or self.flying or self.backing_off):
                return
        raise AssertionError(f"{self.waiting} wait for ever")


STEPS = st.lists(
    st.tuples(st.sampled_from(["arrive", "send", "fail", "fail", "pass", "back", "leave"]), st.integers(0, 7))
)


@given(STEPS)
def test_one_trial_at_a_time(steps: list[tuple[str, int]]) -> None:
    """An outage lets one trial request out at a time, and no page waits for ever."""

    async def run() -> None:
        pages = Pages()
        new = iter(range(len(steps)))
        for step, chosen in steps:
            places: dict[str, list[int]] = {
                "send": sorted(pages.ready),
                "fail": sorted(pages.flying),
                "pass": sorted(pages.flying),
                "back": sorted(pages.backing_off),
                "leave": sorted({*pages.waiting, *pages.ready, *pages.flying, *pages.backing_off}),
            }
            if step == "arrive":
                await pages.arrive(next(new))
            elif places[step]:
                page = places[step][chosen % len(places[step])]
                match step:
                    case "send":
                        await pages.send(page)
                    case "fail" | "pass":
                        await pages.end(page, failed=step == "fail")
                    case "back":
                        await pages.arrive(page)
                    case "leave":
                        await pages.leave(page)
        await pages.recover()

    asyncio.run(run())


async def test_trials_of_one_page() -> None:
    """While the server is down, one page tries, and one other has tried once."""
    pages = Pages()
    for page in range(30):
        await pages.arrive(page)
    for page in (0, 1):
        await pages.send(page)
    for _ in range(200):
        for page in sorted(pages.flying):
            await pages.end(page, failed=True)
        for page in sorted(pages.backing_off):
            await pages.arrive(page)
        for page in sorted(pages.ready):
            await pages.send(page)
    assert set(pages.sent) <= {0, 1, 2}
    assert pages.sent.count(0) > 190
    await pages.recover()


async def test_cancelled_trial() -> None:
    """When the page that tries is given up, another takes its place."""
    pages = Pages()
    for page in range(3):
        await pages.arrive(page)
        await pages.send(page)
    for page in range(3):
        await pages.end(page, failed=True)
        await pages.arrive(page)
    for page in range(2):
        await pages.send(page)
        await pages.leave(page)
    await pages.send(2)
    assert pages.flying == {2}


async def test_owner_waits_for_quota() -> None:
    """Pages behind the breaker are told when the page that tries begins and ends to wait for quota."""
    breaker = CircuitBreaker()
    breaker.request_ended("owner", failed=True)
    changed = asyncio.create_task(breaker.changed())
    await asyncio.sleep(0)
    breaker.quota_wait_began("owner")
    await changed
    assert breaker.owner_waits_for_quota
    breaker.quota_wait_began("other")
    assert breaker.owner_waits_for_quota
    breaker.quota_wait_ended("other")
    assert breaker.owner_waits_for_quota
    changed = asyncio.create_task(breaker.changed())
    await asyncio.sleep(0)
    breaker.quota_wait_ended("owner")
    await changed
    assert not breaker.owner_waits_for_quota


async def test_owner_of_an_outage_that_is_over() -> None:
    """A page that waits for quota since an earlier outage says nothing about the owner of the next one."""
    breaker = CircuitBreaker()
    breaker.request_ended("first", failed=True)
    breaker.quota_wait_began("first")
    breaker.request_ended("other", failed=False)
    assert not breaker.owner_waits_for_quota
    breaker.request_ended("second", failed=True)
    assert not breaker.owner_waits_for_quota
    breaker.quota_wait_began("second")
    breaker.quota_wait_ended("first")
    assert breaker.owner_waits_for_quota
    breaker.quota_wait_ended("second")
    assert not breaker.owner_waits_for_quota
