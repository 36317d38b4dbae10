from __future__ import annotations

import asyncio
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
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clicksgroup.redis as redis_module
from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.state import TURN, Event, ExchangeResult
from clicksgroup.redis import RedisQuota
from tests.quota.processes import Processes
from tests.quota.simulation import Process, Simulation
from tests.quota.strict_server import StrictServer

URL = os.environ.get("CLICKSGROUP_TEST_REDIS_URL", "redis://127.0.0.1:6379")


def scripted(time: str) -> str:
    """The script with another clock for the engine's."""
    assert redis_module.SCRIPT.count("redis.call('TIME')") == 1
    return redis_module.SCRIPT.replace("redis.call('TIME')", time)


STEPPED = scripted("{redis.call('TIME')[1] + (redis.call('GET', KEYS[1] .. 'step') or 0), redis.call('TIME')[2]}")
FAKE_TIME = scripted("cjson.decode(redis.call('GET', KEYS[1] .. 'time'))")


@pytest.fixture
def engine() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(URL) as connection:
        try:
            connection.ping()
        except redis.RedisError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"there is no Redis at {URL}: {error}")
            pytest.skip(f"there is no Redis at {URL}: {error}")
        yield connection


@pytest.fixture
def name(engine: redis.Redis) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    yield name
    for key in engine.scan_iter(f"{{clicksgroup:{name}}}*"):
        engine.delete(key)


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


async def test_three_processes_keep_one_quota_and_use_it(name: str) -> None:
    """No window is over, never too many are in flight, and each gets its share of nearly all there is."""
    quota, window = Quota((24, 1.5), in_flight=2), 1.5
    async with StrictServer(quota) as server, Processes(server, quota, url=URL, name=name) as processes:
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


async def test_an_engine_that_is_killed_and_comes_back_empty_costs_a_window_and_no_429(own_redis: OwnRedis) -> None:
    quota = Quota((24, 1), in_flight=3)
    async with StrictServer(quota) as server, Processes(server, quota, url=own_redis.url, name="shop") as processes:
        for worker in "abc":
            await processes.start(worker)
        for worker in "abc":
            await server.seen(1, by=worker)
        for _ in range(2):
            await server.seen(20)
            await own_redis.kill()
            await own_redis.start()
        await server.seen(48)
        await processes.finish()
    assert server.rejected == []


async def test_an_engine_whose_clock_is_set_half_a_minute_off_changes_nothing(engine: redis.Redis, name: str) -> None:
    """Either way: no window is over, and nothing stalls."""
    quota = Quota((24, 1), in_flight=3)
    async with StrictServer(quota) as server, Processes(server, quota, url=URL, name=name, script=STEPPED) as processes:
        for worker in "ab":
            await processes.start(worker)
        for worker in "ab":
            await server.seen(1, by=worker)
        for step in (30, 0, -30):
            await server.seen(30)
            before = json.loads(await asyncio.to_thread(engine.get, f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
            engine.set(f"{{clicksgroup:{name}}}step", step)
        await server.seen(30)
        after = json.loads(engine.get(f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
        await processes.finish()
    assert server.rejected == []
    assert after["clock"] - before["clock"] < 10  # the steps are no part of the quota's own time


async def test_what_a_killed_process_holds_comes_back_when_its_lease_runs_out(
    engine: redis.Redis, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not sooner, not later."""
    monkeypatch.setattr(redis_module, "LEASE", 1.5)
    quota, key = Quota((100, 60), in_flight=2), f"{{clicksgroup:{name}}}"
    async with (
        StrictServer(quota, latency=60) as server,
        Processes(server, quota, url=URL, name=name, lease=1.5) as processes,
    ):
        await processes.start("a", tasks=2)
        await server.seen(2)
        async with RedisQuota(URL, quota, name=name) as other:
            waiting = asyncio.create_task(other.acquire())
            await processes.kill("a")
            before = json.loads(engine.get(key))  # type: ignore[arg-type]
            ((_, place), _) = before["places"].items()
            await waiting
            after = json.loads(engine.get(key))  # type: ignore[arg-type]
            lease = before["holders"][place["holder"]]
            assert lease <= after["clock"] < lease + 0.5
            assert len(after["places"]) == 1


async def test_an_engine_that_stays_away_is_named_without_its_password_and_welcome_back(own_redis: OwnRedis) -> None:
    async with RedisQuota(own_redis.url, Quota(in_flight=1), name="shop", outage_timeout=0.3) as quota:
        slot = await quota.acquire()
        await own_redis.kill()
        slot.answered()
        slot.release()
        with pytest.raises(QuotaUnavailableError, match=f"Redis at 127.0.0.1:{own_redis.port} has been away") as caught:
            await quota.acquire()
        assert "hunter2" not in repr(quota) + str(caught.value)
        with pytest.raises(QuotaUnavailableError, match=f"Redis at 127.0.0.1:{own_redis.port} has been away"):
            await RedisQuota(own_redis.url, Quota(), name="shop", outage_timeout=0.1).__aenter__()
        await own_redis.start()
        (await quota.acquire()).release()


async def test_a_wrong_password_is_an_error_that_does_not_show_it(own_redis: OwnRedis) -> None:
    url = own_redis.url.replace("hunter2", "secret")
    with pytest.raises(QuotaUnavailableError, match=r"cannot be used: .*password") as caught:
        await RedisQuota(url, Quota(), name="shop", outage_timeout=0.1).__aenter__()
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("engine")
async def test_a_database_that_is_none_is_told_without_waiting() -> None:
    with pytest.raises(QuotaUnavailableError, match="cannot be used: DB index is out of range"):
        await RedisQuota(f"{URL.rstrip('/')}/9999", Quota(), name="shop", outage_timeout=0.1).__aenter__()


async def test_a_server_that_is_no_redis_is_told_at_the_first_answer() -> None:
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


async def test_a_clean_end_leaves_nobody_behind(engine: redis.Redis, name: str) -> None:
    async with RedisQuota(URL, Quota(in_flight=3), name=name) as quota:
        await quota.acquire()
        assert "1 held" in repr(quota)
    state = json.loads(engine.get(f"{{clicksgroup:{name}}}"))  # type: ignore[arg-type]
    assert (state["holders"], len(state["places"])) == ({}, 1)
    assert all(place["back_at"] for place in state["places"].values())


async def test_who_is_given_another_quota_than_those_who_keep_it_is_refused(name: str) -> None:
    async with RedisQuota(URL, Quota((5, 60)), name=name):
        with pytest.raises(ConfigurationError, match=r"keeps Quota\(\(5, 60.0\).*given Quota\(\(9, 60.0\)"):
            await RedisQuota(URL, Quota((9, 60)), name=name).__aenter__()
    async with RedisQuota(URL, Quota((9, 60)), name=name) as later:
        (await later.acquire()).refund()


@pytest.mark.parametrize("url", ["http://secret@127.0.0.1", "secret", "redis://127.0.0.1:secret"])
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
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
def test_an_option_that_redis_does_not_take_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url: one of its options") as caught:
        RedisQuota(url, Quota(), name="shop")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a}b"])
def test_a_name_that_makes_no_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        RedisQuota("redis://127.0.0.1", Quota(), name=name)


class Desk:
    """Calls the script as a process would, with a clock of the test's own on either side."""

    def __init__(self, engine: redis.Redis, name: str, monkeypatch: pytest.MonkeyPatch, quota: Quota) -> None:
        self.now = 1000.0
        self.step = 0.0  # how far the engine's clock is off ours
        self._engine = engine
        self._quota = quota
        self._key = f"{{clicksgroup:{name}}}"
        self._script = engine.register_script(FAKE_TIME)
        self._processes: dict[str, RedisQuota] = {}
        monkeypatch.setattr(redis_module, "clock", lambda: self.now)

    def knows(self, process: Process) -> bool:
        """Whether it has called before: only who knows what time it was can tell that the clock was set."""
        return process.name in self._processes

    def lose_everything(self) -> None:
        self._engine.delete(self._key)

    def memory(self) -> bytes:
        found = self._engine.get(self._key)
        assert isinstance(found, bytes)
        return found

    def go_back_to(self, memory: bytes) -> None:
        self._engine.set(self._key, memory)

    def exchange(self, process: Process, now: float | None = None) -> ExchangeResult:
        self.now = self.now if now is None else now
        if not self.knows(process):
            self._processes[process.name] = RedisQuota(URL, self._quota, name="desk")
        quota = self._processes[process.name]
        seconds, rest = divmod(1_700_000_000 + self.now + self.step, 1)
        self._engine.set(f"{self._key}time", json.dumps([int(seconds), int(rest * 1_000_000)]))
        call = quota._call(process.events, process.tickets, process.held)
        answer: dict[str, Any] = json.loads(self._script(keys=[self._key], args=[call]))
        if "doubt" in answer:
            call = quota._call(process.events, process.tickets, process.held, sure=True)
            answer = json.loads(self._script(keys=[self._key], args=[call]))
        return quota._understand(answer, self.now)

    def granted(self, process: Process, *tickets: str, events: tuple[Event, ...] = ()) -> list[str]:
        """One exchange, whose grants the process takes."""
        process.tickets, process.events = list(tickets), list(events)
        for event in events:
            if event.kind in ("released", "refunded"):
                process.held.pop(event.id, None)
        reply = self.exchange(process)
        process.held.update(dict.fromkeys(reply.granted, False))
        process.tickets, process.events = [], []
        return list(reply.granted)


limits = st.lists(st.tuples(st.integers(2, 6), st.sampled_from([1.0, 4.0])), min_size=1, max_size=2)


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32), st.booleans())
def test_no_window_is_ever_over_and_nothing_is_lost_for_ever(
    engine: redis.Redis, limits: list[tuple[int, float]], in_flight: int, processes: int, seed: int, troubles: bool
) -> None:
    """Whatever the network, the deaths, the lost replies, the refunds and the steps of the engine's clock."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(redis_module, "LEASE", 4.5)
        desk = Desk(engine, f"test-{uuid.uuid4().hex}", monkeypatch, Quota(*limits, in_flight=in_flight))

        def exchange(process: Process, now: float) -> ExchangeResult:
            if troubles and rng.random() < 0.02 and desk.knows(process):
                desk.step = rng.choice([-30.0, -3.0, 0.0, 3.0, 30.0])
            return desk.exchange(process, now)

        simulation = Simulation(desk._quota, exchange, rng)
        try:
            simulation.run(processes, 30, troubles=troubles)
        finally:
            engine.delete(desk._key, f"{desk._key}time")
    assert simulation.over() == []


@pytest.fixture
def desk(engine: redis.Redis, name: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(engine, name, monkeypatch, Quota((3, 60), in_flight=3))


def test_an_empty_engine_that_nobody_knew_is_new_and_one_that_lost_its_memory_costs_one_window(desk: Desk) -> None:
    """Once, whoever notices, and what is in flight stays so."""
    a, b, c = Process("a"), Process("b"), Process("c")
    assert desk.granted(a, "a1") == ["a1"]
    assert desk.granted(b) == []
    desk.lose_everything()
    assert desk.granted(a, "a2") == []
    for _ in range(59):
        desk.now += 1
        assert desk.granted(a) == desk.granted(b, "b1") == []
    desk.granted(b)
    desk.now += 1.1
    assert desk.granted(c, "c1", "c2", "c3") == ["c1", "c2"]


def test_an_engine_that_came_back_with_an_old_memory_costs_one_window_too(desk: Desk) -> None:
    """A snapshot knows as open what ended long ago; that is not believed for longer than an orphan is."""
    a, b = Process("a"), Process("b")
    assert desk.granted(a, "a1") == ["a1"]
    snapshot = desk.memory()
    desk.granted(a, events=(Event("released", "a1", desk.now),))
    desk.go_back_to(snapshot)
    desk.now += 1
    assert desk.granted(b, "b1") == ["b1"]  # nobody could know
    desk.granted(b, events=(Event("refunded", "b1", desk.now),))
    desk.go_back_to(snapshot)
    assert desk.granted(b, "b1") == []
    assert desk.granted(a) == []
    desk.now += 60.1
    desk.granted(a)
    assert desk.granted(b, "b1", "b2", "b3") == ["b1", "b2"]


def test_a_clock_that_was_set_back_while_nobody_looked_stalls_nobody(desk: Desk) -> None:
    a, successor = Process("a"), Process("successor")
    desk.granted(a, "a1")
    desk.granted(a, events=(Event("released", "a1", desk.now),))
    desk.step = -86400.0
    assert desk.granted(successor, "h1", "h2", "h3") == ["h1", "h2"]
    desk.now += 60.1
    assert desk.granted(successor, "h3") == ["h3"]


def test_after_a_pause_one_goes_first_of_all_processes_and_the_rest_when_it_passes(desk: Desk) -> None:
    a, b = Process("a"), Process("b")
    desk.granted(a, "a1")
    desk.granted(a, "a2", events=(Event("throttled", "a1", desk.now, 5.0), Event("released", "a1", desk.now)))
    assert desk.exchange(b).paused == pytest.approx(5, abs=0.001)
    desk.now += 5.001
    assert desk.granted(a, "a2", "a3") == ["a2"]
    assert desk.granted(a) == []
    assert desk.granted(b, "b1") == []
    desk.granted(a, events=(Event("answered", "a2", desk.now),))
    assert desk.granted(b, "b1") == ["b1"]


def test_a_call_that_took_long_does_not_look_like_a_step_of_the_clock(desk: Desk) -> None:
    """The script does nothing on the first doubt, so the second call tells."""
    a = Process("a")
    desk.granted(a)
    before = desk.memory()
    call = desk._processes["a"]._call((), ["a1"], {})
    desk._engine.set(f"{desk._key}time", json.dumps([1_700_001_002, 0]))
    assert json.loads(desk._script(keys=[desk._key], args=[call])) == {"doubt": True}
    assert desk.memory() == before


def test_without_redis_py_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "clicksgroup.redis")
    with pytest.raises(ImportError, match=r'pip install "clicksgroup\[redis\]"'):
        importlib.import_module("clicksgroup.redis")


def test_the_first_to_come_is_the_first_to_go_and_one_that_does_not_come_is_passed_over(desk: Desk) -> None:
    a, b, stopped = Process("a"), Process("b"), Process("stopped")
    assert desk.granted(a, "a1", "a2", "a3") == ["a1", "a2", "a3"]
    assert desk.granted(stopped, "s1") == []
    assert desk.granted(b, "b1") == []
    desk.granted(a, events=(Event("refunded", "a1", desk.now),))
    assert desk.granted(b, "b1") == []
    desk.now += TURN
    assert desk.granted(b, "b1") == ["b1"]
    assert desk.granted(stopped, "s1") == []
