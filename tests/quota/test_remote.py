"""A quota that a backend keeps, with a backend in memory that can be out of reach and lose its results."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from clicksgroup.errors import ClientClosedError, ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota import QuotaPausedError, Slot, remote
from clicksgroup.quota.backend import Backend, UnreachableError, clock
from clicksgroup.quota.remote import RemoteQuota
from clicksgroup.quota.state import LEASE, ExchangeResult, Report, SharedState


class Server:
    """Keeps the state of a quota for several processes."""

    def __init__(self, quota: Quota) -> None:
        self.state = SharedState(quota, clock=clock())
        self.is_reachable = True
        self.lose_results = 0
        self.exchanges = 0
        self.reported: list[str] = []
        self.called = asyncio.Event()
        # While it is clear, results are on their way back.
        self.delivers = asyncio.Event()
        self.delivers.set()

    def exchange(self, holder: str, report: Report) -> ExchangeResult:
        self.exchanges += 1
        self.called.set()
        if not self.is_reachable:
            raise UnreachableError("no route")
        self.reported += [event.kind for event in report.events]
        result = self.state.exchange(holder, report, clock())
        if self.lose_results:
            self.lose_results -= 1
            raise UnreachableError("the result was lost")
        return result

    async def exchanged(self, times: int = 2) -> None:
        """Wait until so many exchanges have begun and ended."""
        for _ in range(times):
            self.called.clear()
            await self.called.wait()
        await asyncio.sleep(0)


class ServerBackend(Backend):
    def __init__(self, server: Server, process: str) -> None:
        super().__init__(server.state.quota, "the server", "restart it")
        self._server, self._process = server, process

    async def exchange(self, report: Report) -> ExchangeResult:
        await asyncio.sleep(0)
        result = self._server.exchange(self._process, report)
        await self._server.delivers.wait()
        return result

    async def close(self) -> None:
        pass

    def prepare(self, state: SharedState, now: float) -> tuple[float, float]:
        return 0.0, 0.0


def quota_on(server: Server, process: str = "a", outage_timeout: float = 5.0) -> RemoteQuota:
    return RemoteQuota(server.state.quota, lambda: ServerBackend(server, process), outage_timeout)


@pytest.fixture
def server() -> Server:
    return Server(Quota((100, 3600), in_flight=1))


@pytest.fixture
async def quota(server: Server) -> AsyncIterator[RemoteQuota]:
    async with quota_on(server) as opened:
        yield opened


async def callers(quota: RemoteQuota, number: int) -> list[asyncio.Task[Slot]]:
    tasks = [asyncio.create_task(quota.acquire()) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


async def test_first_come_first_served(quota: RemoteQuota) -> None:
    """Callers are served in the order in which they came."""
    order = []

    async def caller(number: int) -> None:
        slot = await quota.acquire()
        order.append(number)
        slot.answered()
        slot.release()

    await asyncio.gather(*(caller(i) for i in range(10)))
    assert order == list(range(10))


async def test_cancelled_callers(server: Server) -> None:
    """45 of 50 callers are cancelled: the other five are served in order, and the quota counts no more than those."""
    async with quota_on(server) as quota:
        first = await quota.acquire()
        tasks = await callers(quota, 50)
        remaining = tasks[9::10]
        for task in tasks:
            if task not in remaining:
                task.cancel()
        await asyncio.wait(set(tasks) - set(remaining))
        first.refund()
        for task in remaining:
            slot = await task
            assert not any(later.done() for later in remaining[remaining.index(task) + 1 :])
            slot.answered()
            slot.release()
        (await quota.acquire()).refund()
    assert len(server.state.answered) == 5
    assert (server.state.places, server.state.queue) == ({}, [])


async def test_cancelled_after_grant(server: Server) -> None:
    """A slot that was granted to a caller as it is cancelled goes to the next one."""
    async with quota_on(server) as quota:
        cancelled, remaining = await callers(quota, 2)
        while not server.state.places:
            await asyncio.sleep(0)
        cancelled.cancel()
        (await remaining).release()
    assert len(server.state.answered) == 1


async def test_lost_results(server: Server, quota: RemoteQuota) -> None:
    """When results are lost, nothing is granted or counted twice."""
    server.lose_results = 2
    slot = await quota.acquire()
    assert len(server.state.places) == 1
    server.lose_results = 2
    slot.answered()
    slot.release()
    (await quota.acquire()).refund()
    assert len(server.state.answered) == 1


async def test_reports_during_outage(server: Server, quota: RemoteQuota) -> None:
    """Reports that are made during an outage arrive after it."""
    slot = await quota.acquire()
    server.is_reachable = False
    slot.answered()
    slot.release()
    await server.exchanged()
    assert server.reported == []
    server.is_reachable = True
    (await quota.acquire()).refund()
    assert server.reported == ["answered", "released"]


async def test_outage(server: Server) -> None:
    """An outage that is longer than `outage_timeout` is an error for callers that wait, and none once it is over."""
    async with quota_on(server, outage_timeout=0.2) as quota:
        server.is_reachable = False
        for _ in range(2):
            with pytest.raises(QuotaUnavailableError, match=r"the server was out of reach for 0.2 s .*: no route"):
                await quota.acquire()
        server.is_reachable = True
        (await quota.acquire()).release()


async def test_outage_at_opening(server: Server) -> None:
    """A backend that is out of reach when the quota is opened is an error."""
    server.is_reachable = False
    with pytest.raises(QuotaUnavailableError, match="no route"):
        await quota_on(server, outage_timeout=0.1).__aenter__()


async def test_max_pause(server: Server) -> None:
    """A 429 refuses callers that do not accept the pause: those that wait, those that come, and in other processes."""
    async with quota_on(server, "a") as here, quota_on(server, "b") as there:
        slot = await here.acquire()
        waiting = asyncio.create_task(here.acquire(max_pause=10))
        elsewhere = asyncio.create_task(there.acquire(max_pause=10))
        await server.exchanged()
        slot.throttled(60.0)
        slot.release()
        with pytest.raises(QuotaPausedError, match=r"paused for 60\.0 s"):
            await here.acquire(max_pause=10)
        for task in (waiting, elsewhere):
            with pytest.raises(QuotaPausedError) as caught:
                await task
            assert 59 < caught.value.seconds <= 60


async def test_grant_before_429_is_known(server: Server) -> None:
    """A slot that was granted before the backend heard of a 429 is given back."""
    server.state = SharedState(Quota(in_flight=2), clock=clock())
    async with quota_on(server) as quota:
        slot = await quota.acquire()
        server.delivers.clear()
        late = asyncio.create_task(quota.acquire())
        while len(server.state.places) < 2:
            await asyncio.sleep(0)
        slot.throttled(60.0)
        slot.release()
        server.delivers.set()
        await server.exchanged(1)
        assert server.state.places == {}
        assert not late.done()
        late.cancel()


async def test_idle(server: Server, quota: RemoteQuota) -> None:
    """There are no exchanges while no caller waits and nothing is reported."""
    slot = await quota.acquire()
    before = server.exchanges
    for _ in range(100):
        await asyncio.sleep(0)
    assert server.exchanges == before
    slot.refund()


async def test_closing(server: Server) -> None:
    """Closing abandons the slots that are held, and refuses callers that wait or come."""
    async with quota_on(server) as quota:
        await quota.acquire()
        (waiting,) = await callers(quota, 1)
        state = "1 of 1 in flight, 1 of 100 in 3600 s, 1 waiting"
        assert repr(quota) == f"<RemoteQuota the server: Quota((100, 3600.0), in_flight=1), {state}>"
    with pytest.raises(ClientClosedError):
        await waiting
    (slot,) = server.state.places.values()
    assert slot.back_at is not None
    with pytest.raises(ClientClosedError, match="async with"):
        await quota.acquire()


@pytest.mark.parametrize("outage_timeout", [0, -1, math.inf, math.nan, "5", True])
def test_outage_timeout(server: Server, outage_timeout: float) -> None:
    """An `outage_timeout` that is not a positive number of seconds is refused."""
    with pytest.raises((ConfigurationError, TypeError), match="outage_timeout: "):
        quota_on(server, outage_timeout=outage_timeout)


def test_not_a_quota(server: Server) -> None:
    """A quota of another type is refused, and the error shows a right one."""
    with pytest.raises(TypeError, match=r"expected Quota, got tuple; write Quota\(\(24, 60\), in_flight=2\)"):
        RemoteQuota((24, 60), lambda: ServerBackend(server, "a"), 5.0)  # type: ignore[arg-type]


async def test_grant_of_lost_result(server: Server) -> None:
    """A slot whose grant was lost on the way is not handed out in a pause that was reported since."""
    async with quota_on(server) as quota:
        server.state.quota = Quota((100, 3600), in_flight=2)
        first = await quota.acquire()
        server.lose_results = 1
        waiting = asyncio.create_task(quota.acquire(max_pause=10))
        while server.lose_results:
            await asyncio.sleep(0)
        first.throttled(60)
        first.release()
        with pytest.raises(QuotaPausedError):
            await waiting


async def test_standstill(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot of a process that stood still for longer than its lease has expired, also after the next exchange."""
    server.state.holders["a"] = clock() + LEASE
    async with quota_on(server) as quota:
        slot = await quota.acquire()
        assert not slot.expired()
        monkeypatch.setattr(remote, "clock", lambda: clock() + LEASE + 1)
        assert slot.expired()
        await server.exchanged(1)
        monkeypatch.undo()
        server.state.holders["a"] = clock() + LEASE
        await server.exchanged(1)
        assert slot.expired()
        slot.refund()
