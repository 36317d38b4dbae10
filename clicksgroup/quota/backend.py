"""The interface to a file or server that keeps a quota, the state as bytes, and the clock of the exchanges."""

from __future__ import annotations

import abc
import functools
import logging
import os
import pathlib
import re
import time
import uuid

import cattrs
import orjson

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.state import ExchangeResult, Report, SharedState

logger = logging.getLogger("clicksgroup")

FORMAT = "clicksgroup quota 2"


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
    """The file or server that keeps a quota as bytes, for one process. It is opened once.

    A subclass reads the bytes, calls `load` and `decide`, and writes what `dump_changed` gives, all of it in one atomic
    step. One event loop makes all calls, one after another.
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.holder = f"holder-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        # What was seen last: the id of the memory, and how often it had changed.
        self.seen: tuple[str, int] | None = None

    @abc.abstractmethod
    def describe(self) -> str:
        """Where the quota is kept, for messages. Without any password."""

    @abc.abstractmethod
    def how_to_end_pause(self) -> str:
        """What a person can do to end a pause, for messages."""

    async def open(self) -> None:  # noqa: B027
        """Prepare for exchanges. If it fails, `close` is called.

        Raises:
            QuotaUnavailableError: trying again would not help.
        """

    @abc.abstractmethod
    async def exchange(self, report: Report) -> ExchangeResult:
        """Report what happened in this process, and ask which of its requests may start.

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

    def decide(self, state: SharedState, report: Report, now: float) -> ExchangeResult:
        """Change the state as one exchange does.

        Raises:
            ConfigurationError: others keep a different quota there.
        """
        if self.seen is not None and state.compare(*self.seen, now):
            message = "%s has lost what it knew (was it deleted?): nothing is granted for one window, %g s"
            logger.warning(message, self.describe(), state.memory)
        if not state.join(self.holder, self.quota, now):
            raise ConfigurationError(
                f"{self.describe()}: another process keeps {state.quota!r} there, and this one was given "
                f"{self.quota!r}; give all the same quota, or keep them apart under different names"
            )
        return state.exchange(self.holder, report, now)


def dump_changed(state: SharedState, raw: bytes | None, now: float) -> bytes | None:
    """The state as bytes, or None if it is what was read."""
    if dump(state) == raw:
        return None
    state.clock = max(now, state.clock)
    state.changes += 1
    return dump(state)


def dump(state: SharedState) -> bytes:
    """The state as bytes."""
    return orjson.dumps({"format": FORMAT, **_converter.unstructure(state)})


def load(raw: bytes) -> SharedState:
    """The state that was dumped.

    Raises:
        Exception: it is not one. A foreign value can make the parser raise anything.
    """
    data = orjson.loads(raw)
    if data.pop("format") != FORMAT:
        raise ValueError("another format")
    state = _converter.structure(data, SharedState)
    # The names of holders become paths.
    if not all(re.fullmatch(r"holder-\d+-[0-9a-f]{12}", holder, re.ASCII) for holder in state.holders):
        raise ValueError("not the name of a holder")
    return state


_converter = cattrs.Converter(forbid_extra_keys=True)
