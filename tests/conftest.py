"""How tests are spread over processes that run side by side: `pytest -n 3`, as `make test` does."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

CLUSTER = "tests/cluster/"


class Scheduling(LoadFileScheduling):
    """Tests of a file stay together; and all that need the cluster, since they share one."""

    def _split_scope(self, nodeid: str) -> str:
        return CLUSTER if nodeid.startswith(CLUSTER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Asked for once, by the process that hands out tests."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The cluster's tests take longest, and mostly wait: they begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTER))
