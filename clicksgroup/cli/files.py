"""Where data goes: a file that appears when it is complete, a pipe, a device, or stdout."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import secrets
import select
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from clicksgroup.cli.console import note
from clicksgroup.cli.progress import hide_progress
from clicksgroup.errors import ConfigurationError

STDOUT = ("-", "/dev/stdout", "/dev/fd/1")
"""Names of stdout."""

PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without blocking once it is reported as ready (Python's documentation of `select`)."""

READER_INTERVAL = 0.1
"""Seconds between two attempts to open a named pipe that has no reader. The system does not tell when it has one."""


async def send(buffer: io.BytesIO, file: BinaryIO) -> None:
    """Move what is in the buffer to a file, a pipe or a terminal, without blocking the event loop."""
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    # On a terminal, no other line may come between the rows of a page.
    size = len(data) if file.isatty() else PIPE_BUF
    while data:
        await _wait_until_writable(file)
        if file.isatty():
            hide_progress()
        # A raw file may take less than it was given.
        data = data[file.write(data[:size]) :]
        file.flush()


async def _wait_until_writable(file: BinaryIO) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_writer(file.fileno(), writable.set)
    except (OSError, NotImplementedError):
        # A file on disk never blocks. On Windows an event loop cannot watch a pipe.
        return
    try:
        await writable.wait()
    finally:
        loop.remove_writer(file.fileno())


def is_special(name: str) -> bool:
    """Whether it is a device, a pipe or an open file (`/dev/fd/3`), which cannot be replaced."""
    path = Path(name)
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
    return not is_regular or path.absolute().parts[1:2] in (("dev",), ("proc",))


@contextlib.asynccontextmanager
async def open_to_write(name: str) -> AsyncIterator[BinaryIO]:
    """A file to write. A regular file replaces an older one of that name when the block ends without an error."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(await _open_special(name) if is_special(name) else _replacing(Path(name)))
        except OSError as error:
            raise ConfigurationError(f"-o: cannot write {name}: {error.strerror or error}") from None
        yield file


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mode = None
    if mode is not None and not mode & 0o222:
        raise PermissionError(errno.EACCES, "it is read-only; name another file")
    # The target of a symbolic link is replaced, not the link.
    target = path.resolve()
    part = target.with_name(f".clicksgroup-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            if mode is not None:
                part.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


async def _open_special(name: str) -> BinaryIO:
    """Open it without replacing it. A named pipe is opened once it has a reader, and does not block meanwhile."""
    file = _try_to_open(name)
    if file is None:
        note(f"waiting for a program that reads {name}")
    while file is None:
        await asyncio.sleep(READER_INTERVAL)
        file = _try_to_open(name)
    return file


def _try_to_open(name: str) -> BinaryIO | None:
    """Open a device or a pipe; None if it is a named pipe without a reader."""
    if Path(name).is_dir():
        raise ConfigurationError(f"-o: {name!r} is a folder; name a file")
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        number = os.open(name, flags)
    except OSError as error:
        if error.errno == errno.ENXIO and Path(name).is_fifo():
            return None
        raise
    os.set_blocking(number, True)
    return cast("BinaryIO", os.fdopen(number, "wb", buffering=0))
