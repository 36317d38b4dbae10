"""The file or server that keeps a quota, as one process sees it, and the clock of the exchanges."""

from __future__ import annotations

import abc
import functools
import logging
import os
import pathlib
import re
import time
import uuid

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.state import ExchangeResult, Report, SharedState, dump, load

logger = logging.getLogger("clicksgroup")


class UnreachableError(Exception):
    """The backend cannot be asked at the moment. The text says why, and holds no secret."""


def clock() -> float:
    """Seconds of a clock that nobody can set; on Linux it also counts the time in which the machine sleeps.

    All containers of one machine read the same time.
    """
    if _BOOT_CLOCK is None:
        return time.monotonic()
    return time.clock_gettime(_BOOT_CLOCK) - namespace_offset()


_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


@functools.cache
def namespace_offset() -> float:
    """Seconds by which the boot clock of this time namespace is ahead of the machine's (time_namespaces(7))."""
    try:
        offsets = pathlib.Path("/proc/self/timens_offsets").read_text(encoding="ascii")
    except OSError:
        return 0.0
    found = re.search(r"boottime\s+(-?\d+)\s+(\d+)", offsets)
    return int(found[1]) + int(found[2]) / 1e9 if found else 0.0


class Backend(abc.ABC):
    """Keeps a quota as bytes. One event loop makes all calls, one after another.

    An exchange reads the bytes, calls `decide`, and writes what that gives, in one atomic step.

    Args:
        quota: what this process was given.
        description: where the quota is kept, for messages, without any password.
        how_to_end_pause: what a person can do to end a pause, for messages.
    """

    def __init__(self, quota: Quota, description: str, how_to_end_pause: str) -> None:
        self.quota = quota
        self.description = description
        self.how_to_end_pause = how_to_end_pause
        self.holder = f"holder-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        # What was seen last: the id of the memory, and how often it had changed.
        self.seen: tuple[str, int] | None = None

    @abc.abstractmethod
    async def exchange(self, report: Report) -> ExchangeResult:
        """Report what happened in this process, and ask which of its requests may start.

        Raises:
            UnreachableError: it may be tried again.
            QuotaUnavailableError: trying again would not help.
            ConfigurationError: others keep a different quota there.
        """

    def has_changed(self) -> bool:
        """Whether another process may have changed anything since the last exchange."""
        return True

    @abc.abstractmethod
    async def close(self) -> None:
        """Close files and connections."""

    @abc.abstractmethod
    def prepare(self, state: SharedState, now: float) -> tuple[float, float]:
        """Correct the state's origin where a clock was set, and remove processes that are known to be dead.

        Returns:
            The seconds by which the state's clock is ahead of ours: at least, and at most.
        """

    def set_aside(self) -> str:
        """Keep bytes that are damaged from being written over, where that is possible; what was done, in words."""
        return "it is replaced"

    def decide(
        self, raw: bytes | None, report: Report, now: float
    ) -> tuple[ExchangeResult, bytes | None, tuple[str, int]]:
        """Change the state as one exchange does.

        The decision is made for the earliest moment that it can be, and an event is dated the latest that it can have
        been. So a clock that is read from afar costs time, but never breaks the quota.

        Returns:
            The result, the new bytes, or None if they are what was read, and what is seen once they are written.

        Raises:
            ConfigurationError: others keep a different quota there.
        """
        state, damaged = SharedState(self.quota), False
        if raw is not None:
            try:
                state = load(raw)
            except Exception:
                # A foreign value can make the parser raise anything.
                damaged = True
        earliest, latest = self.prepare(state, now)
        now += earliest
        if damaged:
            message = "%s is damaged; %s, and nothing is granted for one window"
            logger.warning(message, self.description, self.set_aside())
            state.block_one_window(now)
        if self.seen is not None and state.compare(*self.seen, now):
            message = "%s has lost what it knew (was it deleted?): nothing is granted for one window, %g s"
            logger.warning(message, self.description, state.memory)
        if not state.join(self.holder, self.quota, now):
            raise ConfigurationError(
                f"{self.description}: another process keeps {state.quota!r} there, and this one was given "
                f"{self.quota!r}; give all the same quota, or keep them apart under different names"
            )
        events = [event._replace(at=event.at + latest) for event in report.events]
        result = state.exchange(self.holder, report._replace(events=events), now)
        new = None
        if dump(state) != raw:
            state.clock = max(now, state.clock)
            state.changes += 1
            new = dump(state)
        return result, new, (state.epoch, state.changes)
