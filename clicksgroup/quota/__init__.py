"""When a request may start: in one event loop, and across the processes of one machine.

The rule itself is `Ledger.delay` (`ledger.py`). The other modules ask it: for one loop, a file or a server.
`SharedQuota` is the interface. `LocalQuota` keeps a quota for one event loop (a client's default), `FileQuota` for all
processes of one machine and across restarts, `clicksgroup.redis.RedisQuota` across machines.
"""

from clicksgroup.plans import Quota
from clicksgroup.quota.file import FileQuota
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot

__all__ = ["FileQuota", "Quota", "QuotaPausedError", "SharedQuota", "Slot"]
