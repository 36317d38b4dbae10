from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import pytest

from clicksgroup.errors import ClientClosedError, ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota import QuotaPausedError
from clicksgroup.quota.remote import RemoteQuota, UnreachableError, clock
from clicksgroup.quota.state import Event, ExchangeResult, SharedState
from tests.quota.strict_server import StrictServer


class Engine:
    """The other side, in memory; it can be away, and lose its replies."""

    def __init__(self, quota: Quota) -> None:
        self.state = SharedState(quota, clock(), "")
        self.away = False
        self.lose_replies = 0
        self.exchanges = 0
        self.told: list[str] = []
        self.called = asyncio.Event()
        self.line = asyncio.Event()  # while it is clear, replies are on their way
        self.line.set()

    def call(self, holder: str, events: Sequence[Event], tickets: Sequence[str]) -> ExchangeResult:
        self.exchanges += 1
        self.called.set()
        if self.away:
            raise UnreachableError("no route")
        self.told += [event.kind for event in events]
        reply = self.state.exchange(holder, events, tickets, clock())
        if self.lose_replies:
            self.lose_replies -= 1
            raise UnreachableError("the reply was lost")
        return reply

    async def exchanged(self, times: int = 2) -> None:
        """Until so many exchanges have begun and ended."""
        for _ in range(times):
            self.called.clear()
            await self.called.wait()
        await asyncio.sleep(0)


class EngineQuota(RemoteQuota):
    def __init__(self, engine: Engine, name: str, outage_timeout: float = 5.0) -> None:
        super().__init__(engine.state.quota, outage_timeout)
        self.engine, self.name = engine, name

    def describe(self) -> str:
        return "the engine"

    async def _exchange(self, events: Sequence[Event], tickets: Sequence[str]) -> ExchangeResult:
        await asyncio.sleep(0)
        reply = self.engine.call(self.name, events, tickets)
        await self.engine.line.wait()
        return reply


@pytest.fixture
def engine() -> Engine:
    return Engine(Quota((100, 3600), in_flight=1))


@pytest.fixture
async def quota(engine: Engine) -> AsyncIterator[EngineQuota]:
    async with EngineQuota(engine, "a") as opened:
        yield opened


async def queued(*quotas: EngineQuota, callers: int) -> list[asyncio.Task[object]]:
    tasks: list[asyncio.Task[object]] = []
    for i in range(callers):
        tasks.append(asyncio.create_task(quotas[i % len(quotas)].acquire()))
        await asyncio.sleep(0)
    return tasks


async def test_callers_go_in_the_order_in_which_they_came(quota: EngineQuota) -> None:
    order = []

    async def caller(number: int) -> None:
        slot = await quota.acquire()
        order.append(number)
        slot.answered()
        slot.release()

    await asyncio.gather(*(caller(i) for i in range(10)))
    assert order == list(range(10))


async def test_callers_who_give_up_cost_nothing(engine: Engine, quota: EngineQuota) -> None:
    """45 of 50 are cancelled: the other five go in order, and the quota holds no more than those five."""
    first = await quota.acquire()
    waiting = await queued(quota, callers=50)
    stayed = waiting[9::10]
    for task in waiting:
        if task not in stayed:
            task.cancel()
    await asyncio.wait(set(waiting) - set(stayed))
    first.refund()
    for task in stayed:
        slot = await task
        assert not any(later.done() for later in stayed[stayed.index(task) + 1 :])
        slot.answered()  # type: ignore[attr-defined]
        slot.release()  # type: ignore[attr-defined]
    last = await quota.acquire()
    last.refund()
    await quota._close()
    assert len(engine.state.answered) == 5
    assert (engine.state.places, engine.state.queue) == ({}, [])


async def test_a_slot_granted_to_nobody_goes_to_the_next_in_line(engine: Engine, quota: EngineQuota) -> None:
    """A caller who is cancelled in the very moment of the grant gives it back."""
    gone = asyncio.create_task(quota.acquire())
    stays = asyncio.create_task(quota.acquire())
    while not engine.state.places:
        await asyncio.sleep(0)
    gone.cancel()
    (await stays).release()
    await quota._close()
    assert len(engine.state.answered) == 1


async def test_a_lost_reply_grants_nothing_twice(engine: Engine, quota: EngineQuota) -> None:
    engine.lose_replies = 2
    slot = await quota.acquire()
    assert len(engine.state.places) == 1
    engine.lose_replies = 2
    slot.answered()
    slot.release()
    (await quota.acquire()).refund()
    assert len(engine.state.answered) == 1


async def test_what_happened_while_the_engine_was_away_is_told_when_it_is_back(
    engine: Engine, quota: EngineQuota
) -> None:
    slot = await quota.acquire()
    engine.away = True
    slot.answered()
    slot.release()
    await engine.exchanged()
    assert engine.told == []
    engine.away = False
    (await quota.acquire()).refund()
    assert engine.told == ["answered", "released"]


async def test_an_engine_that_stays_away_is_an_error_and_one_that_is_back_is_none(engine: Engine) -> None:
    async with EngineQuota(engine, "a", outage_timeout=0.2) as quota:
        engine.away = True
        for _ in range(2):
            with pytest.raises(QuotaUnavailableError, match=r"the engine has been away for more than 0.2 s: no route"):
                await quota.acquire()
        engine.away = False
        (await quota.acquire()).release()


async def test_an_engine_that_is_not_there_at_all_is_an_error_when_it_is_opened(engine: Engine) -> None:
    engine.away = True
    with pytest.raises(QuotaUnavailableError, match="no route"):
        await EngineQuota(engine, "a", outage_timeout=0.1).__aenter__()


async def test_a_429_refuses_at_once_whoever_would_not_wait_that_long(engine: Engine) -> None:
    """Those who wait already, those who come later, and those of other processes."""
    async with EngineQuota(engine, "a") as here, EngineQuota(engine, "b") as there:
        slot = await here.acquire()
        waiting = asyncio.create_task(here.acquire(max_pause=10))
        elsewhere = asyncio.create_task(there.acquire(max_pause=10))
        await engine.exchanged()
        slot.throttled(60.0)
        slot.release()
        with pytest.raises(QuotaPausedError, match=r"paused for 60\.0 s"):
            await here.acquire(max_pause=10)
        for task in (waiting, elsewhere):
            with pytest.raises(QuotaPausedError) as caught:
                await task
            assert 59 < caught.value.seconds <= 60


async def test_a_grant_that_crosses_a_429_is_given_back(engine: Engine) -> None:
    engine.state.quota = Quota(in_flight=2)
    async with EngineQuota(engine, "a") as quota:
        slot = await quota.acquire()
        engine.line.clear()
        late = asyncio.create_task(quota.acquire())
        while len(engine.state.places) < 2:  # granted, and on its way to us
            await asyncio.sleep(0)
        slot.throttled(60.0)
        slot.release()
        engine.line.set()
        await engine.exchanged(1)
        assert engine.state.places == {}
        assert not late.done()
        late.cancel()


async def test_nobody_asks_while_nobody_waits(engine: Engine, quota: EngineQuota) -> None:
    slot = await quota.acquire()
    before = engine.exchanges
    for _ in range(100):
        await asyncio.sleep(0)
    assert engine.exchanges == before
    slot.refund()


async def test_what_is_open_when_the_quota_is_closed_is_left_to_time(engine: Engine) -> None:
    async with EngineQuota(engine, "a") as quota:
        await quota.acquire()
        waiting = asyncio.create_task(quota.acquire())
        await asyncio.sleep(0)
    with pytest.raises(ClientClosedError):
        await waiting
    (place,) = engine.state.places.values()
    assert place.back_at is not None
    with pytest.raises(ClientClosedError, match="async with"):
        await quota.acquire()


@pytest.mark.parametrize("outage_timeout", [0, -1, math.inf, math.nan, "5", True])
def test_a_patience_that_is_no_time_is_refused(engine: Engine, outage_timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="outage_timeout"):
        EngineQuota(engine, "a", outage_timeout)


async def test_several_windows_hold_at_once() -> None:
    quota = Quota((4, 0.2), (10, 0.7), in_flight=3)
    engine = Engine(quota)
    async with StrictServer(quota) as server, EngineQuota(engine, "a") as here, EngineQuota(engine, "b") as there:

        async def walk(shared: EngineQuota) -> None:
            while len(server.arrivals) < 30:
                slot = await shared.acquire()
                await server._count(shared.name)
                await asyncio.sleep(0.005)
                server.in_flight -= 1
                slot.answered()
                slot.release()

        await asyncio.gather(*(walk(shared) for shared in (here, there) for _ in range(4)))
    assert server.rejected == []
