"""One cluster with simulated GPUs and the chart for all tests here; it is always stopped at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cluster import cgroups, images, nodes, project_images, settings, state, store
from demo import install
from demo.kube import Kube
from simulator import machine
from tests.cluster import harness
from tests.cluster.monitoring import watched
from unigpu.units import BYTES_PER_MIB

__all__ = ["watched"]  # a fixture of several files

NAME = "test"
"""Not the name of `make up`, so that tests and a demo don't disturb each other."""


@pytest.fixture(scope="session")
def project() -> dict[str, images.Image]:
    """The project's images by role, built and ready for new nodes."""
    made = project_images.make_all(harness.KUBERNETES)
    store.fill(made.values())
    return made


@pytest.fixture(scope="session")
def cluster(project: dict[str, images.Image]) -> Iterator[settings.Layout]:
    """A cluster of one node with four simulated GPUs."""
    harness.run(NAME, "down")  # left by a killed test run
    try:
        harness.run(NAME, "up", "--gpus", "4")
        layout = settings.Layout(NAME)
        known = state.load(layout)
        assert known is not None
        for node in known.nodes:
            images.load(layout, node, project.values())
        yield layout
    finally:
        harness.run(NAME, "down")


@pytest.fixture(scope="session")
def gpu_mib(cluster: settings.Layout) -> int:
    """MiB of each simulated GPU that can be given away: all but what its driver keeps."""
    known = state.load(cluster)
    assert known is not None
    folder = nodes.simulator_folder(cluster, next(iter(known.nodes)))
    (size,) = {gpu["total"] - gpu["reserved"] for gpu in machine.describe(folder)["gpus"]}
    found: int = size // BYTES_PER_MIB
    return found


@pytest.fixture(scope="session")
def kube(cluster: settings.Layout, project: dict[str, images.Image]) -> Kube:
    """The cluster with the chart installed and all its parts ready."""
    kube = Kube(cluster.kubeconfig, str(settings.BIN / "kubectl"), str(settings.BIN / "helm"))
    install.install(kube, {role: image.name for role, image in project.items()}, simulated=True)
    return kube


@pytest.fixture(scope="session")
def probe_image(project: dict[str, images.Image]) -> str:
    """The small GPU program's image."""
    return project["probe"].name


@pytest.fixture(scope="session")
def cluster_cgroup(cluster: settings.Layout) -> str:
    """Control group of the cluster: prefix of its processes' paths in /proc/PID/cgroup."""
    return cgroups.branch(cluster)


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line immediately, even while output is captured, so that people see what a check observes.

    With several test processes it is captured all the same, because only one of them has a terminal.
    """
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return print
    assert capture is not None

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)
            reporter.flush()

    return line
