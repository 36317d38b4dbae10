"""The Redis of this machine. Where there is none, a test is skipped, but fails in CI."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
import redis

URL = os.environ.get("CLICKSGROUP_TEST_REDIS_URL", "redis://127.0.0.1:6379")


@contextlib.contextmanager
def connected() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(URL) as connection:
        try:
            connection.ping()
        except redis.RedisError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"there is no Redis at {URL}: {error}")
            pytest.skip(f"there is no Redis at {URL}: {error}")
        yield connection
