"""A quota that all processes of one machine share, and that survives their restarts: a file under a lock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
import sys
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import cattrs

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.remote import RemoteQuota, UnreachableError, clock
from clicksgroup.quota.state import Event, ExchangeResult, HeldSlot, SharedState

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger("clicksgroup")

LOCK_TIMEOUT = 0.2
"""Seconds to try for the lock, which is held for a fraction of a millisecond, before the exchange is put off."""

FORMAT = "clicksgroup quota 1"

_HOLDER = re.compile(r"holder-[0-9a-f]{12}", re.ASCII)


class FileQuota(RemoteQuota):
    """The quota, kept by all processes of one machine together, and remembered across their restarts.

    A process that dies is seen to be gone: what it had in flight counts for 5 more seconds, then its places are free.
    A file that is damaged or something else is set aside (renamed), and one window is waited.

    >>> from clicksgroup import Quota
    >>> FileQuota("~/quota.json", Quota.of("business"))
    <FileQuota ~/quota.json: Quota((24, 60.0), in_flight=2), closed>

    Args:
        path: the file; it and its folder are created. Beside it lie a lock and one file for each process.
        quota: what is allowed. All who share the file must say the same.
        outage_timeout: seconds for which the file may be out of reach before whoever waits is told.

    Raises:
        ConfigurationError: when it is opened, if another process is keeping a different quota in that file.
        QuotaUnavailableError: when it is opened, if the file cannot be read and written.
    """

    def __init__(self, path: str | os.PathLike[str], quota: Quota, *, outage_timeout: float = 5.0) -> None:
        super().__init__(quota, outage_timeout)
        self.path = pathlib.Path(path)
        self._file = self.path.expanduser()
        self._holder: _Holder | None = None
        self._epoch: str | None = None
        self._signature: tuple[int, ...] = ()

    def __repr__(self) -> str:
        waiting = "closed" if self._pump is None else f"{len(self._held)} held, {len(self._waiters)} waiting"
        return f"<FileQuota {self.path}: {self.quota!r}, {waiting}>"

    async def _open(self) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._holder = _Holder(self._file)
            await super()._open()
        except OSError as error:
            raise QuotaUnavailableError(f"{self.describe()} cannot be used: {error.strerror or error}") from error

    async def _disconnect(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()

    async def _connect(self) -> None:
        await asyncio.to_thread(self._check_writable)
        await super()._connect()

    def _check_writable(self) -> None:
        """What no max_pause would mend shows as an OSError."""
        with contextlib.suppress(UnreachableError), _lock(self._beside("lock")):
            _write(self._beside("new"), b"")
            self._beside("new").unlink()
            _read(self._file)

    def describe(self) -> str:
        return f"the quota file {self.path}"

    def _beside(self, name: str) -> pathlib.Path:
        return self._file.with_name(f"{self._file.name}.{name}")

    def _news(self) -> bool:
        return _signature(self._file) != self._signature

    async def _exchange(self, events: Sequence[Event], tickets: Sequence[str]) -> ExchangeResult:
        return await asyncio.to_thread(self._exchange_now, events, tickets, dict(self._held))

    def _exchange_now(
        self, events: Sequence[Event], tickets: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        holder = self._holder
        if holder is None:
            raise UnreachableError("it was closed")
        try:
            with _lock(self._beside("lock")):
                raw, now = _read(self._file), clock()
                state = self._load(raw, now)
                self._join(state, holder.name, held, now)
                result = state.exchange(holder.name, events, tickets, now)
                if _dump(state) != raw:
                    state.clock = now
                    _write(self._beside("new"), _dump(state))
                    self._beside("new").replace(self._file)
                self._epoch, self._signature = state.epoch, _signature(self._file)
                return result
        except OSError as error:
            raise UnreachableError(error.strerror or str(error)) from error

    def _load(self, raw: bytes | None, now: float) -> SharedState:
        state = SharedState(self.quota, now, _boot_id())
        if raw is not None:
            try:
                state = _parse(raw)
            except Exception:  # whatever a foreign file makes of the parser
                self._set_aside()
                state.close(now)
        if now < state.clock or state.boot != _boot_id():
            state.shift(now - state.clock)
            state.boot = _boot_id()
        if self._epoch is not None and self._epoch not in (state.epoch, state.lost_epoch):
            state.close(now)
            state.lost_epoch = self._epoch
        return state

    def _set_aside(self) -> None:
        aside = self._beside(f"corrupt-{uuid.uuid4().hex[:8]}")
        self._file.replace(aside)
        logger.warning("%s is damaged: it is %s now, and one window is waited", self.describe(), aside.name)

    def _join(self, state: SharedState, holder: str, held: Mapping[str, bool], now: float) -> None:
        """Be one of the holders, once those who are gone are buried."""
        for other in tuple(state.holders):
            if other != holder and not _is_alive(self._beside(other)):
                state.remove_dead(other, now)
        if holder in state.holders:
            return
        if state.quota != self.quota:
            if state.holders:
                raise ConfigurationError(
                    f"{self.describe()}: another process keeps {state.quota!r} there, this one was given {self.quota!r}"
                )
            state.quota = self.quota
        state.holders.append(holder)
        for ticket, answered in held.items():  # the file was lost, and what we have is not
            state.places.setdefault(ticket, HeldSlot(holder, answered))


def default_path(origin: str, api_key: str) -> pathlib.Path:
    """Where the quota of that key is kept unless it is said otherwise: in the folder for a user's program state.

    The name is a hash of origin and key, from which neither can be read.
    """
    if sys.platform == "win32":
        folder = pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = pathlib.Path.home() / "Library" / "Application Support"
    else:
        folder = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state")
    name = hashlib.sha256(f"{origin}\0{api_key}".encode()).hexdigest()[:32]
    return folder / "clicksgroup" / f"quota-{name}.json"


class _Holder:
    """A file that is locked for as long as this process keeps the quota: the system unlocks it when we die."""

    def __init__(self, beside: pathlib.Path) -> None:
        self.name = f"holder-{uuid.uuid4().hex[:12]}"  # as _HOLDER has it
        self._path = beside.with_name(f"{beside.name}.{self.name}")
        self._stream = _open_private(self._path, os.O_CREAT)
        _try_lock(self._stream)
        _held_here.add(self._stream)

    def close(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)


_held_here: weakref.WeakSet[BinaryIO] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked child shares our locks: it must not keep them alive when we are dead."""
    for stream in list(_held_here):
        stream.close()
    _held_here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def _is_alive(holder: pathlib.Path) -> bool:
    try:
        with _open_private(holder) as stream:
            if not _try_lock(stream):
                return True
    except FileNotFoundError:
        return False
    holder.unlink(missing_ok=True)
    return False


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    with _open_private(path, os.O_CREAT) as stream:
        until = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(stream):
            if time.monotonic() >= until:
                raise UnreachableError("another process does not let go of its lock")
            time.sleep(0.0005)
        yield  # closing unlocks


if sys.platform == "win32":

    def _try_lock(stream: BinaryIO) -> bool:
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(stream: BinaryIO) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _open_private(path: pathlib.Path, flags: int = 0) -> BinaryIO:
    return open(os.open(path, os.O_RDWR | flags, 0o600), "r+b", buffering=0)  # noqa: PTH123


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: pathlib.Path, data: bytes) -> None:
    """No fsync: after a crash of the machine a damaged file costs one window, and nothing else."""
    with _open_private(path, os.O_CREAT | os.O_TRUNC) as stream:
        stream.write(data)


def _signature(path: pathlib.Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


@functools.cache
def _boot_id() -> str:
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _quota_from(value: dict[str, Any], _: type[Quota]) -> Quota:
    return Quota(*(tuple(limit) for limit in value["limits"]), in_flight=value["in_flight"])


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(Quota, _quota_from)


def _parse(raw: bytes) -> SharedState:
    data = json.loads(raw)
    if data.pop("format") != FORMAT:
        raise ValueError("another format")
    state = _converter.structure(data, SharedState)
    if not all(_HOLDER.fullmatch(holder) for holder in state.holders):
        raise ValueError("a holder that is none of ours")
    return state


def _dump(state: SharedState) -> bytes:
    return json.dumps({"format": FORMAT, **_converter.unstructure(state)}).encode()
