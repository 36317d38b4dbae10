"""The vendor's figures, and the quota as a value."""

from __future__ import annotations

import math
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import ConfigurationError, Plan, Quota


@pytest.mark.parametrize(
    ("plan", "requests", "in_flight", "groups", "days"),
    [
        (Plan.PERSONAL, 9, 1, None, 7),
        (Plan.PREMIUM, 15, 1, 5, 14),
        (Plan.BUSINESS, 24, 2, None, None),
        (Plan.BUSINESS_PLUS, 38, 2, None, None),
        (Plan.ENTERPRISE, 60, 3, None, None),
    ],
)
def test_figures_of_plans(plan: Plan, requests: int, in_flight: int, groups: int | None, days: int | None) -> None:
    """The figures of the plans are the documented ones."""
    assert Quota.of(plan) == Quota((requests, 60), in_flight=in_flight)
    assert (plan.groups_per_request, plan.totals_days, plan.groups_required) == (groups, days, groups is not None)


@pytest.mark.parametrize(
    "name", ["business_plus", "Business Plus", "BUSINESS-PLUS", " business plus ", Plan.BUSINESS_PLUS]
)
def test_names_of_plans(name: Any) -> None:
    """The name of a plan may be written in upper or lower case, or given as the plan itself."""
    assert Plan.parse(name) is Plan.BUSINESS_PLUS
    assert Quota.of(name).in_flight == 2


def test_no_such_plan() -> None:
    """A plan that does not exist is refused, and the error lists those that do."""
    with pytest.raises(ConfigurationError, match="'free' is not a plan; write one of personal, premium"):
        Plan.parse("free")
    with pytest.raises(TypeError, match="plan: expected a Plan or its name, got int"):
        Plan.parse(1)  # type: ignore[arg-type]


def test_quota_is_a_value() -> None:
    """Equal quotas compare and hash as equal."""
    quota = Quota((24, 60), (1250, 3600), in_flight=2)
    assert quota == Quota((24, 60.0), [1250, 3600], in_flight=2) != Quota((24, 60), in_flight=2)  # type: ignore[arg-type]
    assert (quota.limits, quota.in_flight) == (((24, 60.0), (1250, 3600.0)), 2)
    assert repr(quota) == "Quota((24, 60.0), (1250, 3600.0), in_flight=2)"
    assert eval(repr(quota)) == quota
    assert len({quota, pickle.loads(pickle.dumps(quota))}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        quota.in_flight = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("limits", "in_flight"),
    [
        ([(0, 60)], 1), ([(-1, 60)], 1), ([(1.5, 60)], 1), ([(True, 60)], 1), ([("24", 60)], 1),
        ([(24, 0)], 1), ([(24, -1)], 1), ([(24, math.inf)], 1), ([(24, math.nan)], 1), ([(24, "60")], 1),
        ([24, 60], 1), ([(24,)], 1), ([(24, 60, 1)], 1), ([], 0), ([], True), ([], 1.0),
    ],
)  # fmt: skip
def test_wrong_quotas(limits: Any, in_flight: Any) -> None:
    """A quota that cannot be right is refused."""
    with pytest.raises(ConfigurationError, match=r"^quota: "):
        Quota(*limits, in_flight=in_flight)


@given(st.integers(1, 5), st.integers(0, 50))
def test_seconds_for(count: int, requests: int) -> None:
    """The last of n requests may start after as many windows as are full before it."""
    seconds = max(((n // count) * 10 for n in range(requests)), default=0)
    assert Quota((count, 10)).seconds_for(requests) == seconds


def test_seconds_for_several_limits() -> None:
    """Of several limits the slowest counts."""
    quota = Quota((24, 60), (100, 3600), in_flight=2)
    assert (quota.seconds_for(25), quota.seconds_for(101), quota.seconds_for(0)) == (60, 3600, 0)
    assert Quota(in_flight=2).seconds_for(1000) == 0
