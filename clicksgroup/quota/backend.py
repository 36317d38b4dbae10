"""The interface of what keeps a quota outside of the process, and the clock of its exchanges."""

from __future__ import annotations

import abc
import functools
import math
import pathlib
import re
import time
from collections.abc import Mapping, Sequence

from clicksgroup.quota.state import Event, ExchangeResult


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
    """The file or server that keeps a quota. One event loop makes all calls, one after another."""

    @property
    def heartbeat(self) -> float:
        """Seconds after which it must hear again from a process that has the quota open."""
        return math.inf

    @abc.abstractmethod
    def describe(self) -> str:
        """Where the quota is kept, for messages. Without any password."""

    @abc.abstractmethod
    def how_to_end_pause(self) -> str:
        """What a person can do to end a pause, for messages."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Prepare for exchanges. If it fails, `close` is called.

        Raises:
            QuotaUnavailableError: trying again would not help.
        """

    @abc.abstractmethod
    async def exchange(
        self, events: Sequence[Event], request_ids: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        """Report what happened in this process, and ask which of its requests may start.

        Args:
            events: what happened. After a failure the same events come again.
            request_ids: the requests that wait, in their order, those of the last exchange included.
            held: ids of the slots that are held here, and whether each was answered: for a backend that lost them.

        Raises:
            UnreachableError: it may be tried again.
            ConfigurationError: others keep a different quota there.
        """

    def has_changed(self) -> bool:
        """Whether another process may have changed anything since the last exchange."""
        return True

    @abc.abstractmethod
    async def close(self) -> None:
        """Close files and connections."""
