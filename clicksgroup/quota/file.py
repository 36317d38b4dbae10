"""A quota that all processes of one machine share, and that survives their restarts: a file under a lock."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import cattrs

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.file_lock import ProcessLock, lock, open_private
from clicksgroup.quota.remote import Backend, RemoteQuota, UnreachableError, clock
from clicksgroup.quota.state import Event, ExchangeResult, HeldSlot, SharedState

logger = logging.getLogger("clicksgroup")

FORMAT = "clicksgroup quota 1"

_HOLDER = re.compile(r"holder-[0-9a-f]{12}", re.ASCII)


class FileQuota(RemoteQuota):
    """Keeps one quota for all processes of a machine, across their restarts.

    When a process dies, its requests in flight count for 5 more seconds. A file that is damaged, or not a quota file,
    is renamed, and nothing is granted for one window.

    >>> from clicksgroup import Quota
    >>> FileQuota("~/quota.json", Quota.of("business"))
    <FileQuota the quota file ~/quota.json: Quota((24, 60.0), in_flight=2), closed>

    Args:
        path: the file. It and its folder are created; a lock and one file for each process are kept beside it.
        quota: what is allowed, the same for all who share the file.
        outage_timeout: seconds for which the file may be out of reach until calls that wait raise an error.

    Raises:
        ConfigurationError: when it is opened, if another process keeps a different quota in that file.
        QuotaUnavailableError: when it is opened, if the file cannot be read and written.
    """

    def __init__(self, path: str | os.PathLike[str], quota: Quota, *, outage_timeout: float = 5.0) -> None:
        super().__init__(quota, FileBackend(path, quota), outage_timeout)
        self.path = pathlib.Path(path)


def default_path(origin: str, api_key: str) -> pathlib.Path:
    """The file that keeps the quota of that key by default, in the user's folder for the state of programs.

    The name is a hash of both, so it shows neither.
    """
    if sys.platform == "win32":
        folder = pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = pathlib.Path.home() / "Library" / "Application Support"
    else:
        folder = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state")
    name = hashlib.sha256(f"{origin}\0{api_key}".encode()).hexdigest()[:32]
    return folder / "clicksgroup" / f"quota-{name}.json"


class FileBackend(Backend):
    """Reads the state from the file, changes it and writes it back, under a lock."""

    def __init__(self, path: str | os.PathLike[str], quota: Quota) -> None:
        self._shown_path = pathlib.Path(path)
        self._path = self._shown_path.expanduser()
        self._quota = quota
        self._holder = ""
        self._process_lock: ProcessLock | None = None
        # What the file was after the last exchange.
        self._epoch: str | None = None
        self._signature: tuple[int, ...] = ()

    def describe(self) -> str:
        return f"the quota file {self._shown_path}"

    async def open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._holder = f"holder-{uuid.uuid4().hex[:12]}"
            self._process_lock = ProcessLock(self._beside(self._holder))
        except OSError as error:
            raise self._unusable(error) from error

    async def close(self) -> None:
        process_lock, self._process_lock = self._process_lock, None
        if process_lock is not None:
            process_lock.close()

    def has_changed(self) -> bool:
        return _signature(self._path) != self._signature

    async def exchange(
        self, events: Sequence[Event], request_ids: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        return await asyncio.to_thread(self._exchange_now, events, request_ids, held)

    def _exchange_now(
        self, events: Sequence[Event], request_ids: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        if self._process_lock is None:
            raise UnreachableError("it was closed")
        try:
            with lock(self._beside("lock")):
                raw, now = _read(self._path), clock()
                state = self._load(raw, now)
                self._join(state, held, now)
                result = state.exchange(self._holder, events, request_ids, now)
                if _dump(state) != raw:
                    state.clock = now
                    _write(self._beside("new"), _dump(state))
                    self._beside("new").replace(self._path)
                self._epoch, self._signature = state.epoch, _signature(self._path)
                return result
        except OSError as error:
            if self._epoch is None and not isinstance(error, TimeoutError):
                raise self._unusable(error) from error
            raise UnreachableError(error.strerror or str(error)) from error

    def _unusable(self, error: OSError) -> QuotaUnavailableError:
        return QuotaUnavailableError(f"{self.describe()} cannot be used: {error.strerror or error}")

    def _beside(self, name: str) -> pathlib.Path:
        return self._path.with_name(f"{self._path.name}.{name}")

    def _load(self, raw: bytes | None, now: float) -> SharedState:
        state = SharedState(self._quota, now, boot_id())
        if raw is not None:
            try:
                state = _parse(raw)
            except Exception:
                # A foreign file can make the parser raise anything.
                self._set_aside()
                state.block_one_window(now)
        if now < state.clock or state.boot != boot_id():
            state.shift(now - state.clock)
            state.boot = boot_id()
        if self._epoch is not None and self._epoch not in (state.epoch, state.lost_epoch):
            state.block_one_window(now)
            state.lost_epoch = self._epoch
        return state

    def _set_aside(self) -> None:
        aside = self._beside(f"corrupt-{uuid.uuid4().hex[:8]}")
        self._path.replace(aside)
        logger.warning(
            "%s is damaged; it was renamed to %s, and nothing is granted for one window", self.describe(), aside.name
        )

    def _join(self, state: SharedState, held: Mapping[str, bool], now: float) -> None:
        """Remove the processes that have died, and become one of the holders."""
        for other in tuple(state.holders):
            if other != self._holder and not ProcessLock.is_held(self._beside(other)):
                state.remove_dead(other, now)
        if self._holder in state.holders:
            return
        if state.quota != self._quota:
            if state.holders:
                raise ConfigurationError(
                    f"{self.describe()}: another process keeps {state.quota!r} there, and this one was given "
                    f"{self._quota!r}; give all the same quota, or another file"
                )
            state.quota = self._quota
        state.holders.append(self._holder)
        # Where the file was lost, it does not know our slots.
        for slot_id, answered in held.items():
            state.places.setdefault(slot_id, HeldSlot(self._holder, answered))


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: pathlib.Path, data: bytes) -> None:
    # No fsync: if the machine crashes, a damaged file costs one window and nothing else.
    with open_private(path, os.O_CREAT | os.O_TRUNC) as stream:
        stream.write(data)


def _signature(path: pathlib.Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


@functools.cache
def boot_id() -> str:
    """Id of the machine's boot, or "" where the system does not tell it."""
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
    # The names of holders become paths.
    if not all(_HOLDER.fullmatch(holder) for holder in state.holders):
        raise ValueError("not the name of a holder")
    return state


def _dump(state: SharedState) -> bytes:
    return json.dumps({"format": FORMAT, **_converter.unstructure(state)}).encode()
