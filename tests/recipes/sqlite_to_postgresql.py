"""Move a store from a SQLite file to PostgreSQL, without asking the service again.

python sqlite_to_postgresql.py clicks.db postgresql+asyncpg://user:password@host/clicks 2025-01-01 2025-12-31
"""

import asyncio
import sys

from clicksgroup.store import ClickStore


async def copy_days(file: str, url: str, start: str, end: str) -> None:
    """Copy the dates that were fetched whole, with the time at which they were fetched.

    Dates that were fetched for some groups need a second copy, with `groups=` given to `old.days`.
    """
    async with ClickStore(file) as old, ClickStore(url) as new:
        async for day in old.days(start, end):
            await new.put(day)


if __name__ == "__main__":
    asyncio.run(copy_days(*sys.argv[1:]))
