"""How tests are spread over processes side by side, with `pytest -n 3 --no-loadscope-reorder` as in `make test`."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from cluster import settings
from tests.cluster import harness

CLUSTER = "tests/cluster/"
CLUSTERS = ("test", "lifecycle")
"""What the tests there bring up."""


class Scheduling(LoadFileScheduling):
    """Tests of a file stay together; and all that need the cluster, since they share one."""

    has_cluster = False
    """Whether any do."""

    def _split_scope(self, nodeid: str) -> str:
        if not nodeid.startswith(CLUSTER):
            return str(super()._split_scope(nodeid))
        Scheduling.has_cluster = True
        return CLUSTER


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Asked for once, by the process that hands out tests."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The cluster's tests take longest, and mostly wait: they begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTER))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Who is interrupted ends the other processes, which then can't take their clusters down."""
    if exitstatus != pytest.ExitCode.INTERRUPTED or not Scheduling.has_cluster:
        return
    for name in CLUSTERS:
        if settings.Layout(name).home.exists():
            harness.run(name, "down")
