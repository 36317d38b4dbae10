"""The store: fetched clicks, kept in SQLite or PostgreSQL (extra `store`; for PostgreSQL `postgres`).

`ClickStore.backfill` asks only for dates that are missing or not final. It stores each date in one transaction, so a
job that is interrupted loses no more than the dates in flight. The tables, for your own SQL, are described in
`clicksgroup.store.schema`.
"""

from __future__ import annotations

try:
    # Imported here, so that the error names the extra.
    import aiosqlite as _aiosqlite  # noqa: F401
    import sqlalchemy.ext.asyncio as _sqlalchemy  # noqa: F401
except ImportError as _error:  # pragma: no cover - needs an environment without the extra
    raise ImportError('the store needs an extra: pip install "clicksgroup[store]"') from _error

from clicksgroup.store.backfill import BackfillProgress, BackfillReport
from clicksgroup.store.reading import Coverage
from clicksgroup.store.store import ClickStore

__all__ = ["BackfillProgress", "BackfillReport", "ClickStore", "Coverage"]
