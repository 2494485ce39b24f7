"""Room without an eviction, on a real cluster: limits are lowered for an urgent pod, and later given back."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import images, settings
from demo import install
from demo.kube import Kube, wait_for
from tests.cluster import test_room as room
from tests.cluster.harness import KUBERNETES
from tests.cluster.test_own_words import pod
from tests.cluster.test_room import GPUS, MOST, PATIENCE, memory, until_placed, urgent
from tests.cluster.test_totals import capacity
from unigpu import lowering, names

namespace = room.namespace
PAUSE = 5
"""Seconds that a container runs before it is offered, and before its limits are raised again."""


@pytest.fixture
def shrinking(kube: Kube, project: dict[str, images.Image]) -> Iterator[None]:
    by_role = {role: image.name for role, image in project.items()}
    values = ["limits.shrinkBeforeEvicting=true", f"nodeAgent.extraArgs={{--shrink-pause={PAUSE}}}"]
    install.install(kube, by_role, simulated=True, more=values)
    yield
    install.install(kube, by_role, simulated=True)


def lowered(kube: Kube, namespace: str) -> dict[str, lowering.Record]:
    """Pods whose limits are lower than they were."""
    found = {}
    for one in kube.items("pods", namespace):
        record = lowering.record(one["metadata"].get("annotations") or {})
        if record is not None:
            found[one["metadata"]["name"]] = record
    return found


def said(kube: Kube, namespace: str, reason: str) -> list[str]:
    return [one["message"] for one in kube.items("events", namespace) if one["reason"] == reason]


@pytest.mark.usefixtures("shrinking")
@pytest.mark.parametrize("vendors", [False, True], ids=["unigpu's resources", "a vendor's resources"])
def test_an_urgent_pod_gets_room_and_nobody_is_evicted(
    kube: Kube, namespace: str, gpu_mib: int, tmp_path: Path, tell: Callable[[str], None], vendors: bool
) -> None:
    if vendors and not settings.at_least(KUBERNETES, 33):
        pytest.skip("this kube-scheduler doesn't try such a pod again")
    kube.run("delete", "events", "--all", "-n", namespace)
    before = capacity(kube)
    most, wanted = gpu_mib * MOST // 8, gpu_mib * 5 // 8
    # Four pods of the first leave half a GPU of the totals, which is too little for the second.
    low = {f"low-{at}" for at in range(GPUS)}
    kube.apply([pod(name, memory(most)) for name in sorted(low)], namespace)
    until_placed(kube, "all pods run", lambda found: found.keys() == low)
    uids = {one["metadata"]["uid"] for one in kube.items("pods", namespace)}

    def offered() -> bool:
        (node,) = kube.json("get", "nodes")["items"]
        text = node["metadata"]["annotations"].get(names.ANNOTATION_LOWERABLE, "")
        return all(uid in text for uid in uids)

    wait_for("the node offers what they don't hold", offered, PATIENCE)
    asking = urgent("urgent", wanted)
    if vendors:
        asking["spec"]["containers"][0]["resources"]["limits"] = {
            "nvidia.com/gpu": "1",
            "nvidia.com/gpumem": str(wanted),
        }
    manifest = tmp_path / "urgent.json"
    manifest.write_text(json.dumps(asking))
    planned = room.run(kube, "plan", "-f", str(manifest), "-n", namespace)
    assert "    nobody is evicted; limits would be lowered: pod room/low-" in planned.stdout, planned.stdout
    start = time.monotonic()
    kube.apply([asking], namespace)
    until_placed(kube, "all pods run", lambda found: found.keys() == {*low, "urgent"})
    tell(f"four pods with 7/8 of a GPU each; an urgent one with 5/8 ran {time.monotonic() - start:.1f} s later")
    assert uids < {one["metadata"]["uid"] for one in kube.items("pods", namespace)}, "nobody was evicted"
    (name,) = lowered(kube, namespace)
    (room_made,) = wait_for("an event says so", lambda: said(kube, namespace, names.EVENT_MAKING_ROOM), PATIENCE)
    assert room_made == f"limits of pod room/{name} are lowered on node {node_name(kube)}; nobody is evicted"
    (changed,) = wait_for("the change has one", lambda: said(kube, namespace, names.EVENT_LIMITS_CHANGED), PATIENCE)
    assert changed.startswith(f"main: memory {most} -> {gpu_mib - wanted} MiB; lowered to make room for pod room/")
    assert int(capacity(kube)[names.RESOURCE_MEMORY]) == int(before[names.RESOURCE_MEMORY]) + most - gpu_mib + wanted

    # Every part starts again: what was lowered is known from the pod alone.
    kube.run("delete", "pods", "--all", "-n", names.SYSTEM_NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)
    kube.run("delete", "pod", "urgent", "-n", namespace, "--grace-period=0", "--force", timeout=PATIENCE)
    start = time.monotonic()
    wait_for("it is given back", lambda: not lowered(kube, namespace), PATIENCE)
    wait_for("the capacity is as before", lambda: capacity(kube) == before, PATIENCE)
    tell(f"with every part of unigpu killed, given back {time.monotonic() - start:.1f} s after the urgent pod was gone")
    found = kube.json("get", "pod", "-n", namespace, name)["metadata"]["annotations"]
    assert names.ANNOTATION_LIMITS not in found
    wait_for(
        "the pod has its memory again",
        lambda: f"main: memory {gpu_mib - wanted} -> {most} MiB" in said(kube, namespace, names.EVENT_LIMITS_CHANGED),
        PATIENCE,
    )
    assert {one["metadata"]["uid"] for one in kube.items("pods", namespace)} == uids


def node_name(kube: Kube) -> str:
    (node,) = kube.json("get", "nodes")["items"]
    return str(node["metadata"]["name"])
