"""A program on uvloop. Nothing but the call that runs it is different."""

import uvloop

from clicksgroup import ClicksClient


async def count_groups(date: str) -> int:
    """How many groups the date lists."""
    async with ClicksClient() as client:
        return len(await client.day(date))


if __name__ == "__main__":
    print(uvloop.run(count_groups("2025-01-31")))
