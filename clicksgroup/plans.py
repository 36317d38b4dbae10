"""The vendor's plans, what each may ask, and the quota as a value.

The figures are the vendor's: https://en.vivoldi.com/url/api/overview/rate-limits and
https://en.vivoldi.com/url/api/statistics/clicks-by-group, copies of which were read on 2026-11-29. They have changed
three times, so every one of them can be replaced: pass `quota=` to the client.
"""

from __future__ import annotations

import contextlib
import enum

import attrs

from clicksgroup.arguments import positive, whole_number
from clicksgroup.errors import ConfigurationError


class Plan(enum.Enum):
    """One of the vendor's plans. The API is taken to be on Personal and above."""

    PERSONAL = "personal"
    PREMIUM = "premium"
    BUSINESS = "business"
    BUSINESS_PLUS = "business_plus"
    ENTERPRISE = "enterprise"

    @classmethod
    def parse(cls, value: Plan | str) -> Plan:
        """The plan of that name; case, spaces and hyphens do not matter.

        Raises:
            ConfigurationError: there is no such plan.
        """
        if isinstance(value, Plan):
            return value
        if not isinstance(value, str):
            raise TypeError(f"plan: expected a Plan or its name, got {type(value).__name__}")
        try:
            return cls(value.strip().lower().replace("-", "_").replace(" ", "_"))
        except ValueError:
            names = ", ".join(plan.value for plan in cls)
            raise ConfigurationError(f"plan: {value!r} is not a plan; write one of {names}") from None

    @property
    def label(self) -> str:
        """The plan's name as the vendor writes it."""
        return self.value.replace("_", " ").title()

    @property
    def groups_per_request(self) -> int | None:
        """How many group ids a request may name: 5 on Premium; None for any number."""
        return 5 if self is Plan.PREMIUM else None

    @property
    def groups_required(self) -> bool:
        """Whether a request must name its groups: on Premium."""
        return self is Plan.PREMIUM

    @property
    def totals_days(self) -> int | None:
        """The longest range of totals (v2), in days: 7 on Personal, 14 on Premium; None for one month."""
        return {Plan.PERSONAL: 7, Plan.PREMIUM: 14}.get(self)


# Statistics requests a minute (5 % of all requests), and in flight.
_STATISTICS_QUOTAS = {
    Plan.PERSONAL: (9, 1),
    Plan.PREMIUM: (15, 1),
    Plan.BUSINESS: (24, 2),
    Plan.BUSINESS_PLUS: (38, 2),
    Plan.ENTERPRISE: (60, 3),
}


@attrs.frozen(init=False)
class Quota:
    """How many requests may be sent, as a value.

    `Quota((24, 60), (1250, 3600), in_flight=2)` means: never more than 24 requests in any 60 seconds and 1,250 in
    any hour as the server sees them, and never more than 2 open. Without limits only `in_flight` holds.

    >>> from clicksgroup import Quota
    >>> Quota.of("business")
    Quota((24, 60.0), in_flight=2)

    Raises:
        ConfigurationError: a count or a window that is not positive.
    """

    limits: tuple[tuple[int, float], ...] = attrs.field(alias="evolved_limits")
    in_flight: int

    def __init__(
        self,
        *limits: tuple[int, float],
        in_flight: int = 1,
        evolved_limits: tuple[tuple[int, float], ...] = (),
    ) -> None:
        # `attrs.evolve` passes every field by its name, which none of `*limits` can have.
        limits = limits or evolved_limits
        if type(in_flight) is not int or in_flight < 1:
            raise ConfigurationError(f"quota: in_flight={in_flight!r}: expected a whole number of at least 1")
        self.__attrs_init__(tuple(map(_checked_limit, limits)), in_flight)

    @classmethod
    def of(cls, plan: Plan | str) -> Quota:
        """The documented statistics quota of a plan: requests a minute, and requests in flight."""
        requests, in_flight = _STATISTICS_QUOTAS[Plan.parse(plan)]
        return cls((requests, 60), in_flight=in_flight)

    def seconds_for(self, requests: int) -> float:
        """How long `requests` requests take at the least: until the last may start, if every answer came at once."""
        return max((((requests - 1) // count) * window for count, window in self.limits if requests > 0), default=0.0)

    def __repr__(self) -> str:
        return f"Quota({''.join(f'{limit!r}, ' for limit in self.limits)}in_flight={self.in_flight})"


def _checked_limit(limit: tuple[int, float]) -> tuple[int, float]:
    match limit:
        case (count, window):
            with contextlib.suppress(TypeError, ConfigurationError):
                return whole_number("quota", count), float(positive("quota", window, finite=True))
    raise ConfigurationError(
        f"quota: {limit!r}: expected a (requests, seconds) pair of a whole number from 1 and a positive number of "
        "seconds, such as Quota((24, 60))"
    )
