"""When a request may start: in one event loop, and across the processes of one machine.

`SharedQuota` is the promise; `LocalQuota` keeps it for one event loop (what a client uses by itself), `FileQuota`
for all processes of one machine and across restarts, `clicksgroup.redis.RedisQuota` across machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clicksgroup.plans import Quota
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot

if TYPE_CHECKING:
    from clicksgroup.quota.file import FileQuota as FileQuota

__all__ = ["FileQuota", "Quota", "QuotaPausedError", "SharedQuota", "Slot"]


def __getattr__(name: str) -> object:
    """`FileQuota` is loaded when it is first asked for: most programs keep their quota in memory."""
    if name == "FileQuota":
        from clicksgroup.quota.file import FileQuota

        return FileQuota
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
