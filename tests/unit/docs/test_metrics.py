"""docs/reference/metrics.md names every metric."""

import pytest

from tests.unit.docs.pages import ROOT
from unigpu import names

PAGE = ROOT / "docs/reference/metrics.md"


@pytest.mark.parametrize("name", [value for key, value in sorted(vars(names).items()) if key.startswith("METRIC_")])
def test_every_metric_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(), f"{name} needs a row in {PAGE.relative_to(ROOT)}"
