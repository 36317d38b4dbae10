"""One quota in several event loops, and what a fork, a stop and another user do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator

import pytest

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota, QuotaPausedError, SharedQuota, Slot
from clicksgroup.quota import backend as backend_module
from clicksgroup.quota.backend import clock
from clicksgroup.quota.file import FileBackend, lock
from clicksgroup.quota.ledger import LONGEST_PAUSE, Event
from clicksgroup.quota.local import local_quota
from clicksgroup.quota.state import LEASE, Report, SharedState, dump, load
from clicksgroup.redis import RedisQuota
from tests.redis_server import URL, connected

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def owner() -> tuple[str, str]:
    return "https://vivoldi.com:443", uuid.uuid4().hex


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "quota.json"


def finish(slot: Slot) -> None:
    slot.answered()
    slot.release()


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.redis)])
def shared(request: pytest.FixtureRequest, path: pathlib.Path) -> Iterator[SharedQuota]:
    """One object, made outside of any event loop."""
    quota = Quota((6, 3600), in_flight=2)
    if request.param == "file":
        yield FileQuota(path, quota)
        return
    name = f"test-{uuid.uuid4().hex}"
    with connected() as connection:
        yield RedisQuota(URL, quota, name=name)
        connection.delete(f"{{clicksgroup:{name}}}")


async def spend(quota: SharedQuota, requests: int) -> None:
    async with quota:
        for _ in range(requests):
            finish(await quota.acquire())


def in_threads(*works: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert errors == []


def test_shared_object_in_many_loops(shared: SharedQuota) -> None:
    """One object at module level serves event loops one after another, and several at once, within one quota."""
    asyncio.run(spend(shared, 1))
    asyncio.run(spend(shared, 1))
    in_threads(*(lambda: asyncio.run(spend(shared, 2)) for _ in range(2)))

    async def seventh() -> None:
        async with shared:
            waiting = asyncio.create_task(shared.acquire())
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
            assert "6 of 6 in 3600 s" in repr(shared)
            assert shared.seconds_until(1) > 3500
            assert shared.wait_status().startswith("quota used up (6 of 6 in 3600 s), next request in 3")
            waiting.cancel()

    asyncio.run(seventh())


def test_local_quota_one_loop_after_another(owner: tuple[str, str]) -> None:
    """A script that calls `asyncio.run` for each date keeps its quota, also with a request left behind."""
    quota = Quota((3, 3600), in_flight=2)

    async def ask(requests: int) -> str:
        async with local_quota(quota, owner) as kept:
            for _ in range(requests):
                finish(await kept.acquire())
            # Left behind: it counts as answered when its hold ends.
            await kept.acquire()
            return repr(kept)

    asyncio.run(ask(1))

    async def later() -> None:
        async with local_quota(quota, owner) as kept:
            assert "1 of 2 in flight, 2 of 3 in 3600 s" in repr(kept)
            finish(await kept.acquire())
            assert kept.seconds_until(1) > 3500

    asyncio.run(later())


def test_local_quota_in_two_threads(owner: tuple[str, str]) -> None:
    """Two event loops at the same time keep one quota: one waits until the other has ended its request."""
    quota = Quota(in_flight=1)
    waits, ended = threading.Event(), threading.Event()

    async def first() -> None:
        async with local_quota(quota, owner) as kept:
            slot = await kept.acquire()
            await asyncio.to_thread(waits.wait, 10)
            ended.set()
            finish(slot)

    async def second() -> None:
        async with local_quota(quota, owner) as kept:
            while " 1 of 1 in flight" not in repr(kept):
                await asyncio.sleep(0.001)
            task = asyncio.create_task(kept.acquire())
            await asyncio.sleep(0)
            waits.set()
            finish(await task)
            assert ended.is_set()

    in_threads(lambda: asyncio.run(first()), lambda: asyncio.run(second()))


def test_pause_in_two_threads(owner: tuple[str, str]) -> None:
    """A 429 refuses the callers of another event loop, too, that do not accept the pause."""
    holds, waits = threading.Event(), threading.Event()

    async def first() -> None:
        async with local_quota(Quota(in_flight=1), owner) as kept:
            slot = await kept.acquire()
            holds.set()
            await asyncio.to_thread(waits.wait, 10)
            slot.throttled(60)
            slot.release()

    async def second() -> None:
        async with local_quota(Quota(in_flight=1), owner) as kept:
            await asyncio.to_thread(holds.wait, 10)
            asyncio.get_running_loop().call_soon(waits.set)
            for _ in range(2):
                with pytest.raises(QuotaPausedError):
                    await kept.acquire(max_pause=10)

    in_threads(lambda: asyncio.run(first()), lambda: asyncio.run(second()))


def test_different_quotas_in_two_threads(owner: tuple[str, str]) -> None:
    """While one event loop keeps a quota, a different one for the same key is refused in another."""

    async def other() -> None:
        local_quota(Quota((9, 60)), owner)

    async def main() -> None:
        async with local_quota(Quota((5, 60)), owner):
            with pytest.raises(ConfigurationError, match=r"already in force .* in this process"):
                await asyncio.to_thread(asyncio.run, other())

    asyncio.run(main())


def test_lease_expires(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot of a process that stood still is expired before its lease ends, and can be refunded."""

    async def main() -> None:
        async with FileQuota(path, Quota((9, 60))) as quota:
            slot = await quota.acquire()
            assert not slot.expired()
            now = clock()
            monkeypatch.setattr("clicksgroup.quota.remote.clock", lambda: now + LEASE - 1)
            assert slot.expired()
            slot.refund()
            assert slot.expired()

    asyncio.run(main())


def test_stopped_process() -> None:
    """The place of a stopped process is free when its lease expires; then its own slots are gone."""
    state = SharedState(Quota(in_flight=1), clock=1000.0)
    for holder in ("stopped", "other"):
        assert state.join(holder, state.quota, 1000.0)
    assert state.exchange("stopped", Report(request_ids=["s"], held={}), 1000.0).granted == ["s"]
    result = state.exchange("other", Report(request_ids=["o"], held={}), 1005.0)
    assert (result.granted, result.others) == ([], ["stopped"])
    for at, granted in ((1000.0 + LEASE - 0.1, []), (1000.0 + LEASE, ["o"])):
        assert state.join("other", state.quota, at)
        assert state.exchange("other", Report(request_ids=["o"], held={}), at).granted == granted


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
async def test_wait_for_stopped_process_is_logged(
    path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that waits for the place of another process is told its process id."""
    monkeypatch.setattr("clicksgroup.quota.remote.BLOCKED", 0.1)
    code = f"""
import asyncio
import contextlib
from clicksgroup import Quota
from clicksgroup.quota import FileQuota
async def main():
    async with FileQuota({str(path)!r}, Quota(in_flight=1)) as quota:
        await quota.acquire()
        print("holds", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"holds\n"
        process.send_signal(signal.SIGSTOP)
        async with FileQuota(path, Quota(in_flight=1)) as quota:
            waiting = asyncio.create_task(quota.acquire())
            async with asyncio.timeout(20):
                while f"process {process.pid} has held" not in caplog.text:
                    await asyncio.sleep(0.05)
            waiting.cancel()
    finally:
        process.kill()
        await process.wait()


@contextlib.contextmanager
def forked_child() -> Iterator[int]:
    """The process id of a forked child that lives as long as the block."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        yield child
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(child, 0)


@needs_fork
def test_fork_in_exchange(path: pathlib.Path) -> None:
    """A child that is forked while the lock is held keeps neither the lock nor the file."""
    with contextlib.ExitStack() as stack:
        with lock(path):
            stack.enter_context(forked_child())
        with lock(path):
            pass


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed in /proc")
async def test_fork_closes_connections(shared: SharedQuota) -> None:
    """A forked child holds no file of the quota and no connection of it."""
    before = _descriptors("self")
    async with shared:
        slot = await shared.acquire()
        ours = {target for target in _descriptors("self") - before if "quota" in target or target.startswith("socket")}
        assert ours
        with forked_child() as child:
            async with asyncio.timeout(10):
                while ours & _descriptors(child):
                    await asyncio.sleep(0.001)
        slot.refund()


def _descriptors(process: int | str) -> set[str]:
    """What is open, but for the pipes and sockets of event loops that were there before."""
    folder = pathlib.Path(f"/proc/{process}/fd")
    found = set()
    for descriptor in folder.iterdir():
        try:
            found.add(str(descriptor.readlink()))
        except OSError:
            continue
    return found


async def test_absurd_pause(path: pathlib.Path) -> None:
    """A pause of years becomes one of an hour, and the error says where it is kept and how to end it."""
    async with FileQuota(path, Quota((9, 60))) as quota:
        slot = await quota.acquire()
        slot.throttled(99_999_999)
        slot.release()
        with pytest.raises(
            QuotaPausedError, match=r"kept in the quota file .*quota\.json; to end it, delete"
        ) as caught:
            await quota.acquire(max_pause=300)
        assert LONGEST_PAUSE - 5 < caught.value.seconds <= LONGEST_PAUSE
        assert "delete that file" in str(pickle.loads(pickle.dumps(caught.value)))


def test_learned_limit_is_kept() -> None:
    """A learned limit survives a restart."""
    state = SharedState(Quota((24, 60), in_flight=2), clock=1000.0)
    for number in range(20):
        state.exchange("a", Report(request_ids=[f"{number}"]), 1000.0)
        state.exchange(
            "a", Report([Event("answered", f"{number}", 1000.0), Event("released", f"{number}", 1000.0)]), 1000
        )
    state.exchange("a", Report(request_ids=["last"]), 1001.0)
    state.exchange("a", Report([Event("throttled", "last", 1001.0, 1.0), Event("released", "last", 1001.0)]), 1001.0)
    restarted = load(dump(state))
    assert restarted.exchange("b", Report(), 1002.0).forecast.limits == ((20, 60.0),)


async def test_learned_limit_is_shared(shared: SharedQuota) -> None:
    """A learned limit is in force for every later client of the quota."""
    async with shared:
        for _ in range(4):
            finish(await shared.acquire())
        slot = await shared.acquire()
        slot.throttled(0.01)
        slot.release()
        async with asyncio.timeout(20):
            while shared.limits_in_force != ((4, 3600.0),):
                await asyncio.sleep(0.001)
    async with shared:
        assert shared.limits_in_force == ((4, 3600.0),)


def test_time_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A container with a boot clock of its own reads the machine's."""
    offsets = tmp_path / "offsets"
    offsets.write_text("monotonic           0         0\nboottime        86400 500000000\n")
    monkeypatch.setattr("clicksgroup.quota.backend.pathlib.Path", lambda _: offsets)
    backend_module.namespace_offset.cache_clear()
    try:
        assert backend_module.namespace_offset() == 86400.5
        if hasattr(time, "CLOCK_BOOTTIME"):
            assert clock() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME) - 86400.5, abs=10)
    finally:
        backend_module.namespace_offset.cache_clear()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
async def test_unwritable_folder(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """A file that cannot be written is an error that says what to set."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    with pytest.raises(QuotaUnavailableError, match=r"set XDG_STATE_HOME or HOME\), or in Redis \(--redis\)"):
        await FileQuota(path, Quota()).__aenter__()


def test_file_of_another_user(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another user has replaced is an error that says whose it is."""
    path.touch()
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    backend = FileBackend(path, Quota())
    message = backend._explain(PermissionError(13, "Permission denied", str(path)))
    assert "quota.json belongs to " in message
    assert f"uid {owner}" in message


async def test_password() -> None:
    """A password in a URL is in no repr, no pickle and no local variable of ours of a traceback."""
    url = "redis://:hunter2@127.0.0.1:1"
    quota = RedisQuota(url, Quota(), name="shop", outage_timeout=0.1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(quota)
    opened: list[Callable[[], RedisQuota]] = [
        lambda: quota,
        lambda: RedisQuota(f"{url}/0?nonsense=1", Quota(), name="shop"),
        lambda: RedisQuota("http://:hunter2@127.0.0.1", Quota(), name="shop"),
    ]
    for each in opened:
        with pytest.raises((QuotaUnavailableError, ConfigurationError)) as caught:
            await each().__aenter__()
        error = caught.value
        assert error.__context__ is None
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [frame for frame in shown.stack if "/clicksgroup/" in frame.filename and "/tests/" not in frame.filename]
        assert ours
        assert "hunter2" not in repr([frame.locals for frame in ours]) + str(error) + repr(quota)
