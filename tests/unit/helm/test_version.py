"""pyproject.toml is the one place of the version; what else names it is generated from there."""

import base64
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Return helm/generate.py, which is a script."""
    spec = importlib.util.spec_from_file_location("helm_generate", ROOT / "helm/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_chart_and_application_have_the_projects_version(generate: ModuleType) -> None:
    chart = yaml.safe_load(generate.METADATA.read_text())
    assert {chart["version"], chart["appVersion"]} == {generate.version(generate.PROJECT.read_text())}


def test_the_changelog_begins_with_the_version(generate: ModuleType) -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == generate.version(generate.PROJECT.read_text())


def test_a_new_version_reaches_chart_and_page(generate: ModuleType) -> None:
    assert generate.metadata("name: unigpu\nversion: 0.1.0\nappVersion: 0.1.0\n", "2.3.4") == (
        "name: unigpu\nversion: 2.3.4\nappVersion: 2.3.4\n"
    )
    page = "R/unigpu:0.1.0 R/unigpu-probe:0.1.0 R/kube-scheduler:v1.33.4"
    assert generate.install(page, "2.3.4") == "R/unigpu:2.3.4 R/unigpu-probe:2.3.4 R/kube-scheduler:v1.33.4"


def test_the_install_page_names_both_images(generate: ModuleType) -> None:
    page = generate.INSTALL.read_text()
    number = generate.version(generate.PROJECT.read_text())
    assert f"/unigpu:{number}" in page and f"/unigpu-probe:{number}" in page


@pytest.mark.parametrize("number", ["1.0", "1.0.0rc1", "1.0.0-rc.1", "v1.0.0"])
def test_a_version_that_helm_or_python_refuses_is_refused(generate: ModuleType, number: str) -> None:
    with pytest.raises(ValueError, match=r"accepted: X\.Y\.Z"):
        generate.version(f'[project]\nversion = "{number}"\n')


def test_the_charts_page_names_values_that_there_are() -> None:
    """Helm and Artifact Hub show it with the chart, without the project's other pages."""
    page = (ROOT / "helm/unigpu/README.md").read_text()
    named = set(re.findall(r"\b(?:nodeAgent|dialects|webhook|monitoring|global)(?:\.\w+)+", page))
    known = (ROOT / "docs/reference/chart.md").read_text()
    assert len(named) >= 9 and [name for name in sorted(named) if f"`{name}`" not in known] == []
    assert not re.search(r"\]\((?!https:)", page), "the project's pages aren't there to be linked to"


def test_the_chart_has_what_a_catalogue_shows(generate: ModuleType) -> None:
    chart = yaml.safe_load(generate.METADATA.read_text())
    kind, _, data = chart["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64" and base64.b64decode(data) == generate.ICON.read_bytes()
    assert chart["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert chart["annotations"]["artifacthub.io/category"] == "ai-machine-learning"
