"""The versions of Kubernetes that are tested are the supported ones: the oldest, one between, and the newest."""

import re
from pathlib import Path

import yaml

from cluster import build, settings

ROOT = Path(__file__).parents[3]


def minor(version: str) -> int:
    found = re.search(r"1\.(\d+)", version)
    assert found is not None, version
    return int(found[1])


def test_the_oldest_is_the_one_that_the_chart_and_the_pages_name() -> None:
    chart = yaml.safe_load((ROOT / "helm/unigpu/Chart.yaml").read_text())
    oldest = settings.OLDER_KUBERNETES[0]
    assert chart["kubeVersion"] == f">={oldest}.0-0"
    assert f"| Kubernetes | {oldest} or later |" in (ROOT / "docs/install.md").read_text()


def test_one_is_between_the_oldest_and_the_newest() -> None:
    newest = minor(build.required("kubernetes", "k8s.io/kubernetes"))
    versions = [minor(one) for one in settings.OLDER_KUBERNETES]
    assert versions == sorted(versions) and len(versions) >= 2 and versions[-1] < newest


def test_make_checks_every_older_version() -> None:
    (listed,) = re.findall(r"^VERSIONS := (.+)$", (ROOT / "make/checks.mk").read_text(), re.MULTILINE)
    assert tuple(listed.split()) == settings.OLDER_KUBERNETES


def test_versions_share_their_sources() -> None:
    """A change of what a program is started with reaches every version."""
    for version in settings.OLDER_KUBERNETES:
        sources = build.kubernetes(version).sources()
        assert set(sources) == {"components.go", "kubelet.go", "main.go"}
        for name in ("components.go", "main.go"):
            assert sources[name] == ROOT / "cluster/kubernetes" / name


def test_what_go_compiles_is_go() -> None:
    """A checkout that turned links into files with a path in them is seen here, and not by a compiler."""
    for module in (build.kubernetes(), *map(build.kubernetes, settings.OLDER_KUBERNETES), build.kueue()):
        for name, file in module.sources().items():
            assert re.search(r"^package main$", file.read_text(), re.MULTILINE), f"{module.name}: {name}"
