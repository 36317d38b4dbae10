"""Which queries a call needs: the plan's rules, lists of groups that must be split, and what that costs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import attrs

from clicksgroup.arguments import parse_groups, whole_number
from clicksgroup.dates import DateLike, date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Plan
from clicksgroup.protocol import PAGE_SIZE, ApiVersion, Query, split_groups

MONTH_DAYS = 31
"""The longest range of totals where the plan sets none: "at most 1 month" in the vendor's words, taken as 31 days."""


@attrs.frozen
class QueryPlanner:
    """Makes queries for one client.

    Args:
        plan: whose rules hold.
        version: which of the vendor's APIs is asked for clicks.
        base_url: what comes before the path, since the length of a URL is bounded.
    """

    plan: Plan
    version: ApiVersion
    base_url: str

    def group_ids(self, groups: Iterable[int] | None) -> tuple[int, ...] | None:
        """The ids, as the plan allows them.

        Raises:
            ConfigurationError: they cannot be right, or the plan wants some and there are none.
        """
        ids = parse_groups(groups)
        if ids is None and self.plan.groups_required:
            raise ConfigurationError(f"the {self.plan.label} plan must name its groups: pass groups=[...]")
        return ids

    def clicks(self, date: datetime.date, ids: tuple[int, ...] | None) -> tuple[Query, ...]:
        """The queries for the clicks of a date: several where the list of groups must be split."""
        return tuple(Query(date, date, part, self.version) for part in self._parts(ids))

    def totals(self, start: DateLike, end: DateLike, groups: Iterable[int] | None) -> tuple[Query, ...]:
        """The queries for the totals of a range.

        Raises:
            ConfigurationError: the plan does not allow the range or the groups.
        """
        dates = date_range(start, end)
        first, last = dates[0], dates[-1]
        days, most = len(dates), self.plan.totals_days or MONTH_DAYS
        if days > most:
            raise ConfigurationError(
                f"end: {first} to {last} are {days} days, but {self.plan.label} allows {most}; ask for a shorter "
                "range: people cannot be added up over ranges, so it is not split"
            )
        return tuple(Query(first, last, part, "v2", "totals") for part in self._parts(self.group_ids(groups)))

    def list_groups(self, name: str | None) -> tuple[Query, ...]:
        """The query for the account's link groups, or for those whose name contains `name`."""
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected a str, got {type(name).__name__}")
        today = datetime.datetime.now(datetime.UTC).date()
        return (Query(today, today, kind="groups", name=name),)

    def requests_per_date(self, groups: Iterable[int] | None, group_count: int | None) -> int:
        """How many requests a date takes, of these groups or of so many; one, where neither is known."""
        if group_count is not None:
            whole_number("group_count", group_count, least=0)
        if groups is not None or group_count is None:
            ids = self.group_ids(groups) if groups is not None else None
            sizes = [len(part or ()) for part in self._parts(ids)]
        elif (most := self.plan.groups_per_request) is not None:
            sizes = [min(most, group_count - i) for i in range(0, max(group_count, 1), most)]
        else:
            sizes = [group_count]
        return sum(max(1, -(-size // PAGE_SIZE)) for size in sizes)

    def _parts(self, ids: tuple[int, ...] | None) -> tuple[tuple[int, ...] | None, ...]:
        if ids is None:
            return (None,)
        return split_groups(ids, self.plan.groups_per_request, self.base_url)
