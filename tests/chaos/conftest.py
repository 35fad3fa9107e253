"""Chaos sets Ray's environment and needs a process of its own: `test_chaos_apart` starts one for each file with `-m chaos`."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `chaos` unless the choice of markers names it."""
    if "chaos" in config.getoption("-m"):
        return
    left_out = [item for item in items if item.get_closest_marker("chaos")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
