"""The vendor's protocol without any I/O: what to ask, what an answer means, whether pages add up to a date.

The vendor's own names (`grpIdx`, `acesCnt`, …) live in this package and nowhere else.
"""

from clicksgroup.protocol.answers import Check, Decoder, Extra, Reply, Rows
from clicksgroup.protocol.chain import Walk
from clicksgroup.protocol.refusals import status_error, too_large
from clicksgroup.protocol.requests import ApiVersion, PageRequest, Question, split_groups

__all__ = [
    "ApiVersion",
    "Check",
    "Decoder",
    "Extra",
    "PageRequest",
    "Question",
    "Reply",
    "Rows",
    "Walk",
    "split_groups",
    "status_error",
    "too_large",
]
