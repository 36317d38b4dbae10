"""Files that commands write: replaced as a whole when complete, or written into where they cannot be replaced."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from clicksgroup.cli.console import note
from clicksgroup.errors import ConfigurationError

_READER_INTERVAL = 0.1
"""Seconds between two attempts to open a named pipe that has no reader. The system does not tell when it has one."""


def is_special(name: str) -> bool:
    """Whether it is a device, a pipe or an open file (`/dev/fd/3`), which cannot be replaced."""
    mode = _mode(name)
    opened = Path(name).absolute().parts[1:2] in (("dev",), ("proc",))
    return mode != 0 and (opened or not stat.S_ISREG(mode))


@contextlib.asynccontextmanager
async def open_to_write(name: str) -> AsyncIterator[BinaryIO]:
    """A file to write. A regular file replaces an older one of that name when the block ends without an error.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    mode = _mode(name)
    if not name or stat.S_ISDIR(mode):
        raise ConfigurationError(f"-o: {name!r} is a folder; name a file")
    opened = await _open_special(name, is_pipe=stat.S_ISFIFO(mode)) if is_special(name) else _replacing(name, mode)
    with opened as stream:
        yield stream


@contextlib.contextmanager
def _replacing(name: str, mode: int) -> Iterator[BinaryIO]:
    if mode and not mode & 0o222:
        raise ConfigurationError(f"-o: cannot write {name}: it is read-only; name another file")
    # The target of a symbolic link is replaced, not the link.
    target = Path(name).resolve()
    part = target.with_name(f".clicksgroup-{secrets.token_hex(4)}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise _cannot_write(name, error) from None
    try:
        with stream:
            if mode:
                part.chmod(stat.S_IMODE(mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _mode(name: str) -> int:
    """Its kind and permissions; 0 if it does not exist."""
    try:
        return Path(name).stat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _cannot_write(name, error) from None


async def _open_special(name: str, *, is_pipe: bool) -> BinaryIO:
    """Open it without replacing it. A named pipe is opened once it has a reader, and does not block meanwhile."""
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    said = False
    while True:
        try:
            number = os.open(name, flags)
        except OSError as error:
            if error.errno != errno.ENXIO or not is_pipe:
                raise _cannot_write(name, error) from None
        else:
            os.set_blocking(number, True)
            return cast("BinaryIO", os.fdopen(number, "wb", buffering=0))
        if not said:
            note(f"waiting for a program that reads {name}")
            said = True
        await asyncio.sleep(_READER_INTERVAL)


def _cannot_write(name: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"-o: cannot write {name}: {error.strerror or error}")
