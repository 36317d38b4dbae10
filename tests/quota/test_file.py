from __future__ import annotations

import asyncio
import json
import logging
import os
import pathlib
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota
from clicksgroup.quota import file as file_module
from clicksgroup.quota import remote as remote_module
from clicksgroup.quota.file import default_path
from clicksgroup.quota.state import Event
from tests.quota.processes import Processes
from tests.quota.strict_server import StrictServer


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


async def granted(quota: FileQuota, tickets: int = 100) -> int:
    """How many requests could start now."""
    reply = await quota._exchange((), [uuid.uuid4().hex for _ in range(tickets)])
    await quota._exchange((), ())
    return len(reply.granted)


async def test_three_processes_keep_one_quota_and_use_it(path: pathlib.Path) -> None:
    """No window is over, never too many are in flight, and each gets its share of nearly all there is."""
    quota, window = Quota((24, 1.5), in_flight=2), 1.5
    async with StrictServer(quota) as server, Processes(server, quota, path=str(path)) as processes:
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


async def test_a_process_that_is_killed_again_and_again_never_causes_a_429(path: pathlib.Path) -> None:
    """What a killed process sent stays counted, even where the server counts it after the kill."""
    quota = Quota((24, 2), in_flight=12)
    async with StrictServer(quota, delay=0.05) as server, Processes(server, quota, path=str(path)) as processes:
        for _ in range(10):
            await processes.start("a", tasks=2)
            await server.seen(2)
            await processes.kill("a")
        await processes.start("b")
        await server.seen(24)
        await processes.finish()
    assert server.rejected == []


async def test_what_was_sent_before_a_restart_is_remembered(path: pathlib.Path, clock: Callable[[float], None]) -> None:
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    clock(30)
    async with FileQuota(path, quota) as after:
        assert await granted(after) == 2
    clock(31)
    async with FileQuota(path, quota) as later:
        assert await granted(later) == 3


async def test_a_reboot_makes_nothing_older(
    path: pathlib.Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the new clock is behind the old one or ahead of it."""
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    for boot, step in (("second", -4900.0), ("third", 100_000.0)):
        monkeypatch.setattr(file_module, "_boot_id", lambda boot=boot: boot)
        clock(step)
        async with FileQuota(path, quota) as after:
            assert await after._exchange((), ["one", "two"]) == (["one", "two"], float("inf"), 0.0)
            assert await granted(after) == 0
            for slot in ("one", "two"):
                await after._exchange([Event("refunded", slot, 0.0)], ())


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        lambda raw: b'{"format": "another"}',
        lambda raw: b"[1, 2]",
        lambda raw: raw.replace(b'"answered": [', b'"answered": ["soon", '),
    ],
    ids=["empty", "truncated", "a picture", "another format", "a list", "a wrong type"],
)
async def test_a_file_that_is_no_quota_is_set_aside_and_one_window_waited(
    path: pathlib.Path,
    clock: Callable[[float], None],
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as before:
        await spend(before, 3)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "clicksgroup"):
        async with FileQuota(path, quota) as after:
            assert await granted(after) == 0
            clock(60)
            assert await granted(after) == 0
            clock(0.1)
            assert await granted(after) == 5
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == damaged
    assert aside.name in caplog.text


async def test_a_file_that_is_deleted_under_a_live_process_costs_one_window_once(
    path: pathlib.Path, clock: Callable[[float], None]
) -> None:
    """What it has in flight stays in flight, and what another one knows of the same loss adds nothing."""
    quota = Quota((5, 60), in_flight=5)
    async with FileQuota(path, quota) as one, FileQuota(path, quota) as other:
        slot = await one.acquire()
        path.unlink()
        assert await granted(one) == 0
        clock(59)
        assert await granted(other) == 0
        clock(1.1)
        assert await granted(other) == 4
        slot.release()


async def test_a_clean_end_leaves_nothing_but_the_file_and_its_lock_and_both_are_private(path: pathlib.Path) -> None:
    async with FileQuota(path, Quota(in_flight=1)) as quota:
        await spend(quota, 1)
    left = sorted(path.parent.iterdir())
    assert [found.name for found in left] == ["quota.json", "quota.json.lock"]
    if sys.platform != "win32":
        assert {stat.S_IMODE(found.stat().st_mode) for found in left} == {0o600}


async def test_who_is_given_another_quota_than_those_who_keep_it_is_refused(path: pathlib.Path) -> None:
    async with FileQuota(path, Quota((5, 60))):
        with pytest.raises(ConfigurationError, match=r"keeps Quota\(\(5, 60.0\).*given Quota\(\(9, 60.0\)"):
            await FileQuota(path, Quota((9, 60))).__aenter__()


async def test_another_quota_replaces_one_that_nobody_keeps_and_what_was_sent_still_counts(path: pathlib.Path) -> None:
    async with FileQuota(path, Quota((5, 60), in_flight=5)) as before:
        await spend(before, 3)
    async with FileQuota(path, Quota((9, 60), in_flight=9)) as after:
        assert await granted(after) == 6


async def test_a_lock_that_is_not_let_go_is_an_error_until_it_is(path: pathlib.Path) -> None:
    """A process that is stopped in the middle stops the others no longer than their outage_timeout."""
    async with FileQuota(path, Quota(in_flight=1), outage_timeout=0.5) as quota:
        complaint = r"quota\.json .*0\.5 s: another process does not let go"
        with (
            file_module._lock(path.with_name("quota.json.lock")),
            pytest.raises(QuotaUnavailableError, match=complaint),
        ):
            await quota.acquire()
        await spend(quota, 1)


async def test_a_path_that_can_never_be_one_is_refused_when_it_is_opened(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "quota.json"):
        with pytest.raises(QuotaUnavailableError, match=f"quota file {path} cannot be used: "):
            await FileQuota(path, Quota()).__aenter__()


async def test_a_process_that_died_is_seen_to_be_gone(path: pathlib.Path, clock: Callable[[float], None]) -> None:
    """Its places in flight come back five seconds after that, its slots when their window has passed as well."""
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
    async with FileQuota(path, Quota((3, 60), in_flight=2)) as successor:
        assert (await successor._exchange((), ["one", "two"])).granted == ["one"]
        clock(4.9)
        assert (await successor._exchange((), ["two"])).granted == []
        clock(0.2)
        assert (await successor._exchange((), ["two", "three"])).granted == ["two"]
        clock(60)
        await successor._exchange([Event("refunded", "one", 0.0)], ())
        assert len((await successor._exchange((), ["three", "four"])).granted) == 1
    assert list(path.parent.glob("*holder*")) == []


def test_the_default_file_is_the_user_s_own_and_shows_neither_origin_nor_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for variable in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    path = default_path("https://vivoldi.com", "secret")
    assert path.is_relative_to(tmp_path)
    assert "secret" not in str(path)
    assert "vivoldi" not in str(path)
    assert path == default_path("https://vivoldi.com", "secret")
    assert len({path, default_path("https://vivoldi.com", "other"), default_path("https://localhost", "secret")}) == 3


async def test_a_longer_window_counts_what_was_sent_before_it_was_asked_for(
    path: pathlib.Path, clock: Callable[[float], None]
) -> None:
    async with FileQuota(path, Quota((3, 1), in_flight=3)) as before:
        await spend(before, 3)
        clock(1.1)
        await spend(before, 3)
    clock(1.1)
    async with FileQuota(path, Quota((3, 1), (7, 60), in_flight=3)) as after:
        assert await granted(after) == 1


async def test_whoever_enters_while_it_is_being_opened_or_closed_finds_it_open(path: pathlib.Path) -> None:
    """However few turns of the loop lie between."""
    quota = FileQuota(path, Quota(in_flight=4), outage_timeout=1.0)

    async def use() -> None:
        async with quota:
            await spend(quota, 1)

    await asyncio.gather(use(), use(), use())
    for turns in range(6):
        await quota.__aenter__()
        await quota.acquire()  # is abandoned as the last one leaves
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
async def test_a_forked_child_does_not_keep_its_dead_parent_s_places(path: pathlib.Path) -> None:
    code = f"""
import asyncio, os, sys
from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota
async def main():
    async with FileQuota({str(path)!r}, Quota(in_flight=1)) as quota:
        await quota.acquire()
        if os.fork() == 0:
            sys.stdin.read()  # lives on until the test lets it go
        os._exit(0)
asyncio.run(main())
"""
    command = (sys.executable, "-c", code)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    await process.wait()
    assert process.stdin is not None
    try:
        async with FileQuota(path, Quota(in_flight=1)) as successor:
            state = json.loads(path.read_bytes())
            (place,) = state["places"].values()
            assert place["back_at"] is not None
            assert place["holder"] not in state["holders"]
            assert successor._holder is not None
    finally:
        process.stdin.close()


async def test_a_file_with_a_holder_that_is_none_of_ours_is_set_aside(path: pathlib.Path) -> None:
    async with FileQuota(path, Quota((5, 60), in_flight=5)):
        state = json.loads(path.read_bytes())
    path.write_text(json.dumps({**state, "holders": ["a/b"]}))
    async with FileQuota(path, Quota((5, 60), in_flight=5)) as quota:
        assert await granted(quota) == 0
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
