"""A server of pages that is so cheap that the client is the bottleneck. It enforces no quota.

Every date has `--pages` pages of 30 records, encoded beforehand. The server is an asyncio protocol in a process of its
own, since the scripted server of the tests would cost more than some of the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import orjson

ROOT = Path(__file__).parent.parent


@attrs.define
class PageServer:
    """A server that runs: its `url`, and when it has ended, the seconds at which requests arrived.

    `arrivals` has a list for the first part of each path, so that several clients can use one server.
    """

    url: str
    arrivals: dict[str, list[float]] = attrs.field(factory=dict)


@contextlib.contextmanager
def page_server(pages: int = 10, latency: float = 0.0, jitter: float = 0.0) -> Iterator[PageServer]:
    """A server in a process of its own, on a free port of the loopback address.

    Args:
        pages: how many pages each date has.
        latency: seconds before each response.
        jitter: each way takes up to this many seconds more.
    """
    command = [sys.executable, "-m", "benchmarks.page_server"]
    command += [f"--pages={pages}", f"--latency={latency}", f"--jitter={jitter}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        server = PageServer(f"http://127.0.0.1:{int(process.stdout.readline())}")
        try:
            yield server
        finally:
            process.stdin.close()
        server.arrivals = json.loads(process.stdout.readline())


def page_body(number: int, pages: int) -> bytes:
    """The body of one page, of about 2 KiB, as the vendor sends it."""
    rows = [
        {
            "grpIdx": 1000 + 30 * number + i,
            "grpNm": f"Campaign {number}-{i} 캠페인",
            "acesCnt": 19847 + i,
            "pernCnt": 18095 + i,
        }
        for i in range(30)
    ]
    last = number == pages
    extra = {
        "pages": number,
        "nextPages": number if last else number + 1,
        "nextYn": "N" if last else "Y",
        "count": 30,
        "totalCount": 30 * pages,
    }
    return orjson.dumps({"code": 0, "message": "", "result": {"extra": extra, "list": rows}})


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the standard input is closed: print the port, and at the end the arrivals as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    parser.add_argument("--jitter", type=float, default=0.0, help="each way takes up to this many seconds more")
    chosen = parser.parse_args(arguments)
    asyncio.run(_serve(chosen.pages, chosen.latency, chosen.jitter))


async def _serve(pages: int, latency: float, jitter: float) -> None:
    responses = [b"", *(_response(page_body(number, pages)) for number in range(1, pages + 1))]
    arrivals: dict[str, list[float]] = defaultdict(list)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(responses, arrivals, latency, jitter), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps(arrivals), flush=True)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class _Protocol(asyncio.Protocol):
    """Answers each request whose head is complete. None of the clients uses pipelining."""

    def __init__(self, responses: list[bytes], arrivals: dict[str, list[float]], latency: float, jitter: float) -> None:
        self._responses = responses
        self._arrivals = arrivals
        self._latency = latency
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(b"\r\n\r\n"):
            target = self._buffer.split(b" ", 2)[1]
            self._buffer = b""
            self._after(self._travel(), self._arrived, target)

    def _arrived(self, target: bytes) -> None:
        self._arrivals[target.split(b"/", 2)[1].decode()].append(self._loop.time())
        number = int(target.split(b"pages=", 1)[1].split(b"&", 1)[0])
        self._after(self._latency + self._travel(), self._transport.write, self._responses[number])

    def _travel(self) -> float:
        return random.random() * self._jitter if self._jitter else 0.0

    def _after(self, seconds: float, action: Callable[[bytes], object], data: bytes) -> None:
        if seconds:
            self._loop.call_later(seconds, action, data)
        else:
            action(data)


if __name__ == "__main__":
    main()
