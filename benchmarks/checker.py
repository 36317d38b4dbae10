"""The checker of the quota benchmark: counts each account's requests in a strict sliding window, and answers them all.

What a server that enforces the window would have answered with 429 is counted, and not kept in the window.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson

ROOT = Path(__file__).parent.parent

Verdicts: TypeAlias = Mapping[str, Mapping[str, float]]
"""By account: `requests`, `rejected`, `used` (of the quota, over whole windows)."""


class Account:
    """What was seen of one account."""

    def __init__(self, count: int, window: float) -> None:
        self._count = count
        self._window = window
        self._arrivals: list[float] = []
        self._admitted: deque[float] = deque()
        self._rejected = 0

    def arrive(self, now: float) -> None:
        """Count a request."""
        self._arrivals.append(now)
        while self._admitted and self._admitted[0] <= now - self._window:
            self._admitted.popleft()
        if len(self._admitted) < self._count:
            self._admitted.append(now)
        else:
            self._rejected += 1

    def verdict(self) -> dict[str, float]:
        """What became of it."""
        windows = (len(self._arrivals) - 1) // self._count
        took = self._arrivals[windows * self._count] - self._arrivals[0]
        used = windows * self._window / took if took else 0.0
        return {"requests": len(self._arrivals), "rejected": self._rejected, "used": used}


class JudgeProtocol(asyncio.Protocol):
    """Answers each request whose head is complete; the first part of its path is the account."""

    def __init__(self, account: Callable[[str], Account], latency: float, jitter: float) -> None:
        self._account = account
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
            name = self._buffer.split(b"/", 2)[1].split(b" ", 1)[0].decode()
            self._buffer = b""
            self._loop.call_later(self._travel(), self._arrived, name)

    def _arrived(self, name: str) -> None:
        self._account(name).arrive(self._loop.time())
        self._loop.call_later(self._latency + self._travel(), self._transport.write, _ANSWER)

    def _travel(self) -> float:
        return random.random() * self._jitter


def _answer() -> bytes:
    extra = {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 1, "totalCount": 1}
    rows = [{"grpIdx": 151, "grpNm": "Electronics", "acesCnt": 181, "pernCnt": 164}]
    body = orjson.dumps({"code": 0, "message": "", "result": {"extra": extra, "list": rows}})
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


_ANSWER = _answer()


async def serve(count: int, window: float, latency: float, jitter: float) -> None:
    """Say the port on stdout; once the standard input is closed, the verdicts."""
    accounts: dict[str, Account] = {}

    def account(name: str) -> Account:
        return accounts.setdefault(name, Account(count, window))

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: JudgeProtocol(account, latency, jitter), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps({name: account.verdict() for name, account in accounts.items()}), flush=True)


class CheckerProcess:
    """A checker in a process of its own: `url`, and `verdicts` once it is adjourned."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.verdicts: Verdicts = {}


@contextlib.contextmanager
def checker_process(count: int, window: float, *, latency: float, jitter: float) -> Iterator[CheckerProcess]:
    """Start a checker; at the end of the block it says what it saw."""
    numbers: dict[str, Any] = {"count": count, "window": window, "latency": latency, "jitter": jitter}
    arguments = [f"--{name}={number}" for name, number in numbers.items()]
    command = [sys.executable, "-m", "benchmarks.checker", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        session = CheckerProcess(f"http://127.0.0.1:{int(process.stdout.readline())}")
        try:
            yield session
        finally:
            process.stdin.close()
        session.verdicts = json.loads(process.stdout.readline())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--window", type=float, required=True, help="seconds")
    parser.add_argument("--latency", type=float, required=True, help="seconds before each answer")
    parser.add_argument("--jitter", type=float, required=True, help="seconds, up to which each way takes")
    given = parser.parse_args()
    asyncio.run(serve(given.count, given.window, given.latency, given.jitter))
