"""Faults put into the package on purpose: the worlds must notice each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import attrs

from clicksgroup import Quota
from clicksgroup.prefetching import Prefetcher
from clicksgroup.protocol import pagination
from clicksgroup.quota import learned_limits, ledger, shared
from clicksgroup.store import locks
from clicksgroup.store.backfill import Backfill
from clicksgroup.transport import Attempt
from tests.simulation import redis
from tests.simulation.world import run_world

Patch = Callable[[], AbstractContextManager[Any]]


@attrs.frozen
class Caught:
    """Which world noticed a mutant, or that none did."""

    mutant: str
    worlds: int
    seed: int | None
    problem: str

    def __str__(self) -> str:
        if self.seed is None:
            return f"NOT CAUGHT in {self.worlds} worlds: {self.mutant}"
        return f"caught in {self.worlds} worlds, by {self.seed}: {self.mutant}\n    {self.problem[:160]}"


def hunt(mutant: str, seeds: Iterable[int]) -> Caught:
    """Run worlds with a mutant until one of them notices it."""
    worlds = 0
    with MUTANTS[mutant]():
        for worlds, seed in enumerate(seeds, 1):
            found = run_world(seed).problems
            if found and found[0].startswith(("AttributeError", "TypeError")):
                raise AssertionError(f"{mutant}: the mutant itself is broken: {found[0]}")
            if found:
                return Caught(mutant, worlds, seed, found[0])
    return Caught(mutant, worlds, None, "")


def _freed_at_the_send() -> AbstractContextManager[Any]:
    started = Attempt._request_started

    def start(attempt: Any) -> None:
        started(attempt)
        attempt._slot.answered()

    return mock.patch.object(Attempt, "_request_started", start)


def _one_too_wide() -> AbstractContextManager[Any]:
    def wider(quota: Quota) -> list[learned_limits.Limit]:
        return [learned_limits.Limit(count + 1, window, count + 1) for count, window in quota.limits]

    return mock.patch.object(ledger, "limits_for", wider)


def _cancelled_waiter_forgotten() -> AbstractContextManager[Any]:
    async def wait(self: Any, max_pause: float, now: float) -> Any:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting[waiter] = max_pause, loop.time()
        self._changed()
        return await waiter

    return mock.patch.object(shared.Waiters, "wait", wait)


def _abandoned_released() -> AbstractContextManager[Any]:
    return mock.patch.object(shared.Slot, "abandon", shared.Slot.release)


def _abandoned_refunded() -> AbstractContextManager[Any]:
    def abandon(slot: Any) -> None:
        slot._report("released" if slot.is_answered else "refunded")

    return mock.patch.object(shared.Slot, "abandon", abandon)


def _timed_out_released() -> AbstractContextManager[Any]:
    give_back = Attempt._give_slot_back

    def give(attempt: Any, *, ended: bool = True) -> None:
        give_back(attempt)

    return mock.patch.object(Attempt, "_give_slot_back", give)


def _out_of_turn() -> AbstractContextManager[Any]:
    receive = pagination.Paginator.receive

    def take(paginator: Any, request: Any, outcome: Any) -> None:
        receive(paginator, request, outcome)
        if request.number in paginator._arrived:
            paginator._turn = request.number

    return mock.patch.object(pagination.Paginator, "receive", take)


def _record_dropped() -> AbstractContextManager[Any]:
    accepted = pagination.Paginator.accepted

    def drop(paginator: Any) -> Iterator[Any]:
        for response in accepted(paginator):
            if len(response.records) == 30:
                # The list is also what a whole day is made of.
                response.records.pop()
            yield response

    return mock.patch.object(pagination.Paginator, "accepted", drop)


def _clean_end_after_error() -> AbstractContextManager[Any]:
    end = Prefetcher._end_after

    def end_after(prefetcher: Any, failed: Any, error: BaseException) -> None:
        end(prefetcher, failed, error)
        prefetcher._final_error = None

    return mock.patch.object(Prefetcher, "_end_after", end_after)


def _asked_again() -> AbstractContextManager[Any]:
    run = Backfill.run

    async def run_all(backfill: Any, dates: Any, *, refresh: bool) -> Any:
        return await run(backfill, dates, refresh=True)

    return mock.patch.object(Backfill, "run", run_all)


def _no_waiting_for_backfills() -> AbstractContextManager[Any]:
    async def acquire(lock: Any) -> bool:
        return True

    return mock.patch.object(locks._FileLock, "try_acquire", acquire)


def _no_compare() -> AbstractContextManager[Any]:
    call = redis.SimulatedRedis.call

    async def put(server: Any, known: str, new: bytes) -> list[Any]:
        return await call(server, server.digest() if known else known, new)

    return mock.patch.object(redis.SimulatedRedis, "call", put)


MUTANTS: dict[str, Patch] = {
    "a slot is freed at the send": _freed_at_the_send,
    "a window is one request too wide": _one_too_wide,
    "a waiter that was cancelled keeps its slot": _cancelled_waiter_forgotten,
    "an abandoned request gives its place back at once": _abandoned_released,
    "an abandoned request is refunded": _abandoned_refunded,
    "a request that was given up counts as ended": _timed_out_released,
    "a page is accepted out of turn": _out_of_turn,
    "a record is dropped": _record_dropped,
    "an error looks like a clean end": _clean_end_after_error,
    "a backfill asks again for what is stored": _asked_again,
    "a backfill does not wait for another one": _no_waiting_for_backfills,
    "Redis takes a state that does not know of the last change": _no_compare,
}
