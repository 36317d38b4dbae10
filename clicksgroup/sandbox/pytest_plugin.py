"""The pytest fixture `clicks_sandbox`: a running `Sandbox` for your own tests.

pytest finds the plugin wherever `clicksgroup` and `pytest-asyncio` are installed. It works in auto and strict mode:

    async def test_report(clicks_sandbox):
        async with clicks_sandbox.client() as client:
            day = await client.day("2025-01-03")
        assert list(day) == clicks_sandbox.truth("2025-01-03")

    @pytest.mark.clicks_sandbox(groups=40, plan="premium", faults=[Fault(page=2, status=503)])
    async def test_retries(clicks_sandbox): ...

The marker takes the arguments of `Sandbox`. Without a `quota` the sandbox is fast: it limits the requests in flight as
the plan does, but not how often they come. If you make a client by hand, give it the sandbox's quota:

    ClicksClient(sandbox.api_key, base_url=sandbox.url, plan=sandbox.plan, quota=sandbox.quota)

The fixture runs in pytest-asyncio's default fixture loop. For tests in another loop (`loop_scope="module"`), set
`asyncio_default_fixture_loop_scope` to the same scope.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clicksgroup.sandbox.server import Sandbox

try:
    import pytest_asyncio
except ImportError:
    pytest_asyncio = None  # type: ignore[assignment]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "clicks_sandbox(**kwargs): arguments of `Sandbox` for the fixture clicks_sandbox"
    )


async def _running_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """A running `clicksgroup.sandbox.Sandbox` with the arguments of the marker `clicks_sandbox`."""
    from clicksgroup.plans import Quota
    from clicksgroup.sandbox.server import Sandbox

    marker = request.node.get_closest_marker("clicks_sandbox")
    kwargs = dict(marker.kwargs) if marker is not None else {}
    if marker is not None and marker.args:
        raise pytest.UsageError("clicks_sandbox: the marker takes keyword arguments only, such as groups=40")
    kwargs.setdefault("quota", Quota(in_flight=Quota.of(kwargs.get("plan", "business")).in_flight))
    async with Sandbox(**kwargs) as sandbox:
        yield sandbox


if pytest_asyncio is not None:
    clicks_sandbox = pytest_asyncio.fixture(_running_sandbox, name="clicks_sandbox")
else:

    @pytest.fixture
    def clicks_sandbox() -> None:
        """Fail, naming what is missing."""
        pytest.fail("the fixture clicks_sandbox needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)
