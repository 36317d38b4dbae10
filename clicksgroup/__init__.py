"""Async Python client for Vivoldi's "Clicks by Group" API that never wastes a request.

```python
async with ClicksClient("my-key", plan="business") as client:
    async for record in client.clicks("2025-01-31"):
        print(record.group_name, record.clicks)
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clicksgroup.client import ClicksClient
    from clicksgroup.dates import DateLike, DateRange, DatesLike, date_range
    from clicksgroup.errors import (
        APIError,
        AuthenticationError,
        ClicksGroupError,
        ClientClosedError,
        ConfigurationError,
        DecodeError,
        ForbiddenError,
        PaginationError,
        PaginationWarning,
        QuotaUnavailableError,
        RateLimitError,
        RequestError,
        ServerError,
        StatusError,
        StoreError,
        TransportError,
    )
    from clicksgroup.models import Day, Estimate, Group, GroupClicks, GroupTotals, Page, Stats
    from clicksgroup.plans import Plan, Quota
    from clicksgroup.quota.shared import SharedQuota
    from clicksgroup.retries import RetryPolicy
    from clicksgroup.streams import Stream

__all__ = [
    "APIError",
    "AuthenticationError",
    "ClicksClient",
    "ClicksGroupError",
    "ClientClosedError",
    "ConfigurationError",
    "DateLike",
    "DateRange",
    "DatesLike",
    "Day",
    "DecodeError",
    "Estimate",
    "ForbiddenError",
    "Group",
    "GroupClicks",
    "GroupTotals",
    "Page",
    "PaginationError",
    "PaginationWarning",
    "Plan",
    "Quota",
    "QuotaUnavailableError",
    "RateLimitError",
    "RequestError",
    "RetryPolicy",
    "ServerError",
    "SharedQuota",
    "Stats",
    "StatusError",
    "StoreError",
    "Stream",
    "TransportError",
    "date_range",
]

# From light to heavy: a name is looked up in each until one has it. `import clicksgroup` makes them attributes too.
_MODULES = ("errors", "dates", "models", "plans", "retries", "quota.shared", "streams", "client")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name when it is first used: pytest imports this package in every run, for its plugin."""
        if name in __all__:
            for module in _MODULES:
                found = vars(importlib.import_module(f"{__name__}.{module}")).get(name)
                if found is not None:
                    globals()[name] = found
                    return found
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
