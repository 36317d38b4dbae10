"""One process of several that share a quota: asks the server as often as it may, until the server is Gone."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from clicksgroup.plans import Quota
from clicksgroup.quota.shared import SharedQuota


def opened(how: dict[str, Any]) -> SharedQuota:
    quota = Quota(*(tuple(limit) for limit in how["limits"]), in_flight=how["in_flight"])
    if "path" in how:
        from clicksgroup.quota.file import FileQuota

        return FileQuota(how["path"], quota)
    import clicksgroup.redis

    clicksgroup.redis.SCRIPT = how.get("script", clicksgroup.redis.SCRIPT)
    clicksgroup.redis.LEASE = how.get("lease", clicksgroup.redis.LEASE)
    return clicksgroup.redis.RedisQuota(how["url"], quota, name=how["name"])


async def walk(shared: SharedQuota, name: str, port: int) -> None:
    """One request after another over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status = b""
    while b" 410 " not in status:
        slot = await shared.acquire()
        writer.write(b"GET /%s HTTP/1.1\r\n\r\n" % name.encode())
        status = await reader.readline()
        slot.answered()
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        slot.release()
    writer.close()


async def main(name: str, port: int, tasks: int, how: dict[str, Any]) -> None:
    async with opened(how) as shared:
        await asyncio.gather(*(walk(shared, name, port) for _ in range(tasks)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])))
