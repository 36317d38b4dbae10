"""Async Python client for Vivoldi's "Clicks by Group" API that never wastes a request.

```python
async with ClicksClient("my-key", plan="business") as client:
    async for record in client.clicks("2025-01-31"):
        print(record.group_name, record.clicks)
```
"""

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
