"""Old names, for tests that still use them: `tests.checker` is the module."""

from tests.checker import most_at_once, most_in_any_window, most_in_fixed_windows

__all__ = ["most_at_once", "most_in_any_window", "most_in_fixed_windows"]
