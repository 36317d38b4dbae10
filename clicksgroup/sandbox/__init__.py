"""A local server that behaves as the vendor documents its API: to try things out, and for your own tests.

>>> from clicksgroup.sandbox import Sandbox
>>> [(record.group_id, record.group_name) for record in Sandbox(groups=2).truth("2025-01-03")]
[(151, 'Electronics'), (207, 'Kitchenware')]

With pytest, use the fixture `clicks_sandbox` (`clicksgroup.sandbox.pytest_plugin`). Provisional until 1.0.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clicksgroup.sandbox.api import Fault as Fault
    from clicksgroup.sandbox.api import SeenRequest as SeenRequest
    from clicksgroup.sandbox.server import Sandbox as Sandbox

__all__ = ["Fault", "Sandbox", "SeenRequest"]

_MODULES = {"Fault": "api", "Sandbox": "server", "SeenRequest": "api"}


def __getattr__(name: str) -> object:
    """Load a class when it is first used: pytest imports this package in every run, for its plugin."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
