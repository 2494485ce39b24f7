"""The chart as it renders with three sets of values."""

import pytest

from tests.chart.rendering import EVERY_OPTION, Rendered, render


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
