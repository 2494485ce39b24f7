"""What Helm prints after an installation: what to set, where something is missing."""

from collections.abc import Mapping

import pytest

from tests.chart.rendering import CHART, NAMESPACE, helm

REGISTRY = {"global.registry": "registry.example"}
NO_REGISTRY = "No registry is set: nodes pull kube-scheduler:v"
OTHER_MINOR = "kube-scheduler's minor version should be the\ncluster's"


def notes(values: Mapping[str, str]) -> str:
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    done = helm("install", "release", CHART, "--namespace", NAMESPACE, "--dry-run=client", *settings)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, NO_REGISTRY),
        (REGISTRY | {"scheduler.image.tag": "v1.2.3"}, OTHER_MINOR),
        (REGISTRY | {"webhook.failurePolicy": "Ignore"}, "admitted untranslated"),
        (REGISTRY | {"nodeAgent.driver.kind": "simulated"}, "not for real work"),
        (REGISTRY, "After you upgrade the cluster"),
        (REGISTRY, "Alerts are off"),
    ],
)
def test_what_to_set_is_said_where_it_matters(values: dict[str, str], says: str) -> None:
    assert says in notes(values)


def test_nothing_is_said_that_does_not_matter() -> None:
    values = REGISTRY | {"scheduler.image.digest": "sha256:" + "a" * 64, "monitoring.prometheusRule.enabled": "true"}
    text = notes(values)
    assert f"helm test release --namespace {NAMESPACE} --logs" in text
    for other in (NO_REGISTRY, OTHER_MINOR, "untranslated", "not for real work", "After you upgrade", "Alerts are off"):
        assert other not in text


@pytest.mark.parametrize(
    "repository", ["localhost/kube-scheduler", "registry.example/k8s/kube-scheduler", "mirror:5000/kube-scheduler"]
)
def test_a_repository_that_names_its_registry_needs_none(repository: str) -> None:
    assert "No registry is set" not in notes({"scheduler.image.repository": repository})
