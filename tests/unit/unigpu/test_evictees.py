"""What counts of pods that may be evicted: their part of the node's totals, their ties, their budgets."""

import datetime
from typing import Any

import pytest

from unigpu import budgets, evictees, pod_resources
from unigpu.budgets import Budget
from unigpu.evictees import Tie

Json = dict[str, Any]


def container(**requests: str) -> Json:
    return {"name": "c", "resources": {"requests": requests}}


def sidecar(**requests: str) -> Json:
    return container(**requests) | {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {}),
        ({"containers": [container(cpu="500m", memory="1Ki"), container(cpu="2")]}, {"cpu": 2500, "memory": 1024000}),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="3")]}, {"cpu": 3000}),
        ({"containers": [container(cpu="1")], "initContainers": [sidecar(cpu="1"), container(cpu="3")]}, {"cpu": 4000}),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="1"), sidecar(cpu="3")]}, {"cpu": 4000}),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, {"cpu": 1250}),
        ({"containers": [container(cpu="1")], "resources": {"requests": {"cpu": "5"}}}, {"cpu": 5000}),
        ({"containers": [container(cpu="1n")]}, {"cpu": 1}),
    ],
)
def test_what_a_pod_takes_of_its_node(spec: Json, expected: dict[str, int]) -> None:
    assert pod_resources.of_pod(spec) == expected


def test_a_pod() -> None:
    found = evictees.evictee(
        {
            "metadata": {"labels": {"b": "2", "a": "1"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [container(cpu="1")], "volumes": [{"ephemeral": {}}]},
            "status": {"startTime": "2026-01-31T12:00:00Z"},
        }
    )
    assert found.labels == {"a": "1", "b": "2"}
    assert found.amounts == {"cpu": 1000}
    assert (found.leaving, found.ties) == (True, Tie.CLAIMS)
    assert found.started == datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(("labels", "once"), [(2, True), (200, False)])
def test_equal_labels_are_kept_once_unless_they_are_many(labels: int, once: bool) -> None:
    def pairs() -> evictees.Pairs:
        metadata = {"labels": {f"label-{labels}-{number}": "value" for number in range(labels)}}
        return evictees.evictee({"metadata": metadata, "spec": {}}).label_pairs

    first, second = pairs(), pairs()
    assert first == second
    assert (first is second) is once


def selecting(selector: Json | None) -> Budget:
    metadata = {"namespace": "ns", "name": "b"}
    status = {"disruptionsAllowed": 1, "disruptedPods": {"gone": "2026-01-31T12:00:00Z"}}
    return budgets.load({"metadata": metadata, "spec": {"selector": selector}, "status": status})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "x"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, False),
        ({}, True),
        (None, False),
    ],
)
def test_whom_a_budget_protects(selector: Json | None, expected: bool) -> None:
    budget = selecting(selector)
    labels = {"app": "web"}
    assert budget.protects("ns", "p", labels) is expected
    assert not budget.protects("other", "p", labels)
    assert not budget.protects("ns", "gone", labels), "its eviction is counted already"
    assert budget.allowed == 1
