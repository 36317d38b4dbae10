"""PostgreSQL takes over from the file."""

from clicksgroup.store import ClickStore


async def take_over(file: str, url: str, start: str, end: str) -> None:
    """Copy what was fetched, and when it was, so that nothing is asked for again."""
    async with ClickStore(file) as old, ClickStore(url) as new:
        async for day in old.days(start, end):
            await new.put(day)
