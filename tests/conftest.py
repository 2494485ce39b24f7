"""Distribute tests over parallel processes, for `pytest -n 3 --no-loadscope-reorder` as in `make test`.

Generated examples have no deadline: on a busy machine one of microseconds may take a second.
"""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from cluster import settings
from tests.cluster import harness

hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

CLUSTER = "tests/cluster/"
CLUSTERS = ("test", "lifecycle")
"""Clusters that the tests there start."""


class Scheduling(LoadFileScheduling):
    """Keep tests of a file together, and all tests that share the cluster."""

    has_cluster = False
    """Whether any test needs the cluster."""

    def _split_scope(self, nodeid: str) -> str:
        if not nodeid.startswith(CLUSTER):
            return str(super()._split_scope(nodeid))
        Scheduling.has_cluster = True
        return CLUSTER


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Return the scheduler, in the process that distributes the tests."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the cluster's tests, which take longest and mostly wait."""
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTER))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Name each failure when it happens: a whole run takes half an hour, and says why only at its end."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(terminal))


class Failures:
    """Writes a line for each test that fails."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the line."""
        if report.failed:
            self._terminal.write_line(f"\n{report.when} failed: {report.nodeid}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Stop the clusters after an interrupt, which ends the processes that would have stopped them."""
    if exitstatus != pytest.ExitCode.INTERRUPTED or not Scheduling.has_cluster:
        return
    for name in CLUSTERS:
        if settings.Layout(name).home.exists():
            harness.run(name, "down")
