"""The pytest fixture `clicks_sandbox`: a running `Sandbox` for your own tests.

pytest finds the plugin wherever `clicksgroup` is installed. Tests may be asynchronous, with whichever plugin runs them,
or synchronous:

    async def test_report(clicks_sandbox):
        async with clicks_sandbox.client() as client:
            day = await client.day("2025-01-03")
        assert list(day) == clicks_sandbox.truth("2025-01-03")

    @pytest.mark.clicks_sandbox(groups=40, plan="premium", faults=[Fault(page=2, status=503)])
    def test_script(clicks_sandbox, monkeypatch):
        monkeypatch.setenv("CLICKSGROUP_BASE_URL", clicks_sandbox.url)
        ...

The marker takes the arguments of `Sandbox`. Without a `quota` the sandbox is fast: it limits the requests in flight as
the plan does, but not how often they come. If you make a client by hand, give it the sandbox's quota:

    ClicksClient(sandbox.api_key, base_url=sandbox.url, plan=sandbox.plan, quota=sandbox.quota)

The sandbox runs in a thread of its own, and so do functions that are given as `groups`, `latency` or `faults`.
"""

# pytest imports this module in every run of every project, so it imports nothing but pytest before the fixture is used.
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clicksgroup.sandbox.server import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "clicks_sandbox(**kwargs): arguments of `Sandbox` for the fixture clicks_sandbox"
    )


@pytest.fixture
def clicks_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A running `clicksgroup.sandbox.Sandbox` with the arguments of the marker `clicks_sandbox`."""
    from clicksgroup.plans import Quota
    from clicksgroup.sandbox.server import Sandbox, run_in_thread

    marker = request.node.get_closest_marker("clicks_sandbox")
    if marker is not None and marker.args:
        raise pytest.UsageError("clicks_sandbox: the marker takes keyword arguments only, such as groups=40")
    kwargs = dict(marker.kwargs) if marker is not None else {}
    kwargs.setdefault("quota", Quota(in_flight=Quota.of(kwargs.get("plan", "business")).in_flight))
    with run_in_thread(Sandbox(**kwargs)) as sandbox:
        yield sandbox
