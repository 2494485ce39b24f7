import json

import pytest

from unigpu import errors, remembered, requests
from unigpu.requests import ComputePolicy, PlacementPolicy, PodRequest, Preferences, Request, Role
from unigpu.units import MiB, Percent

FULL = PodRequest(
    {
        "a": Request(
            gpus=2,
            memory=MiB(3000),
            cores=Percent(30),
            ceiling=Percent(60),
            policy=ComputePolicy.SOFT,
            isolated=False,
            priority=1,
            role=Role.SIDECAR,
            dialect="hami",
            original_fields={"nvidia.com/gpu": "2"},
        ),
        "b": Request(gpus=1, whole=True),
        "c": Request(gpus=1, memory_percent=Percent(40)),
    },
    Preferences(gpu_policy=PlacementPolicy.TOPOLOGY, use_types=("A100",), avoid_uuids=("GPU-1", "GPU-2"), numa=True),
)


@pytest.mark.parametrize("pod", [FULL, PodRequest({"a": Request(gpus=1)})])
def test_the_annotation_reads_back(pod: PodRequest) -> None:
    assert requests.load(requests.dump(pod)) == pod


def test_defaults_are_left_out() -> None:
    text = requests.dump(PodRequest({"a": Request(gpus=1, memory=MiB(5))}))
    assert text == '{"containers":{"a":{"dialect":"unigpu","gpus":1,"memory":5}},"version":1}'


def test_totals() -> None:
    a, b, c = FULL.containers.values()
    assert [request.total_memory for request in (a, b, c)] == [6000, 0, 0]
    assert [request.total_cores for request in (a, b, c)] == [60, 100, 0]


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"gpus": 0},
        {"gpus": "1"},
        {"gpus": True},
        {"gpus": 1, "memory": -1},
        {"gpus": 1, "cores": 1.5},
        {"gpus": 1, "policy": "x"},
        {"gpus": 1, "role": "x"},
        {"gpus": 1, "whole": 1},
        {"gpus": 1, "isolated": "no"},
        {"gpus": 1, "dialect": 1},
        {"gpus": 1, "original_fields": {"a": 1}},
        {"gpus": 1, "original_fields": []},
        {"gpus": 1, "other": 1},
        [],
        "x",
    ],
    ids=str,
)
def test_malformed_containers(container: object) -> None:
    with pytest.raises(errors.Malformed):
        requests.load(json.dumps({"version": 1, "containers": {"a": container}}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{}",
        "[" * 10_000,
        '{"version":2,"containers":{}}',
        '{"version":1}',
        '{"version":1,"containers":[]}',
    ],
    ids=lambda text: text[:20],
)
def test_malformed_documents(text: str) -> None:
    with pytest.raises(errors.Malformed):
        requests.load(text)


@pytest.mark.parametrize(
    "preferences", [{"gpu_policy": "x"}, {"use_types": "A100"}, {"use_types": [1]}, {"other": []}, []], ids=str
)
def test_malformed_preferences(preferences: object) -> None:
    with pytest.raises(errors.Malformed):
        requests.load(json.dumps({"version": 1, "containers": {}, "preferences": preferences or {"x": 1}}))


def test_what_was_read_before_is_the_same() -> None:
    """And what can't be read is refused each time."""
    text = requests.dump(PodRequest({"main": Request(gpus=1, memory=MiB(7))}))
    assert requests.load(text) is requests.load(text)
    for _ in range(2):
        with pytest.raises(errors.Malformed):
            requests.load(text[:-1])
    long = text.replace('"dialect":"unigpu"', f'"dialect":"{"x" * remembered.LONGEST}"')
    assert requests.load(long) == requests.load(long)
    assert requests.load(long) is not requests.load(long), "long ones aren't kept"
