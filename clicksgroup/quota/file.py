"""A quota that all processes of one machine share, and that survives their restarts: a file under a lock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import io
import os
import pathlib
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Iterator

from clicksgroup.errors import QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend, UnreachableError, clock
from clicksgroup.quota.remote import RemoteQuota
from clicksgroup.quota.state import ExchangeResult, Report, SharedState

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_TIMEOUT = 0.2
"""Seconds to try for a lock, which is held for a fraction of a millisecond."""


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
        super().__init__(quota, functools.partial(FileBackend, path, quota), outage_timeout)
        self.path = pathlib.Path(path)


def default_name(origin: str, api_key: str) -> str:
    """The name of the quota of that key. It is a hash of both, so it shows neither."""
    digest = hashlib.sha256(f"{origin}\0{api_key}".encode()).hexdigest()
    return f"quota-{digest[:32]}"


def default_path(origin: str, api_key: str) -> pathlib.Path:
    """The file that keeps the quota of that key by default, in the user's folder for the state of programs.

    Raises:
        RuntimeError: this user has no home.
    """
    if sys.platform == "win32":
        folder = pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = pathlib.Path.home() / "Library" / "Application Support"
    else:
        # Its specification says that a relative path is to be ignored.
        folder = pathlib.Path(os.environ.get("XDG_STATE_HOME", ""))
        folder = folder if folder.is_absolute() else pathlib.Path.home() / ".local" / "state"
    return folder / "clicksgroup" / f"{default_name(origin, api_key)}.json"


class FileBackend(Backend):
    """Reads the state from the file, changes it and writes it back, under a lock."""

    def __init__(self, path: str | os.PathLike[str], quota: Quota) -> None:
        super().__init__(quota, f"the quota file {pathlib.Path(path)}", "delete that file")
        self._path = pathlib.Path(path).expanduser()
        self._process_lock: ProcessLock | None = None
        self._closed = False
        # What the file held after the last exchange.
        self._raw: bytes | None = None

    async def exchange(self, report: Report) -> ExchangeResult:
        return await asyncio.to_thread(self._exchange_now, report)

    def has_changed(self) -> bool:
        with contextlib.suppress(OSError):
            return self._path.read_bytes() != self._raw
        return True

    async def close(self) -> None:
        self._closed = True
        if self._process_lock is not None:
            self._process_lock.close()

    def prepare(self, state: SharedState, now: float) -> tuple[float, float]:
        if state.boot != boot_id() or now - state.origin < state.clock:
            # The machine's clock began anew: everything keeps the age that it had at the last change.
            state.origin, state.boot = now - state.clock, boot_id()
        for other in tuple(state.holders):
            if other != self.holder and not ProcessLock.is_held(self._beside(other)):
                state.remove(other, now - state.origin)
        return -state.origin, -state.origin

    def set_aside(self) -> str:
        aside = self._beside(f"corrupt-{uuid.uuid4().hex[:8]}")
        self._path.replace(aside)
        return f"it was renamed to {aside.name}"

    def _exchange_now(self, report: Report) -> ExchangeResult:
        try:
            if self._process_lock is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._process_lock = ProcessLock(self._beside(self.holder))
            with lock(self._beside("lock")):
                raw = self._path.read_bytes() if self._path.exists() else None
                result, new, seen = self.decide(raw, report, clock())
                if new is not None:
                    # No fsync: if the machine crashes, a damaged file costs one window and nothing else.
                    with open_private(self._beside("new"), os.O_CREAT | os.O_TRUNC) as stream:
                        stream.write(new)
                    self._beside("new").replace(self._path)
                self.seen, self._raw = seen, new or raw
                return result
        except OSError as error:
            reason = self._explain(error)
            if self.seen is None and not isinstance(error, TimeoutError):
                raise QuotaUnavailableError(f"{self.description} cannot be used: {reason}") from error
            raise UnreachableError(reason) from error
        finally:
            # An exchange that was cancelled goes on in its thread.
            if self._closed and self._process_lock is not None:
                self._process_lock.close()

    def _explain(self, error: OSError) -> str:
        """What is wrong, and what helps."""
        reason = error.strerror or str(error)
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
            return reason
        if error.filename:
            with contextlib.suppress(OSError):
                reason += _foreign_owner(pathlib.Path(error.filename))
        return (
            f"{reason}; keep the quota in a folder that this user may write (the command line: set XDG_STATE_HOME or "
            "HOME), or in Redis (--redis)"
        )

    def _beside(self, name: str) -> pathlib.Path:
        return self._path.with_name(f"{self._path.name}.{name}")


def _foreign_owner(path: pathlib.Path) -> str:
    """Whose file it is, if it is not ours, such as `: quota.json belongs to root (uid 0)`."""
    uid = path.stat().st_uid
    if not hasattr(os, "geteuid") or uid == os.geteuid():
        return ""
    try:
        return f": {path} belongs to {path.owner()} (uid {uid})"
    except KeyError:
        return f": {path} belongs to uid {uid}"


@functools.cache
def boot_id() -> str:
    """Id of the machine's boot, or "" where the system does not tell it."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[None]:
    """Exclude all other processes that lock the same file, which is created.

    Raises:
        TimeoutError: another process holds the lock for longer than `LOCK_TIMEOUT`.
    """
    with open_private(path, os.O_CREAT) as stream:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(stream):
            if time.monotonic() >= deadline:
                raise TimeoutError("another process holds its lock")
            time.sleep(0.0005)
        try:
            yield
        finally:
            # Closing is not enough: a child that was forked meanwhile shares the lock.
            _unlock(stream)


class ProcessLock:
    """A file that this process keeps locked until it closes the lock or dies; it is created, and removed at the end."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stream = open_private(path, os.O_CREAT)
        _try_lock(self._stream)

    def close(self) -> None:
        """Release the lock."""
        if not self._stream.closed:
            _unlock(self._stream)
            self._stream.close()
        self._path.unlink(missing_ok=True)

    @staticmethod
    def is_held(path: pathlib.Path) -> bool:
        """Whether the process that made that lock is alive. The file of a dead one is removed."""
        with contextlib.suppress(FileNotFoundError), open_private(path) as stream:
            if not _try_lock(stream):
                return True
        path.unlink(missing_ok=True)
        return False


def open_private(path: pathlib.Path, flags: int = 0) -> io.FileIO:
    """Open a file that only its user may read and write. A child that is forked does not keep it open."""
    with _forking:
        stream = io.FileIO(os.open(path, os.O_RDWR | flags, 0o600), "r+b")
        _open_files.add(stream)
    return stream


_forking = threading.Lock()
_open_files: weakref.WeakSet[io.FileIO] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked child shares the locks of its parent, and would keep them alive after the parent's death."""
    for stream in list(_open_files):
        stream.close()
    _open_files.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    # Not while a file is being opened: the child would not know it.
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)


if sys.platform == "win32":

    def _try_lock(stream: io.FileIO) -> bool:
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(stream: io.FileIO) -> None:
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(stream: io.FileIO) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(stream: io.FileIO) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)
