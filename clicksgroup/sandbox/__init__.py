"""A local server that behaves as the vendor's API is documented to: for trying things out, and for your own tests.

>>> from clicksgroup.sandbox import Sandbox
>>> [(record.group_id, record.group_name) for record in Sandbox(groups=2).truth("2025-01-03")]
[(151, 'Electronics'), (207, 'Kitchenware')]

pytest users get the fixture `clicks_sandbox` (`clicksgroup.sandbox.pytest_plugin`). Provisional until 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clicksgroup.sandbox.faults import Fault as Fault
    from clicksgroup.sandbox.seen import SeenRequest as SeenRequest
    from clicksgroup.sandbox.server import Sandbox as Sandbox

__all__ = ["Fault", "Sandbox", "SeenRequest"]


def __getattr__(name: str) -> object:
    """Nothing is loaded before it is asked for: pytest imports this package in every run, for its plugin."""
    if name == "Sandbox":
        from clicksgroup.sandbox.server import Sandbox

        return Sandbox
    if name == "Fault":
        from clicksgroup.sandbox.faults import Fault

        return Fault
    if name == "SeenRequest":
        from clicksgroup.sandbox.seen import SeenRequest

        return SeenRequest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
