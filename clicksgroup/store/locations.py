"""Where a store is: paths and URLs as users write them, and how messages name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

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
        if location.url.drivername not in _DRIVERS.values():
            raise _unsupported(location.url)
        return location.url
    if isinstance(location, URL):
        return _with_our_driver(location)
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(f"url: expected a path, a URL or an AsyncEngine, got {type(location).__name__}")
    path = os.fspath(location)
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"url: {path!r} is not a path or URL; give {_EXAMPLES}")
    if isinstance(location, str) and "://" in path:
        return _with_our_driver(_parse_url(path))
    return URL.create("sqlite+aiosqlite", database=path if path == ":memory:" else str(Path(path).expanduser()))


def describe(url: URL) -> str:
    """Return a text for messages: the path of a file, or the URL without password and query."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)


def _parse_url(text: str) -> URL:
    try:
        return make_url(text)
    except (SQLAlchemyError, ValueError):
        # The text may hold a password, so the message does not repeat it.
        raise ConfigurationError(f"url: it is not a SQLAlchemy URL; give {_EXAMPLES}") from None


def _with_our_driver(url: URL) -> URL:
    if url.drivername not in _DRIVERS:
        raise _unsupported(url)
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "postgresql" and "sslmode" in url.query:
        # Hosts write libpq's `sslmode`. The driver takes the same values under the name `ssl`.
        query = dict(url.query)
        query.setdefault("ssl", query.pop("sslmode"))
        url = url.set(query=query)
    return url


def _unsupported(url: URL) -> ConfigurationError:
    return ConfigurationError(f"url: {url.drivername!r} is not supported; use sqlite+aiosqlite or postgresql+asyncpg")
