"""Locks on files. The system releases them when the process dies, so they also tell whether it is alive."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time
import weakref
from collections.abc import Iterator
from typing import BinaryIO

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
        # Closing the file releases the lock.
        yield


class ProcessLock:
    """A file that this process keeps locked until it closes the lock or dies; it is created, and removed at the end."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stream = open_private(path, os.O_CREAT)
        _try_lock(self._stream)
        _process_locks.add(self._stream)

    def close(self) -> None:
        """Release the lock."""
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


def open_private(path: pathlib.Path, flags: int = 0) -> BinaryIO:
    """Open a file that only its user may read and write."""
    return open(os.open(path, os.O_RDWR | flags, 0o600), "r+b", buffering=0)  # noqa: PTH123


_process_locks: weakref.WeakSet[BinaryIO] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked child shares the locks of its parent, and would keep them alive after the parent's death."""
    for stream in list(_process_locks):
        stream.close()
    _process_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


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
