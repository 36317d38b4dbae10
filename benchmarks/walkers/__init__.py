"""The sides of the walk: each a module with a `walk`, async or not, that reads all pages of all dates."""

from __future__ import annotations

import time

PATH = "/api/link/v1/clicks-by-group"
"""The endpoint, as the vendor has it."""

KEY = "benchmark"
"""The API key that everybody sends."""


class Tally:
    """What a walk has read: it has to be the same for all."""

    def __init__(self) -> None:
        self.records = 0
        self.clicks = 0
        self.first = 0.0
        """When the first record was there."""

    def add(self, records: int, clicks: int) -> None:
        """Count the records of a page, or of all there are."""
        if not self.first:
            self.first = time.perf_counter()
        self.records += records
        self.clicks += clicks
