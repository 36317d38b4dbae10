"""Locks on files. The system releases them when the process dies, so they also tell whether it is alive."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import sys
import threading
import time
import weakref
from collections.abc import Iterator

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_TIMEOUT = 0.2
"""Seconds to try for a lock, which is held for a fraction of a millisecond."""


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
        try:
            with open_private(path) as stream:
                if not _try_lock(stream):
                    return True
        except FileNotFoundError:
            return False
        path.unlink(missing_ok=True)
        return False


def open_private(path: pathlib.Path, flags: int = 0) -> io.FileIO:
    """Open a file that only its user may read and write. A child that is forked does not keep it open."""
    with _forking:
        stream = io.FileIO(os.open(path, os.O_RDWR | flags, 0o600), "r+b")
        _open_files.add(stream)
    return stream


def owner_of(path: str) -> str:
    """Whose file it is, such as `root (uid 0)`; "" if it is ours, or cannot be told."""
    try:
        uid = os.stat(path).st_uid  # noqa: PTH116
    except OSError:
        return ""
    if not hasattr(os, "geteuid") or uid == os.geteuid():
        return ""
    import pwd

    with contextlib.suppress(KeyError):
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    return f"uid {uid}"


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
