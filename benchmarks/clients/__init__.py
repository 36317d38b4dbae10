"""The clients that are compared: each module has a function `read_all`, async or not, that reads all dates."""

from __future__ import annotations

import time

PATH = "/api/link/v1/clicks-by-group"
"""The path of the endpoint."""

KEY = "benchmark"
"""The API key that all clients send."""


class Tally:
    """Counts the records and clicks that a client has read: they must be the same for all clients."""

    def __init__(self) -> None:
        self.records = 0
        self.clicks = 0
        self.first = 0.0
        """`time.perf_counter()` at the first record."""

    def add(self, records: int, clicks: int) -> None:
        """Count records, whether of one page or of many."""
        if not self.first:
            self.first = time.perf_counter()
        self.records += records
        self.clicks += clicks
