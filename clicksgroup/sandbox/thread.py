"""A sandbox in a thread of its own, for code that blocks its event loop or has none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from clicksgroup.sandbox.server import Sandbox


@contextlib.contextmanager
def run_in_thread(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Run a sandbox on an event loop of its own, in a thread of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    # A daemon, so that an interpreter that exits inside of the block does not wait for it.
    thread = threading.Thread(target=loop.run_forever, name="clicks_sandbox", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sandbox.__aenter__(), loop).result()
        try:
            yield sandbox
        finally:
            asyncio.run_coroutine_threadsafe(sandbox.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
