"""One of the processes that share a quota: sends requests as fast as it may, until the server answers 410."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from clicksgroup.plans import Quota
from clicksgroup.quota import FileQuota, SharedQuota


def shared_quota(options: dict[str, Any]) -> SharedQuota:
    quota = Quota(*(tuple(limit) for limit in options["limits"]), in_flight=options["in_flight"])
    if "path" in options:
        return FileQuota(options["path"], quota)
    import clicksgroup.quota.remote
    import clicksgroup.quota.state
    import clicksgroup.redis

    clicksgroup.redis.SCRIPT = options.get("script", clicksgroup.redis.SCRIPT)
    for module in (clicksgroup.quota.state, clicksgroup.quota.remote):
        setattr(module, "LEASE", options.get("lease", 30.0))  # noqa: B010
    return clicksgroup.redis.RedisQuota(options["url"], quota, name=options["name"])


async def send_requests(quota: SharedQuota, name: str, port: int) -> None:
    """One request after another over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status = b""
    while b" 410 " not in status:
        slot = await quota.acquire()
        writer.write(b"GET /%s HTTP/1.1\r\n\r\n" % name.encode())
        status = await reader.readline()
        slot.answered()
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        slot.release()
    writer.close()


async def main(name: str, port: int, tasks: int, options: dict[str, Any]) -> None:
    async with shared_quota(options) as quota:
        await asyncio.gather(*(send_requests(quota, name, port) for _ in range(tasks)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])))
