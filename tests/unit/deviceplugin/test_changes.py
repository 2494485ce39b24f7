"""What a change of limits means: its words, what holds while it is carried out, and the name of its event."""

import dataclasses
from typing import Any

import pytest

from deviceplugin.limits import changes
from deviceplugin.node.node_state import Node
from deviceplugin.pods import Pod
from unigpu import allocations, errors, limits, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

UUIDS = [GpuUuid(f"GPU-{number}") for number in range(2)]
NODE = Node("node-a", "boot", gpus={uuid: Gpu(uuid, 0, 0, "Test", MiB(24576)) for uuid in UUIDS})


def pod(wanted: str = "", applied: str | None = None, **containers: tuple[Request, list[Share]]) -> Pod:
    given = containers or {
        "main": (Request(1, MiB(4096), cores=Percent(50)), [Share(UUIDS[0], MiB(4096), Percent(50))])
    }
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(PodRequest({name: pair[0] for name, pair in given.items()})),
        names.ANNOTATION_ALLOCATION: allocations.dump(
            Allocation("node-a", {name: pair[1] for name, pair in given.items()})
        ),
        names.ANNOTATION_LIMITS: wanted,
    }
    if applied is not None:
        annotations[names.ANNOTATION_LIMITS_APPLIED] = applied
    return Pod("n", "p", "u", annotations=annotations, order=tuple(given))


def pending(asked: Pod) -> changes.Change:
    change = changes.pending(asked, {})
    assert change is not None
    return change


@pytest.mark.parametrize(
    ("wanted", "applied", "text"),
    [
        ("memory=1Gi,cores=10", None, "main: memory 4096 -> 1024 MiB, cores 50 -> 10 %"),
        ("cores=10", '{"main":{"memory":1024}}', "main: memory 1024 -> 4096 MiB, cores 50 -> 10 %"),
        ("ceiling=80", None, "main: ceiling none -> 80 %, policy hard -> soft"),
        ("policy=unlimited", None, "main: policy hard -> unlimited"),
        ("", '{"main":{"cores":10}}', "main: cores 10 -> 50 %"),
        ("memory=4Gi", None, ""),
    ],
)
def test_a_change_in_words(wanted: str, applied: str | None, text: str) -> None:
    assert pending(pod(wanted, applied)).text == text


def test_several_containers_and_gpus() -> None:
    first = (Request(2, MiB(1000)), [Share(UUIDS[0], MiB(1000), Percent(0)), Share(UUIDS[1], MiB(1000), Percent(0))])
    second = (Request(1, memory_percent=Percent(50)), [Share(UUIDS[0], MiB(12288), Percent(0))])
    wanted = '{"first": {"memory": 2000, "cores": 5}, "second": {"memory": 900}}'
    assert pending(pod(wanted, first=first, second=second)).text == (
        "first: memory 1000 -> 2000 MiB, cores unlimited -> 5 %; second: memory 12288 -> 900 MiB"
    )


@pytest.mark.parametrize(
    ("wanted", "applied"),
    [("", None), ("", "{}"), ("cores=10", '{"main":{"cores":10}}'), ("cores= 10", '{"main":{"cores":10}}')],
)
def test_nothing_to_change(wanted: str, applied: str | None) -> None:
    assert changes.pending(pod(wanted, applied), {}) is None


@pytest.mark.parametrize("wanted", ["cores=0", "{", '{"other":{"cores":10}}', "ceiling=40"])
def test_refused_for_its_form_or_its_sense(wanted: str) -> None:
    with pytest.raises((errors.Malformed, errors.Denied)):
        changes.pending(pod(wanted), {})


@pytest.mark.parametrize(
    ("wanted", "memory", "cores"),
    [
        ("memory=1Gi,cores=80", 1024, 50),
        ("memory=8Gi,cores=10", 4096, 10),
        ("memory=1Gi,cores=10", 1024, 10),
        ("memory=8Gi,cores=80", 4096, 50),
    ],
)
def test_what_holds_meanwhile_is_the_tighter_of_both(wanted: str, memory: int, cores: int) -> None:
    ((before, after),) = pending(pod(wanted)).containers.values()
    (gpu,) = changes.lowered(NODE, before, after).gpus
    assert (gpu.memory >> 20, gpu.cores) == (memory, cores)
    (larger,) = changes.larger(before, after)
    assert larger.memory == max(4096, after.shares[0].memory)
    assert larger.cores == max(50, after.shares[0].cores)


def test_no_limit_is_wider_than_any() -> None:
    request = (Request(1), [Share(UUIDS[0], MiB(0), Percent(0))])
    ((before, after),) = pending(pod("memory=1Gi,cores=10", main=request)).containers.values()
    (gpu,) = changes.lowered(NODE, before, after).gpus
    assert (gpu.memory >> 20, gpu.cores) == (1024, 10)


def grant(name: str, memory: int, cores: int = 0, **more: Any) -> Grant:
    share = Share(UUIDS[0], MiB(memory), Percent(cores))
    return Grant("n", name, f"uid-{name}", "main", (), (share,), {}, True, "unigpu", **more)


@pytest.mark.parametrize(
    ("wanted", "grants", "beyond", "says"),
    [
        ("memory=20Gi", [grant("other", 4096)], {}, None),
        ("memory=20Gi", [grant("other", 4097)], {}, "24577 MiB would be granted"),
        ("memory=20Gi", [grant("other", 1000)], {("uid-other", "main"): {UUIDS[0]: MiB(5000)}}, "25480 MiB"),
        ("memory=1Gi", [grant("other", 20000)], {("u", "main"): {UUIDS[0]: MiB(4096)}}, None),
        ("memory=1Gi", [grant("other", 22000)], {("u", "main"): {UUIDS[0]: MiB(4096)}}, "26096 MiB"),
        ("cores=60", [grant("other", 100, 40)], {}, None),
        ("cores=61", [grant("other", 100, 40)], {}, "101 % of its compute"),
    ],
)
def test_room(wanted: str, grants: list[Grant], beyond: dict[Any, Any], says: str | None) -> None:
    asked = pod(wanted)
    own = dataclasses.replace(grant("p", 4096, 50), pod_uid="u")
    for held in (grants, [*grants, own]):
        found = changes.refusal(NODE, asked, pending(asked), held, beyond)
        assert found is None if says is None else says in (found or "")


def test_containers_of_the_pod_that_have_not_started_count() -> None:
    main = (Request(1, MiB(4096)), [Share(UUIDS[0], MiB(4096), Percent(0))])
    early = (Request(1, MiB(2048), role=Role.SIDECAR), [Share(UUIDS[0], MiB(2048), Percent(0))])
    asked = pod('{"main": {"memory": 20000}, "early": {"memory": 5000}}', early=early, main=main)
    held = dataclasses.replace(grant("p", 2048, role=Role.SIDECAR), pod_uid="u", container="early")
    assert "25000 MiB" in (changes.refusal(NODE, asked, pending(asked), [held], {}) or "")


def test_a_gpu_that_is_not_known_now_may_be_later() -> None:
    asked = pod("cores=10")
    with pytest.raises(errors.Unavailable, match="isn't known"):
        changes.refusal(dataclasses.replace(NODE, gpus={}), asked, pending(asked), [], {})


def test_names_of_events_tell_changes_apart() -> None:
    asked, before = pod(), limits.NOTHING_APPLIED
    lower = limits.Applied({"main": limits.Limit(cores=Percent(10))})
    told = [
        changes.event_name(asked, names.EVENT_LIMITS_CHANGED, before, "a", 0),
        changes.event_name(asked, names.EVENT_LIMITS_CHANGED, before, "a", 1),
        changes.event_name(asked, names.EVENT_LIMITS_CHANGED, before, "b", 0),
        changes.event_name(asked, names.EVENT_LIMITS_CHANGED, lower, "a", 0),
        changes.event_name(asked, names.EVENT_LIMITS_REFUSED, before, "a", 0),
        changes.event_name(dataclasses.replace(asked, uid="v"), names.EVENT_LIMITS_CHANGED, before, "a", 0),
    ]
    assert len(set(told)) == len(told)
    assert told[0] == changes.event_name(pod("cores=10"), names.EVENT_LIMITS_CHANGED, before, "a", 0)
    long = changes.event_name(dataclasses.replace(asked, name="p" * 253), "x", before, "", 0)
    assert len(long) < 253


def test_policies_of_compute() -> None:
    assert pending(pod("policy=soft")).containers["main"][1].request.policy is ComputePolicy.SOFT
