"""Where a store is: paths and URLs as users write them, and how messages name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from clicksgroup.errors import ConfigurationError

Location: TypeAlias = str | os.PathLike[str] | URL | AsyncEngine
"""The path of a SQLite file, a SQLAlchemy URL, or an engine."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_EXAMPLES = "a path such as clicks.db, or a URL such as postgresql+asyncpg://user@host/database"


def parse_location(location: Location) -> URL:
    """Return the URL of a location, with the driver that the store uses.

    Raises:
        ConfigurationError: not a path or URL, or one of another database or driver.
        TypeError: another type.
    """
    if isinstance(location, AsyncEngine):
        return _check_engine(location)
    if isinstance(location, URL):
        return _checked(location)
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(f"url: expected a path, a URL or an AsyncEngine, got {type(location).__name__}")
    path = os.fspath(location)
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"url: {path!r} is not a path or URL; give {_EXAMPLES}")
    if isinstance(location, str) and "://" in path:
        return _checked(_parse_url(path))
    return URL.create("sqlite+aiosqlite", database=path if path == ":memory:" else str(Path(path).expanduser()))


def describe(url: URL) -> str:
    """Return a text for messages: the path of a file, or the URL without password and query."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)


def is_in_memory(url: URL) -> bool:
    """Whether a URL of SQLite names no file: each connection to it is then a database of its own."""
    return url.database in (None, "", ":memory:")


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
        # Else what follows a question mark that belongs to the name of a file is left out without a word.
        if text.startswith("sqlite") and "?" in text:
            parse_qsl(text.partition("?")[2] or "?", strict_parsing=True)
    except (SQLAlchemyError, ValueError):
        # The text may hold a password, so the message does not repeat it.
        raise ConfigurationError(
            f"url: it is not a SQLAlchemy URL; give {_EXAMPLES}; a '?' in it begins options such as timeout=5"
        ) from None
    return url


def _check_engine(engine: AsyncEngine) -> URL:
    """Refuse an engine whose connections do not work for several tasks at the same time."""
    url = engine.url
    if url.drivername not in _DRIVERS.values():
        raise _unsupported(url)
    if url.get_backend_name() == "sqlite" and is_in_memory(url):
        raise ConfigurationError("url: an engine on SQLite in memory cannot be shared; give ':memory:', or a file")
    if not isinstance(engine.pool, (AsyncAdaptedQueuePool, NullPool)):
        raise ConfigurationError(
            f"url: the engine has a {type(engine.pool).__name__}, which may give one connection to several tasks; make "
            "it with the default pool, an AsyncAdaptedQueuePool, or with a NullPool"
        )
    return _checked(url)


def _checked(url: URL) -> URL:
    if url.drivername not in _DRIVERS:
        raise _unsupported(url)
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "sqlite" and (
        url.query.get("cache") == "shared"
        or url.query.get("mode") == "memory"
        or (url.database or "").startswith("file::memory:")
    ):
        raise ConfigurationError(
            "url: SQLite with a shared cache does not wait for another writer; give ':memory:', or a file"
        )
    if url.get_backend_name() == "postgresql" and "sslmode" in url.query:
        # Hosts write libpq's `sslmode`. The driver takes the same values under the name `ssl`.
        query = dict(url.query)
        query.setdefault("ssl", query.pop("sslmode"))
        url = url.set(query=query)
    return url


def _unsupported(url: URL) -> ConfigurationError:
    return ConfigurationError(f"url: {url.drivername!r} is not supported; use sqlite+aiosqlite or postgresql+asyncpg")
