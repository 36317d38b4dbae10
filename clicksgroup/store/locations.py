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
    """Return the URL of a location, with the driver that the store uses."""
    if isinstance(location, AsyncEngine):
        url = _check_url(location.url)
        _check_pool(location)
        return url
    if isinstance(location, URL):
        return _check_url(location)
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(f"url: expected a path, a URL or an AsyncEngine, got {type(location).__name__}")
    if isinstance(location, str) and "://" in location:
        return _check_url(_parse_url(location))
    if not location:
        raise ConfigurationError(f"url: {location!r} is not a path or URL; give {_EXAMPLES}")
    path = location if location == ":memory:" else str(Path(location).expanduser())
    return URL.create("sqlite+aiosqlite", database=path)


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
        # Else what follows a question mark that belongs to the name of a file is left out without a word.
        if text.startswith("sqlite") and "?" in text:
            parse_qsl(text.partition("?")[2] or "?", strict_parsing=True)
        return make_url(text)
    except (SQLAlchemyError, ValueError):
        # The text may hold a password, so the message does not repeat it.
        raise ConfigurationError(
            f"url: it is not a SQLAlchemy URL; give {_EXAMPLES}; a '?' in it begins options such as timeout=5"
        ) from None


def _check_url(url: URL) -> URL:
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigurationError(
            f"url: {url.drivername!r} is not supported; use sqlite+aiosqlite or postgresql+asyncpg"
        )
    url = url.set(drivername=driver)
    query = dict(url.query)
    if driver == "sqlite+aiosqlite" and (
        query.get("cache") == "shared"
        or query.get("mode") == "memory"
        or (url.database or "").startswith("file::memory:")
    ):
        raise ConfigurationError(
            "url: SQLite with a shared cache does not wait for another writer; give ':memory:', or a file"
        )
    if driver == "postgresql+asyncpg" and "sslmode" in query:
        # Hosts write libpq's `sslmode`. The driver takes the same values under the name `ssl`.
        query.setdefault("ssl", query.pop("sslmode"))
    return url.set(query=query)


def _check_pool(engine: AsyncEngine) -> None:
    """Refuse an engine whose connections do not work for several tasks at the same time."""
    if engine.dialect.name == "sqlite" and is_in_memory(engine.url):
        raise ConfigurationError("url: an engine on SQLite in memory cannot be shared; give ':memory:', or a file")
    if not isinstance(engine.pool, (AsyncAdaptedQueuePool, NullPool)):
        raise ConfigurationError(
            f"url: the engine has a {type(engine.pool).__name__}, which may give one connection to several tasks; make "
            "it with the default pool, an AsyncAdaptedQueuePool, or with a NullPool"
        )
