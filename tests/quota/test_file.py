"""A quota that the processes of one machine share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota
from clicksgroup.quota import file as file_module
from clicksgroup.quota import remote as remote_module
from clicksgroup.quota.file import FileBackend, ProcessLock, default_path, lock
from clicksgroup.quota.ledger import Event
from clicksgroup.quota.shared import QuotaPausedError
from clicksgroup.quota.state import ExchangeResult, Report
from tests.quota.processes import Processes
from tests.quota_server import QuotaServer


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state" / "quota.json"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the machine's clock."""
    now = [5000.0]
    for module in (file_module, remote_module):
        monkeypatch.setattr(module, "clock", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


async def spend(quota: FileQuota, requests: int) -> None:
    """Requests that are answered at once."""
    for _ in range(requests):
        slot = await quota.acquire()
        slot.answered()
        slot.release()


@contextlib.asynccontextmanager
async def process(path: pathlib.Path, quota: Quota) -> AsyncIterator[FileBackend]:
    """A process that has the quota open, whose exchanges the test makes."""
    backend = FileBackend(path, quota)
    try:
        yield backend
    finally:
        await backend.close()


async def exchange(
    process: FileBackend, *request_ids: str, events: Sequence[Event] = (), held: Sequence[str] = ()
) -> ExchangeResult:
    return await process.exchange(Report(events, request_ids, dict.fromkeys(held, False)))


async def granted(process: FileBackend, *, held: Sequence[str] = ()) -> int:
    """How many requests can start now. They stay in flight."""
    result = await exchange(process, *(uuid.uuid4().hex for _ in range(100)), held=held)
    await exchange(process, held=[*held, *result.granted])
    return len(result.granted)


@pytest.mark.slow
async def test_three_processes(path: pathlib.Path) -> None:
    """Three processes keep one quota, use nearly all of it, and each gets its share."""
    quota, window = Quota((24, 1.5), in_flight=2), 1.5
    async with QuotaServer(quota) as server, Processes(server, quota, path=str(path)) as processes:
        for name in "abc":
            await processes.start(name)
        for name in "abc":
            await server.seen(1, by=name)
        await server.seen(24 * 5)
        start = server.arrivals[-24 * 4 - 1][0]
        end = server.arrivals[-1][0]
        await processes.finish()
    assert server.rejected == []
    assert server.most_in_flight == 2
    shares = server.shares(start, end)
    assert sum(shares.values()) / (24 * (end - start) / window) >= 0.95
    assert all(abs(shares[name] - 32) <= 0.15 * 32 for name in "abc"), shares


@pytest.mark.slow
async def test_killed_processes(path: pathlib.Path) -> None:
    """Requests of a killed process stay counted, also where the server counts them after the kill: no 429."""
    quota = Quota((24, 2), in_flight=12)
    async with QuotaServer(quota, delay=0.05) as server, Processes(server, quota, path=str(path)) as processes:
        for _ in range(10):
            await processes.start("a", tasks=2)
            await server.seen(2)
            await processes.kill("a")
        await processes.start("b")
        await server.seen(24)
        await processes.finish()
    assert server.rejected == []


async def test_restart(path: pathlib.Path, clock: Callable[[float], None]) -> None:
    """Requests that were sent before a restart still count."""
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    clock(30)
    async with process(path, quota) as after:
        assert await granted(after) == 2
    clock(31)
    async with process(path, quota) as later:
        assert await granted(later) == 3


async def test_reboot(path: pathlib.Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reboot makes nothing older, whether the new clock is behind the old one or ahead of it."""
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    for boot, step in (("second", -4900.0), ("third", 100_000.0)):
        monkeypatch.setattr(file_module, "boot_id", lambda boot=boot: boot)
        clock(step)
        async with process(path, quota) as after:
            assert (await exchange(after, "one", "two"))[:3] == (["one", "two"], float("inf"), 0.0)
            assert await granted(after, held=("one", "two")) == 0
            await exchange(after, events=[Event("refunded", slot, 0.0) for slot in ("one", "two")])


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        lambda raw: b'{"format": "another"}',
        lambda raw: b"[1, 2]",
        lambda raw: raw.replace(b'"answered":[', b'"answered":["soon",'),
    ],
    ids=["empty", "truncated", "a picture", "another format", "a list", "a wrong type"],
)
async def test_damaged_file(
    path: pathlib.Path,
    clock: Callable[[float], None],
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that is damaged or foreign is set aside, and nothing is granted for one window."""
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "clicksgroup"):
        async with process(path, quota) as after:
            assert await granted(after) == 0
            clock(60)
            assert await granted(after) == 0
            clock(0.1)
            assert await granted(after) == 5
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == damaged
    assert aside.name in caplog.text


async def test_deleted_file(
    path: pathlib.Path, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is deleted costs one window, once for all processes, is logged, and forgets nothing in flight."""
    quota = Quota((5, 60), in_flight=5)
    async with process(path, quota) as one, process(path, quota) as other:
        await exchange(one, "sent")
        path.unlink()
        assert await granted(one, held=["sent"]) == 0
        clock(59)
        assert await granted(other) == 0
        clock(1.1)
        assert await granted(other) == 4
    (said,) = caplog.messages
    assert said.endswith("has lost what it knew (was it deleted?): nothing is granted for one window, 60.03 s")


async def test_pause_ended_by_hand(path: pathlib.Path) -> None:
    """Deleting the file ends a pause, as its error advises; then nothing starts for one window."""
    async with FileQuota(path, Quota((5, 0.2), in_flight=1)) as quota:
        slot = await quota.acquire()
        slot.throttled(600)
        slot.release()
        with pytest.raises(QuotaPausedError, match="to end it, delete"):
            await quota.acquire(max_pause=1)
        async with asyncio.timeout(20):
            while b'"half_open":true' not in path.read_bytes():
                await asyncio.sleep(0.01)
            path.unlink()
            while True:
                with contextlib.suppress(QuotaPausedError):
                    (await quota.acquire(max_pause=1)).refund()
                    break
                await asyncio.sleep(0.01)


async def test_files(path: pathlib.Path) -> None:
    """Closing leaves only the file and its lock, and only their user may read them."""
    async with FileQuota(path, Quota(in_flight=1)) as quota:
        await spend(quota, 1)
    left = sorted(path.parent.iterdir())
    assert [found.name for found in left] == ["quota.json", "quota.json.lock"]
    if sys.platform != "win32":
        assert {stat.S_IMODE(found.stat().st_mode) for found in left} == {0o600}


async def test_different_quotas(path: pathlib.Path) -> None:
    """A process with a different quota than the others is refused."""
    async with FileQuota(path, Quota((5, 60))):
        with pytest.raises(ConfigurationError, match=r"keeps Quota\(\(5, 60.0\).*given Quota\(\(9, 60.0\)"):
            await FileQuota(path, Quota((9, 60))).__aenter__()


async def test_different_quota_after_loss(path: pathlib.Path) -> None:
    """When the file was lost and another process keeps a different quota there, callers that wait are refused."""
    async with FileQuota(path, Quota((5, 60))) as quota:
        path.unlink()
        async with FileQuota(path, Quota((9, 60))):
            with pytest.raises(ConfigurationError, match=r"keeps Quota\(\(9, 60.0\).*given Quota\(\(5, 60.0\)"):
                await quota.acquire()


async def test_new_quota(path: pathlib.Path) -> None:
    """A different quota replaces one that no process keeps, and what was sent still counts."""
    async with FileQuota(path, Quota((5, 60), in_flight=5)) as before:
        await spend(before, 3)
    async with process(path, Quota((9, 60), in_flight=9)) as after:
        assert await granted(after) == 6


async def test_lock_timeout(path: pathlib.Path) -> None:
    """A process that is stopped in an exchange blocks the others for no longer than their `outage_timeout`."""
    async with FileQuota(path, Quota(in_flight=1), outage_timeout=0.5) as quota:
        message = r"quota\.json .*0\.5 s .*: another process holds its lock"
        with lock(path.with_name("quota.json.lock")), pytest.raises(QuotaUnavailableError, match=message):
            await quota.acquire()
        await spend(quota, 1)


async def test_unusable_path(tmp_path: pathlib.Path) -> None:
    """A path that cannot be a file is refused when the quota is opened."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "quota.json"):
        with pytest.raises(QuotaUnavailableError, match=f"quota file {path} cannot be used: "):
            await FileQuota(path, Quota()).__aenter__()


async def test_dead_process(path: pathlib.Path, clock: Callable[[float], None]) -> None:
    """The slots of a dead process are free after five seconds, and count in their windows until those end."""
    code = f"""
import asyncio, os
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota, file
file.clock = lambda: 5000.0
async def main():
    await FileQuota({str(path)!r}, Quota((3, 60), in_flight=2)).__aenter__()
    quota = await FileQuota({str(path)!r}, Quota((3, 60), in_flight=2)).__aenter__()
    await quota.acquire()
    os._exit(0)
asyncio.run(main())
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)
    assert len(json.loads(path.read_bytes())["places"]) == 1
    async with process(path, Quota((3, 60), in_flight=2)) as successor:
        assert (await exchange(successor, "one", "two")).granted == ["one"]
        clock(4.9)
        assert (await exchange(successor, "two", held=["one"])).granted == []
        clock(0.2)
        assert (await exchange(successor, "two", "three", held=["one"])).granted == ["two"]
        clock(60)
        await exchange(successor, events=[Event("refunded", "one", 0.0)], held=["two"])
        assert len((await exchange(successor, "three", "four", held=["two"])).granted) == 1
    assert list(path.parent.glob("*holder*")) == []


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The default file lies in a folder of the user, and its name shows neither origin nor key."""
    for variable in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    path = default_path("https://vivoldi.com", "secret")
    assert path.is_relative_to(tmp_path)
    assert "secret" not in str(path)
    assert "vivoldi" not in str(path)
    assert path == default_path("https://vivoldi.com", "secret")
    assert len({path, default_path("https://vivoldi.com", "other"), default_path("https://localhost", "secret")}) == 3


async def test_longer_window(path: pathlib.Path, clock: Callable[[float], None]) -> None:
    """A longer window counts what was sent before any process asked for it."""
    async with FileQuota(path, Quota((3, 1), in_flight=3)) as before:
        await spend(before, 3)
        clock(1.1)
        await spend(before, 3)
    clock(1.1)
    async with process(path, Quota((3, 1), (7, 60), in_flight=3)) as after:
        assert await granted(after) == 1


async def test_opening_and_closing(path: pathlib.Path) -> None:
    """A block that begins while the quota is opened or closed finds it open, however few steps lie between."""
    quota = FileQuota(path, Quota(in_flight=4), outage_timeout=1.0)

    async def use() -> None:
        async with quota:
            await spend(quota, 1)

    await asyncio.gather(use(), use(), use())
    for turns in range(6):
        await quota.__aenter__()
        # Abandoned when the last block ends.
        await quota.acquire()
        closing = asyncio.create_task(quota.__aexit__(None, None, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with quota:
            await closing
            async with asyncio.timeout(20):
                slot = await quota.acquire()
            slot.refund()
        path.unlink()
    assert list(path.parent.glob("*holder*")) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_fork(path: pathlib.Path) -> None:
    """A forked child does not keep the slots of its dead parent."""
    code = f"""
import asyncio, os, sys
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota
async def main():
    async with FileQuota({str(path)!r}, Quota(in_flight=1)) as quota:
        await quota.acquire()
        if os.fork() == 0:
            os.write(1, b"forked")
            os.close(1)
            sys.stdin.read()
        os._exit(0)
asyncio.run(main())
"""
    command = (sys.executable, "-c", code)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.read() == b"forked"
    await process.wait()
    try:
        async with FileQuota(path, Quota(in_flight=1)):
            state = json.loads(path.read_bytes())
            (place,) = state["places"].values()
            assert place["back_at"] is not None
            assert place["holder"] not in state["holders"]
    finally:
        process.stdin.close()


async def test_foreign_holder(path: pathlib.Path) -> None:
    """A file that names a holder which could be another path is set aside."""
    async with FileQuota(path, Quota((5, 60), in_flight=5)):
        state = json.loads(path.read_bytes())
    path.write_text(json.dumps({**state, "holders": {"a/b": 6000.0}}))
    async with process(path, Quota((5, 60), in_flight=5)) as quota:
        assert await granted(quota) == 0
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


async def test_cancelled_opening(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening that is cancelled leaves no lock of a process behind, though its thread goes on."""
    began, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()
    exchange_now, make_lock = FileBackend._exchange_now, ProcessLock

    def lock_late(path: pathlib.Path) -> ProcessLock:
        began.set()
        may_go_on.wait(5)
        return make_lock(path)

    def exchange(backend: FileBackend, report: Report) -> ExchangeResult:
        try:
            return exchange_now(backend, report)
        finally:
            ended.set()

    monkeypatch.setattr(file_module, "ProcessLock", lock_late)
    monkeypatch.setattr(FileBackend, "_exchange_now", exchange)
    opening = asyncio.create_task(FileQuota(tmp_path / "quota.json", Quota((9, 60))).__aenter__())
    await asyncio.to_thread(began.wait, 5)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    may_go_on.set()
    await asyncio.to_thread(ended.wait, 5)
    assert not list(tmp_path.glob("*holder*"))
