"""The chart as it renders with three sets of values, and an API server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart import apiserver
from tests.chart.rendering import EVERY_OPTION, HELM, Rendered, render


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an API server without controllers and nodes."""
    if not HELM.exists():
        pytest.fail("helm and the API server aren't there: `make cluster` builds them")
    with apiserver.running(tmp_path_factory.mktemp("apiserver")) as made:
        yield made


@pytest.fixture(scope="session")
def defaults() -> Rendered:
    """With no value set."""
    return render()


@pytest.fixture(scope="session")
def simulated() -> Rendered:
    """With the simulated driver."""
    return render(values={"nodeAgent.driver.kind": "simulated"})


@pytest.fixture(scope="session")
def every_option() -> Rendered:
    """With every value set to something else."""
    return render("--values", EVERY_OPTION)


@pytest.fixture(params=["defaults", "simulated", "every_option"])
def rendered(request: pytest.FixtureRequest) -> Rendered:
    """Each of the three."""
    found: Rendered = request.getfixturevalue(request.param)
    return found
