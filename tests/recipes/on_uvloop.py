"""The same on uvloop."""

import uvloop

from clicksgroup import ClicksClient


async def groups_on(date: str) -> int:
    async with ClicksClient() as client:
        return len(await client.day(date))


def main() -> None:
    print(uvloop.run(groups_on("2025-01-31")))
