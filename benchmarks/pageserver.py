"""A page server so cheap that the client is the bottleneck: bodies encoded beforehand, a bare asyncio protocol.

It answers every date with `--pages` pages of 30 records, after `--latency` seconds. It keeps no quota.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

ROOT = Path(__file__).parent.parent


def page_body(number: int, pages: int) -> bytes:
    """The body of one page, of about 2 KiB, as the vendor would send it."""
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


def encoded_pages(pages: int) -> list[bytes]:
    """Whole HTTP answers, by page number; the first is no page."""
    answers = [b""]
    for number in range(1, pages + 1):
        body = page_body(number, pages)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answers.append(head.encode() + body)
    return answers


class PageProtocol(asyncio.Protocol):
    """Answers each request whose head is complete; nobody pipelines here."""

    def __init__(self, answers: list[bytes], latency: float) -> None:
        self._answers = answers
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\r\n\r\n"):
            return
        line = self._buffer[: self._buffer.index(b"\r\n")]
        self._buffer = b""
        number = line.split(b"pages=", 1)[1].split(b" ", 1)[0].split(b"&", 1)[0]
        answer = self._answers[int(number)]
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(pages: int, latency: float) -> None:
    """Serve on a free port of loopback, and say which on stdout, until the standard input is closed."""
    answers = encoded_pages(pages)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PageProtocol(answers, latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextlib.contextmanager
def page_server(pages: int = 10, latency: float = 0.0) -> Iterator[str]:
    """The URL of a page server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.pageserver", "--pages", str(pages), "--latency", str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.pages, arguments.latency))
