"""The store: clicks that were fetched once, kept in SQLite or PostgreSQL (extra `store`; `postgres` for the latter).

`ClickStore.backfill` asks only for what is missing or not final, one transaction a date, so that whatever ends the job
costs the dates in flight and nothing else. The tables are there for your own SQL: see `clicksgroup.store.schema`.
"""

from __future__ import annotations

try:
    import aiosqlite as _aiosqlite  # noqa: F401 - tried here, so that the error names the extra
    import sqlalchemy.ext.asyncio as _sqlalchemy  # noqa: F401
except ImportError as _error:  # pragma: no cover - needs an environment without the extra
    raise ImportError('the store needs an extra: pip install "clicksgroup[store]"') from _error

from clicksgroup.store.backfill import BackfillProgress, BackfillReport
from clicksgroup.store.coverage import Coverage
from clicksgroup.store.store import ClickStore

__all__ = ["BackfillProgress", "BackfillReport", "ClickStore", "Coverage"]
