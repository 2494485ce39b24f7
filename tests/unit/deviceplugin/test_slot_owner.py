"""Whose slots are these, and which container starts?"""

import json
from collections.abc import Mapping

import pytest

from deviceplugin import pods
from deviceplugin.kubelet import slot_owner
from deviceplugin.kubelet.slot_owner import Checkpoint, Claim, Entry, Holder
from deviceplugin.pods import Pod, Progress
from unigpu import errors, names

A, B = frozenset({"slot-0001"}), frozenset({"slot-0001", "slot-0002"})


def checkpoint(*entries: tuple[str, str, str, dict[str, list[str]]]) -> str:
    return json.dumps(
        {
            "Data": {
                "PodDeviceEntries": [
                    {
                        "PodUID": uid,
                        "ContainerName": name,
                        "ResourceName": resource,
                        "DeviceIDs": slots,
                        "AllocResp": "",
                    }
                    for uid, name, resource, slots in entries
                ],
                "RegisteredDevices": {},
            },
            "Checksum": 1,
        }
    )


def test_checkpoint() -> None:
    text = checkpoint(
        ("u1", "main", names.RESOURCE_VGPU, {"0": ["slot-0001"], "1": ["slot-0002"]}),
        ("u1", "main", "vendor.com/other", {"-1": ["slot-0003"]}),
    )
    assert slot_owner.read_checkpoint(text).entries == (Entry("u1", "main", B, frozenset({"vendor.com/other"})),)


def test_checkpoint_without_entries() -> None:
    text = '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"nvidia.com/gpu":[]}},"Checksum":1}'
    assert slot_owner.read_checkpoint(text) == Checkpoint((), frozenset({"nvidia.com/gpu"}))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Data":{"PodDeviceEntries":[{}]}}'])
def test_not_a_checkpoint(text: str) -> None:
    with pytest.raises(errors.Malformed):
        slot_owner.read_checkpoint(text)


@pytest.mark.parametrize(
    ("holders", "entries", "expected"),
    [
        ([Holder("n", "p", "c", A)], [Entry("u", "c", A)], Claim(("n", "p"), "u", frozenset({"c"}))),
        ([Holder("n", "p", "c", A)], [], Claim(("n", "p"), None, frozenset({"c"}))),
        ([], [Entry("u", "i", A)], Claim(None, "u", frozenset({"i"}))),
        ([Holder("n", "p", "c", A), Holder("n", "p", "d", B)], [], Claim(("n", "p"), None, frozenset({"c"}))),
        (
            [Holder("n", "p", "c", A)],
            [Entry("u", "i", A), Entry("u", "c", A)],
            Claim(("n", "p"), "u", frozenset({"c", "i"})),
        ),
    ],
)
def test_claim(holders: list[Holder], entries: list[Entry], expected: Claim) -> None:
    assert slot_owner.claim(A, holders, entries) == expected


@pytest.mark.parametrize(
    ("holders", "entries"),
    [
        ([], []),
        ([Holder("n", "p", "c", B)], [Entry("u", "c", B)]),
        ([Holder("n", "p", "c", A), Holder("n", "q", "c", A)], []),
        ([], [Entry("u", "c", A), Entry("v", "c", A)]),
    ],
)
def test_no_single_owner(holders: list[Holder], entries: list[Entry]) -> None:
    with pytest.raises(errors.Unavailable, match="slot-0001"):
        slot_owner.claim(A, holders, entries)


NOW = 1000.4
INIT = frozenset({"i", "c"})


@pytest.mark.parametrize(
    ("progress", "prepared", "expected"),
    [
        pytest.param({}, {}, "i", id="nothing has run"),
        pytest.param({}, {"i": NOW - 1}, None, id="prepared just now, and the status says nothing"),
        pytest.param({}, {"i": NOW - 60}, "i", id="prepared long ago, and never ran"),
        pytest.param({"i": Progress(running_since=999)}, {"i": 999.5}, None, id="runs, by the status"),
        pytest.param({"i": Progress(running_since=900)}, {"i": 899.5}, None, id="runs for long, by the status"),
        pytest.param({"i": Progress(ended_at=999)}, {"i": 999.5}, "c", id="ended well in the second it was prepared"),
        pytest.param({"i": Progress(ended_at=999)}, {}, "c", id="ended well, and is forgotten"),
        pytest.param({"i": Progress(ended_at=999, exit_code=1)}, {"i": 990}, "i", id="failed"),
        pytest.param({"i": Progress(ended_at=999)}, {"i": NOW + 3600}, "c", id="ended well, the clock set back before"),
        pytest.param({}, {"i": NOW + 3600}, "i", id="never ran, the clock set back before"),
        pytest.param({"i": Progress(ended_at=980, exit_code=1)}, {"i": 999}, None, id="failed, prepared again"),
        pytest.param({"i": Progress(None, 900), "c": Progress(None, 999, 137)}, {"c": 901}, "c", id="main restarts"),
        pytest.param(
            {"i": Progress(None, 900), "c": Progress(running_since=902)},
            {"c": 901},
            None,
            id="main runs, by the status",
        ),
    ],
)
def test_starting(progress: Mapping[str, Progress], prepared: Mapping[str, float], expected: str | None) -> None:
    pod = Pod("n", "p", "u", order=("x", "i", "c"), init=frozenset({"x", "i"}), progress=progress)
    assert slot_owner.starting(pod, INIT, prepared, NOW) == expected


@pytest.mark.parametrize(
    ("progress", "prepared", "expected"),
    [
        pytest.param({}, {}, "i", id="the first sandbox"),
        pytest.param({"i": Progress(None, 900), "c": Progress(None, 990)}, {"c": 901}, "i", id="starts again"),
        pytest.param({"i": Progress(None, 900)}, {"i": 899}, "i", id="starts again, its first time is still known"),
        pytest.param({"i": Progress(None, 900, 1)}, {"i": 999}, None, id="prepared, and the status is of before"),
        pytest.param({"i": Progress(running_since=999)}, {"i": 999}, None, id="runs again, by the status"),
        pytest.param({"i": Progress(None, 999)}, {"i": 999.5, "c": 901}, "c", id="ended well again"),
        pytest.param({"i": Progress(None, 999), "c": Progress(None, None, 137)}, {"c": 901}, "c", id="forgotten again"),
        pytest.param(
            {"i": Progress(None, 999), "c": Progress(running_since=902)}, {"c": 901}, None, id="main's is of before"
        ),
    ],
)
def test_starting_in_another_sandbox(
    progress: Mapping[str, Progress], prepared: Mapping[str, float], expected: str | None
) -> None:
    pod = Pod("n", "p", "u", order=("i", "c"), init=frozenset({"i"}), progress=progress, sandbox_lost=990)
    assert slot_owner.starting(pod, INIT, prepared, NOW) == expected


def test_starting_alone_needs_no_status() -> None:
    assert slot_owner.starting(Pod("n", "p", "u", order=("c", "d")), frozenset({"d"}), {"d": NOW}, NOW) == "d"


def test_starting_elsewhere() -> None:
    assert slot_owner.starting(Pod("n", "p", "u", order=("c",)), frozenset({"d"}), {}, NOW) == ""


def test_pod_of_the_api_server() -> None:
    pod = pods.read(
        {
            "metadata": {"namespace": "n", "name": "p", "uid": "u", "annotations": {"a": "b"}},
            "spec": {
                "nodeName": "node-a",
                "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                "containers": [
                    {
                        "name": "c",
                        "env": [
                            {"name": "A", "value": "1"},
                            {"name": "B", "valueFrom": {"fieldRef": {}}},
                            {"name": "C"},
                        ],
                    }
                ],
            },
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": "Initialized", "status": "False", "lastTransitionTime": "2026-01-01T00:00:30Z"},
                    {
                        "type": "PodReadyToStartContainers",
                        "status": "False",
                        "lastTransitionTime": "2026-01-01T00:00:20Z",
                    },
                ],
                "initContainerStatuses": [
                    {
                        "name": "i",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 3, "finishedAt": "2026-01-01T00:00:10Z"}},
                    }
                ],
                "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
            },
        }
    )
    assert (pod.title, pod.uid, pod.node, pod.finished) == ("n/p", "u", "node-a", False)
    assert pod.order == ("i", "s", "c")
    assert pod.init == {"i"}
    assert pod.env["c"] == {"A": "1", "B": None, "C": ""}
    assert pod.progress["i"] == Progress(ended_at=1767225610.0, exit_code=3)
    assert pod.progress["c"] == Progress(running_since=1767225600.0)
    assert pod.sandbox_lost == 1767225620.0


@pytest.mark.parametrize("document", [{}, {"metadata": {"name": "p"}}])
def test_pod_without_a_name(document: dict[str, object]) -> None:
    with pytest.raises(errors.Malformed):
        pods.read(document)


def test_pod_that_nobody_placed() -> None:
    with pytest.raises(errors.Denied, match=names.ANNOTATION_ALLOCATION):
        Pod("n", "p", "u").allocation()
