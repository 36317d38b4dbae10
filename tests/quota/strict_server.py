"""Old name, for tests that still use it: `tests.quota_server` is the module."""

from tests.quota_server import QuotaServer as StrictServer

__all__ = ["StrictServer"]
