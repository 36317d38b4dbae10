"""A quota that is kept in Redis: by a real server, and by the script under a clock of the test."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

import clicksgroup.redis as redis_module
from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Event
from clicksgroup.quota.state import TURN_TIMEOUT, ExchangeResult, Report
from clicksgroup.redis import RedisBackend, RedisQuota
from clicksgroup.settings import Secret
from tests.quota.processes import Processes
from tests.quota.simulation import Process, Simulation
from tests.quota_server import QuotaServer
from tests.redis_server import URL, connected

pytestmark = pytest.mark.redis


def scripted(time: str) -> str:
    """The script with another clock."""
    assert redis_module.SCRIPT.count("redis.call('TIME')") == 1
    return redis_module.SCRIPT.replace("redis.call('TIME')", time)


STEPPED = scripted("{redis.call('TIME')[1] + (redis.call('GET', KEYS[1] .. 'step') or 0), redis.call('TIME')[2]}")


@pytest.fixture
def connection() -> Iterator[redis.Redis]:
    with connected() as opened:
        yield opened


@pytest.fixture
def name(connection: redis.Redis) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    yield name
    for key in connection.scan_iter(f"{{clicksgroup:{name}}}*"):
        connection.delete(key)


class OwnRedis:
    """A Redis that a test may kill: empty each time it starts."""

    def __init__(self, folder: pathlib.Path) -> None:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            if os.environ.get("CI") == "true":
                pytest.fail("there is no redis-server to start")
            pytest.skip("there is no redis-server to start")
        self._program = found
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://:hunter2@127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", "hunter2",
            "--save", "", "--dir", self._folder, "--daemonize", "no", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        while b"Ready to accept connections" not in await self._process.stdout.readline():
            pass

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.communicate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()


@pytest.fixture
async def own_redis(tmp_path: pathlib.Path) -> AsyncIterator[OwnRedis]:
    async with OwnRedis(tmp_path) as own:
        yield own


@pytest.mark.slow
async def test_three_processes(name: str) -> None:
    """Three processes keep one quota, use nearly all of it, and each gets its share."""
    quota, window = Quota((24, 1.5), in_flight=2), 1.5
    async with QuotaServer(quota) as server, Processes(server, quota, url=URL, name=name) as processes:
        for worker in "abc":
            await processes.start(worker)
        for worker in "abc":
            await server.seen(1, by=worker)
        await server.seen(24 * 5)
        start, end = server.arrivals[-24 * 4 - 1][0], server.arrivals[-1][0]
        await processes.finish()
    assert server.rejected == []
    assert server.most_in_flight == 2
    shares = server.shares(start, end)
    assert sum(shares.values()) / (24 * (end - start) / window) >= 0.95
    assert all(abs(shares[worker] - 32) <= 0.15 * 32 for worker in "abc"), shares


@pytest.mark.slow
async def test_killed_redis(own_redis: OwnRedis) -> None:
    """A Redis that is killed and comes back empty causes no 429, and the processes go on."""
    quota = Quota((24, 1), in_flight=3)
    async with QuotaServer(quota) as server, Processes(server, quota, url=own_redis.url, name="shop") as processes:
        for worker in "abc":
            await processes.start(worker)
        for worker in "abc":
            await server.seen(1, by=worker)
        for _ in range(2):
            await server.seen(20)
            await own_redis.kill()
            await own_redis.start()
        await server.seen(48)
        await processes.finish("has lost what it knew")
    assert server.rejected == []


@pytest.mark.slow
async def test_clock_step(connection: redis.Redis, name: str) -> None:
    """A step of Redis's clock of half a minute, either way, changes nothing: no 429, and nothing stalls."""
    quota = Quota((24, 1), in_flight=3)
    async with QuotaServer(quota) as server, Processes(server, quota, url=URL, name=name, script=STEPPED) as processes:
        for worker in "ab":
            await processes.start(worker)
        for worker in "ab":
            await server.seen(1, by=worker)
        for step in (30, 0, -30):
            await server.seen(30)
            before = json.loads(await asyncio.to_thread(connection.get, f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
            connection.set(f"{{clicksgroup:{name}}}step", step)
        await server.seen(30)
        after = json.loads(connection.get(f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
        await processes.finish()
    assert server.rejected == []
    # The steps are not part of the quota's own time.
    assert after["clock"] - before["clock"] < 10


@pytest.mark.slow
async def test_lease(connection: redis.Redis, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots of a killed process come back when its lease expires, not earlier and not later."""
    set_lease(monkeypatch, 1.5)
    quota, key = Quota((100, 60), in_flight=2), f"{{clicksgroup:{name}}}"
    async with (
        QuotaServer(quota, latency=60) as server,
        Processes(server, quota, url=URL, name=name, lease=1.5) as processes,
    ):
        await processes.start("a", tasks=2)
        await server.seen(2)
        async with RedisQuota(URL, quota, name=name) as other:
            waiting = asyncio.create_task(other.acquire())
            await processes.kill("a")
            before = json.loads(connection.get(key))  # type: ignore[arg-type]
            ((_, place), _) = before["places"].items()
            await waiting
            after = json.loads(connection.get(key))  # type: ignore[arg-type]
            lease = before["holders"][place["holder"]]
            assert lease <= after["clock"] < lease + 0.5
            assert len(after["places"]) == 1


async def test_outage(own_redis: OwnRedis) -> None:
    """The error of an outage names the server but not its password, and after the outage all goes on."""
    async with RedisQuota(own_redis.url, Quota(in_flight=1), name="shop", outage_timeout=0.3) as quota:
        slot = await quota.acquire()
        await own_redis.kill()
        slot.answered()
        slot.release()
        with pytest.raises(
            QuotaUnavailableError, match=f"Redis at 127.0.0.1:{own_redis.port} was out of reach"
        ) as caught:
            await quota.acquire()
        assert "hunter2" not in repr(quota) + str(caught.value)
        with pytest.raises(QuotaUnavailableError, match=f"Redis at 127.0.0.1:{own_redis.port} was out of reach"):
            await RedisQuota(own_redis.url, Quota(), name="shop", outage_timeout=0.1).__aenter__()
        await own_redis.start()
        (await quota.acquire()).release()


async def test_wrong_password(own_redis: OwnRedis) -> None:
    """A wrong password is an error that does not show it."""
    url = own_redis.url.replace("hunter2", "secret")
    with pytest.raises(QuotaUnavailableError, match=r"cannot be used: .*password") as caught:
        await RedisQuota(url, Quota(), name="shop", outage_timeout=0.1).__aenter__()
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("connection")
async def test_wrong_database() -> None:
    """A database that does not exist is an error."""
    with pytest.raises(QuotaUnavailableError, match="cannot be used: DB index is out of range"):
        await RedisQuota(f"{URL.rstrip('/')}/9999", Quota(), name="shop", outage_timeout=0.1).__aenter__()


async def test_another_server() -> None:
    """A server that is not Redis is an error at its first answer."""
    calls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(QuotaUnavailableError, match=f"127.0.0.1:{port} cannot be used: .*HTTP"):
            await RedisQuota(f"redis://127.0.0.1:{port}", Quota(), name="shop", outage_timeout=0.2).__aenter__()
    assert calls == 1


async def test_closing(connection: redis.Redis, name: str) -> None:
    """Closing ends the lease, and abandons the slots that are held."""
    async with RedisQuota(URL, Quota(in_flight=3), name=name) as quota:
        await quota.acquire()
        assert "1 of 3 in flight" in repr(quota)
    state = json.loads(connection.get(f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
    assert (state["holders"], len(state["places"])) == ({}, 1)
    assert all(place["back_at"] for place in state["places"].values())


async def test_different_quotas(name: str) -> None:
    """A process with a different quota than the others is refused, until they have closed."""
    async with RedisQuota(URL, Quota((5, 60)), name=name):
        with pytest.raises(ConfigurationError, match=r"keeps Quota\(\(5, 60.0\).*given Quota\(\(9, 60.0\)"):
            await RedisQuota(URL, Quota((9, 60)), name=name).__aenter__()
    async with RedisQuota(URL, Quota((9, 60)), name=name) as later:
        (await later.acquire()).refund()


@pytest.mark.parametrize("url", ["http://secret@127.0.0.1", "secret", "redis://127.0.0.1:secret"])
def test_invalid_url(url: str) -> None:
    """A URL that is not valid is refused without being shown."""
    with pytest.raises(ConfigurationError, match="url: expected redis://") as caught:
        RedisQuota(url, Quota(), name="shop")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@127.0.0.1/0?nonsense=1",
        "redis://:secret@127.0.0.1?protocol=9",
        "unix://:secret@/tmp/redis.sock?ssl_check_hostname=1",
    ],
)
def test_invalid_option(url: str) -> None:
    """An option that redis-py does not take is refused without showing the password."""
    with pytest.raises(ConfigurationError, match="url: redis-py does not know one of its options") as caught:
        RedisQuota(url, Quota(), name="shop")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a}b"])
def test_invalid_name(name: str) -> None:
    """A name that is empty or has braces is refused."""
    with pytest.raises(ConfigurationError, match="name"):
        RedisQuota("redis://127.0.0.1", Quota(), name=name)


def set_lease(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in ("state", "remote"):
        monkeypatch.setattr(f"clicksgroup.quota.{module}.LEASE", seconds)


class FakeRedis:
    """Redis in memory, as processes would use it. The test moves the clocks of both sides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, quota: Quota) -> None:
        self.now = 1000.0
        # Redis's clock minus ours.
        self.step = 0.0
        # Seconds that a call takes to arrive.
        self.late = 0.0
        # Seconds that its answer takes to arrive.
        self.slow = 0.0
        self.quota = quota
        self.memory = b""
        self.calls = 0
        # Called when a call arrives: what another process does in between.
        self.arrives: Callable[[], None] = lambda: None
        self._processes: dict[str, RedisBackend] = {}
        monkeypatch.setattr(redis_module, "clock", lambda: self.now)

    def backend(self, process: Process) -> RedisBackend:
        if not self.knows(process):
            backend = RedisBackend(Secret(URL), self.quota, "test", 5.0)
            backend.script = self  # type: ignore[assignment]
            self._processes[process.name] = backend
        return self._processes[process.name]

    def knows(self, process: Process) -> bool:
        """Whether it has called before: only then can it tell that the clock was set."""
        return process.name in self._processes

    async def __call__(self, keys: list[str], args: tuple[str, bytes]) -> tuple[bytes, bytes, bytes | None]:
        """The script, as redis-py calls it."""
        known, value = args
        self.calls += 1
        self.now += self.late
        self.arrives()
        seconds, rest = divmod(1_700_000_000 + self.now + self.step, 1)
        unchanged = hashlib.sha1(self.memory).hexdigest() == known
        found = None if unchanged else self.memory
        if unchanged and value:
            self.memory = value
        self.now += self.slow
        return b"%d" % seconds, b"%d" % (rest * 1_000_000), found

    def exchange(self, process: Process, now: float | None = None) -> ExchangeResult:
        self.now = self.now if now is None else now
        return run(self.backend(process).exchange(Report(process.events, process.waiting, process.held)))

    def granted(self, process: Process, *request_ids: str, events: tuple[Event, ...] = ()) -> list[str]:
        """One exchange, whose slots the process takes."""
        process.waiting, process.events = list(request_ids), list(events)
        for event in events:
            if event.kind in ("released", "refunded"):
                process.held.pop(event.id, None)
        result = self.exchange(process)
        process.held.update(dict.fromkeys(result.granted, False))
        process.waiting, process.events = [], []
        return list(result.granted)


def run(exchange: Coroutine[Any, Any, ExchangeResult]) -> ExchangeResult:
    """Run a coroutine that waits for nothing."""
    try:
        exchange.send(None)
    except StopIteration as stop:
        result: ExchangeResult = stop.value
        return result
    raise AssertionError("it waits")


limits = st.lists(st.tuples(st.integers(2, 6), st.sampled_from([1.0, 4.0])), min_size=1, max_size=2)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(limits, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32), st.booleans())
def test_keeps_quota(limits: list[tuple[int, float]], in_flight: int, processes: int, seed: int, faults: bool) -> None:
    """No quota is exceeded and no slot is lost, whatever the network, deaths, lost results and steps of the clock."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_lease(monkeypatch, 4.5)
        server = FakeRedis(monkeypatch, Quota(*limits, in_flight=in_flight))

        def exchange(process: Process, now: float) -> ExchangeResult:
            if faults and rng.random() < 0.02 and server.knows(process):
                server.step = rng.choice([-30.0, -3.0, 0.0, 3.0, 30.0])
            return server.exchange(process, now)

        simulation = Simulation(server.quota, exchange, rng)
        simulation.run(processes, 60, faults=faults)
    assert simulation.violations() == []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    return FakeRedis(monkeypatch, Quota((3, 60), in_flight=3))


def test_lost_memory(server: FakeRedis) -> None:
    """A lost memory costs one window, once for all processes, and what is in flight stays in flight."""
    a, b, c = Process("a"), Process("b"), Process("c")
    assert server.granted(a, "a1") == ["a1"]
    assert server.granted(b) == []
    server.memory = b""
    assert server.granted(a, "a2") == []
    for _ in range(59):
        server.now += 1
        assert server.granted(a) == server.granted(b, "b1") == []
    server.granted(b)
    server.now += 1.1
    assert server.granted(c, "c1", "c2", "c3") == ["c1", "c2"]


def test_older_memory(server: FakeRedis) -> None:
    """An older memory costs one window; requests that it takes for open are orphans."""
    a, b = Process("a"), Process("b")
    assert server.granted(a, "a1") == ["a1"]
    snapshot = server.memory
    server.granted(a, events=(Event("released", "a1", server.now),))
    server.memory = snapshot
    server.now += 1
    assert server.granted(b, "b1") == ["b1"]
    server.granted(b, events=(Event("refunded", "b1", server.now),))
    server.memory = snapshot
    assert server.granted(b, "b1") == []
    assert server.granted(a) == []
    server.now += 60.1
    server.granted(a)
    assert server.granted(b, "b1", "b2", "b3") == ["b1", "b2"]


def test_clock_step_while_closed(server: FakeRedis) -> None:
    """A clock that was set back while no process had the quota open stalls nobody."""
    a, successor = Process("a"), Process("successor")
    server.granted(a, "a1")
    server.granted(a, events=(Event("released", "a1", server.now),))
    server.step = -86400.0
    assert server.granted(successor, "h1", "h2", "h3") == ["h1", "h2"]
    server.now += 60.1
    assert server.granted(successor, "h3") == ["h3"]


def test_pause(server: FakeRedis) -> None:
    """After a pause one trial request starts in all processes, and the others follow when it passes."""
    a, b = Process("a"), Process("b")
    server.granted(a, "a1")
    server.granted(a, "a2", events=(Event("throttled", "a1", server.now, 5.0), Event("released", "a1", server.now)))
    assert server.exchange(b).pause_left == pytest.approx(5, abs=0.001)
    server.now += 5.001
    assert server.granted(a, "a2", "a3") == ["a2"]
    assert server.granted(a) == []
    assert server.granted(b, "b1") == []
    server.granted(a, events=(Event("answered", "a2", server.now),))
    assert server.granted(b, "b1") == ["b1"]


def test_clock_step_and_slow_answer(server: FakeRedis) -> None:
    """Where the clock was set forward and the answer that shows it is slow, no window ends too soon."""
    a = Process("a")
    server.granted(a, "a1", "a2", "a3")
    server.granted(a, events=tuple(Event("released", slot, server.now) for slot in ("a1", "a2", "a3")))
    answered_at = server.now
    server.step, server.slow = 30.0, 2.0
    server.granted(a)
    server.slow = 0.0
    while not server.granted(a, *(f"b{i}" for i in range(4))):
        server.now += 0.1
    assert server.now >= answered_at + 60


def test_slow_call(server: FakeRedis) -> None:
    """A call that took long is not taken for a step of the clock."""
    a = Process("a")
    server.granted(a)
    before = json.loads(server.memory)["origin"]
    server.late = 5.0
    assert server.granted(a, "a1") == ["a1"]
    assert server.granted(a, events=(Event("released", "a1", server.now),)) == []
    assert json.loads(server.memory)["origin"] == before


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py the error says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "clicksgroup.redis")
    with pytest.raises(ImportError, match=r'pip install "clicksgroup\[redis\]"'):
        importlib.import_module("clicksgroup.redis")


def test_turns(server: FakeRedis) -> None:
    """The first request to come is the first to start; a process that does not come loses its turn."""
    a, b, stopped = Process("a"), Process("b"), Process("stopped")
    assert server.granted(a, "a1", "a2", "a3") == ["a1", "a2", "a3"]
    assert server.granted(stopped, "s1") == []
    assert server.granted(b, "b1") == []
    server.granted(a, events=(Event("refunded", "a1", server.now),))
    assert server.granted(b, "b1") == []
    server.now += TURN_TIMEOUT
    assert server.granted(b, "b1") == ["b1"]
    assert server.granted(stopped, "s1") == []
