"""Whose limits are meant."""

import pytest

from cli import targets
from cli.targets import Target
from unigpu import errors


@pytest.mark.parametrize(
    ("text", "selector", "target"),
    [
        ("p", "", Target(pod="p")),
        ("pod/p", "", Target(pod="p")),
        ("deploy/web", "", Target(controller="apps/v1/deployments", name="web")),
        ("StatefulSet/db", "", Target(controller="apps/v1/statefulsets", name="db")),
        ("job/train", "", Target(controller="batch/v1/jobs", name="train")),
        (None, "app=web", Target(selector="app=web")),
    ],
)
def test_targets(text: str | None, selector: str, target: Target) -> None:
    assert targets.parse(text, selector) == target


@pytest.mark.parametrize(
    ("text", "selector", "why"),
    [
        (None, "", "no pod is named; accepted: POD"),
        ("node/n", "", "target = node/n: it is no pod and no controller of pods"),
        ("deploy/", "", "target = deploy/: it is no pod"),
        ("p", "app=web", "target = p: a selector names the pods already"),
    ],
)
def test_what_is_no_target(text: str | None, selector: str, why: str) -> None:
    with pytest.raises(errors.Denied, match=why.replace("(", r"\(")):
        targets.parse(text, selector)


def test_selectors() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    found = targets.labels({"matchLabels": {"app": "web"}, "matchExpressions": expressions})
    assert found == "app=web,a in (1,2),b notin (3),c,!d"
    with pytest.raises(errors.Denied):
        targets.labels({})


def test_titles() -> None:
    assert targets.title(Target(controller="apps/v1/deployments", name="web")) == "deployment web"
