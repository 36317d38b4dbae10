"""Old names, for tests that still use them: `tests.raw_server` is the module."""

from tests.raw_server import RawServer, http
from tests.raw_server import Request as Asked

__all__ = ["Asked", "RawServer", "http"]
