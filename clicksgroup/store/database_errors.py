"""Errors of SQLite, PostgreSQL and their drivers: which of them are transient, and each as a `StoreError`."""

from __future__ import annotations

import sqlite3

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from clicksgroup.errors import StoreError
from clicksgroup.store.locations import describe

DRIVER_ERRORS: tuple[type[BaseException], ...] = (SQLAlchemyError, OSError, sqlite3.Error)
"""What an engine and its drivers raise."""

try:
    import asyncpg  # type: ignore[import-untyped]
except ImportError:  # pragma: no cover - needs an environment without the extra
    pass
else:
    DRIVER_ERRORS += (asyncpg.PostgresError, asyncpg.InterfaceError)

# SQLSTATEs of connections that are lost or refused for now, and of transactions that lost a race.
_TRANSIENT_STATES = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")

# Running the job again does not help: a wrong user, password or database, missing rights, a file of another kind.
_PERMANENT_STATES = ("28", "3D000", "42501")
_PERMANENT_TEXTS = ("readonly database", "not a database", "malformed")

_SHORTEST_PASSWORD = 4
"""Characters. To replace a shorter password would garble the message."""

_STORED_IS_SAFE = "what was stored is safe"

_ADVICE_BY_STATE = {
    "28": "check user and password in the URL",
    "3D000": "create the database first, or name another",
    "42501": "let the user create and write tables there",
    "53": f"give the server room; {_STORED_IS_SAFE}",
}

_ADVICE_BY_TEXT = {
    "unable to open database file": "is the folder there, and may you write to it?",
    "readonly database": "it can only be read; allow writing to the file and its folder",
    "disk is full": f"make room; {_STORED_IS_SAFE}",
    "disk I/O error": f"check the disk; {_STORED_IS_SAFE}",
    "database is locked": "another program holds it; end that one, or run it again later",
    "not a database": "name another file",
    "Connect call failed": "does the server run, and are host and port right?",
    "Name or service not known": "is the host right?",
}


class NoStoreError(StoreError):
    """A file or database is without our tables, where they must not be created."""


def no_store(url: URL, *, is_missing: bool = False) -> NoStoreError:
    """Return the error that names the file or database."""
    what = ", which does not exist," if is_missing else ""
    return NoStoreError(f"{describe(url)}{what} holds no clicksgroup store; fill it: clicksgroup backfill START END")


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed on a new connection, or a little later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if _sqlstate(error).startswith(_TRANSIENT_STATES):
        return True
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def store_error(error: BaseException, url: URL, verb: str) -> StoreError:
    """Return the error as one line without the password, with advice; `verb` is "opened", "read" or "written"."""
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = " ".join(str(origin).split()) or type(origin).__name__
    text = text.removeprefix(f"{type(origin)}: ")
    if url.password and len(url.password) >= _SHORTEST_PASSWORD:
        text = text.replace(url.password, "***")
    state = _sqlstate(error)
    permanent = state.startswith(_PERMANENT_STATES) or any(words in text for words in _PERMANENT_TEXTS)
    advice = [advice for prefix, advice in _ADVICE_BY_STATE.items() if state.startswith(prefix)]
    advice += [advice for words, advice in _ADVICE_BY_TEXT.items() if words in text]
    return StoreError(
        f"the store {describe(url)} cannot be {verb}: {text}; {[*advice, _STORED_IS_SAFE][0]}",
        retryable=verb != "opened" and not permanent,
    )


def _sqlstate(error: BaseException | None) -> str:
    while error is not None:
        state = getattr(error, "sqlstate", None)
        if isinstance(state, str):
            return state
        error = getattr(error, "orig", None) or error.__cause__
    return ""
