"""The vendor's protocol without any I/O: what to ask, what an answer means, whether pages add up to a date.

The vendor's own names (`grpIdx`, `acesCnt`, …) live in this package and nowhere else.
"""

from clicksgroup.protocol.decoding import Check, Decoder, Extra, PageResponse
from clicksgroup.protocol.error_responses import PROXY_AUTHENTICATION, status_error, too_large
from clicksgroup.protocol.pagination import REREADS, Paginator
from clicksgroup.protocol.requests import PAGE_SIZE, ApiVersion, PageRequest, Query, QueryPlanner

__all__ = [
    "PAGE_SIZE",
    "PROXY_AUTHENTICATION",
    "REREADS",
    "ApiVersion",
    "Check",
    "Decoder",
    "Extra",
    "PageRequest",
    "PageResponse",
    "Paginator",
    "Query",
    "QueryPlanner",
    "status_error",
    "too_large",
]
