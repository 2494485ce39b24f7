"""What people read in a pod's events: which GPUs it has, that memory was refused, that its limits ended with it."""

import json
import os
import struct
from typing import Any

from tests.integration.deviceplugin.conftest import NODE, Machine, make_pod, one, share, until, uuid
from unigpu import names, usage
from unigpu.requests import Request
from unigpu.units import MiB, Percent

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d9f", "uid": "uid-of-web", "controller": True}


def events(machine: Machine, reason: str) -> list[dict[str, Any]]:
    return [event for event in machine.api.objects["events"].values() if event["reason"] == reason]


def refuse(machine: Machine, pod: dict[str, Any], count: int, used: int = 0) -> None:
    """As libvgpu counts refusals on the first GPU."""
    descriptor = os.open(machine.folder(pod) / "usage", os.O_RDWR)
    try:
        os.pwrite(descriptor, struct.pack("<II", usage.MAGIC, usage.VERSION), 0)
        os.pwrite(descriptor, struct.pack("<4Q", used, 0, used, count), usage.TOTALS_OFFSET)
    finally:
        os.close(descriptor)


async def test_which_gpus_a_pod_has(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create(
        "p", main=(Request(gpus=2, memory=MiB(3072), cores=Percent(30)), [share(0, 3072, 30), share(2, 3072, 30)])
    )
    await machine.kubelet.prestart(pod, "main")
    await until(lambda: events(machine, names.EVENT_GPU_ASSIGNED), "an event")
    (event,) = events(machine, names.EVENT_GPU_ASSIGNED)
    assert (event["type"], event["involvedObject"]["uid"]) == ("Normal", pod["metadata"]["uid"])
    share_ = "3072 MiB of its memory, 30 % of its compute time"
    assert event["message"].startswith("container main: GPU 0 (")
    assert event["message"].count(share_) == 2 and uuid(0) in event["message"] and uuid(2) in event["message"]
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await machine.serving()
    await machine.kubelet.prestart(pod, "main")
    other = await machine.create("q", main=one(1, 100))
    await machine.kubelet.prestart(other, "main")
    await until(lambda: len(events(machine, names.EVENT_GPU_ASSIGNED)) == 2, "only the other pod's is new")


async def test_refused_memory_is_told_once_for_a_while(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod, other = await machine.create("p", main=one(0, 200)), await machine.create("q", main=one(0, 300))
    await machine.kubelet.prestart(pod, "main")
    await machine.kubelet.prestart(other, "main")
    refuse(machine, pod, 1, 193 << 20)
    await until(lambda: events(machine, names.EVENT_MEMORY_REFUSED), "an event")
    (event,) = events(machine, names.EVENT_MEMORY_REFUSED)
    assert event["type"] == "Warning"
    assert "container main was refused memory of GPU 0 (" in event["message"]
    assert "its programs have 193 of 200 MiB; accepted: kubectl unigpu limit p -n default -c main" in event["message"]
    refuse(machine, pod, 2)
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await machine.serving()
    refuse(machine, other, 1)
    await until(lambda: len(events(machine, names.EVENT_MEMORY_REFUSED)) > 1, "another container's is written")
    about = [event["involvedObject"]["name"] for event in events(machine, names.EVENT_MEMORY_REFUSED)]
    assert about == ["p", "q"], "an agent that starts again tells nothing twice"


async def test_nonsense_in_a_usage_file_is_no_refusal(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod, other = await machine.create("p", main=one(0, 200)), await machine.create("q", main=one(0, 300))
    await machine.kubelet.prestart(pod, "main")
    await machine.kubelet.prestart(other, "main")
    refuse(machine, pod, (1 << 64) - 1)
    refuse(machine, other, 1)
    await until(lambda: events(machine, names.EVENT_MEMORY_REFUSED), "an event")
    assert [one["involvedObject"]["name"] for one in events(machine, names.EVENT_MEMORY_REFUSED)] == ["q"]


async def test_limits_that_end_with_their_pod(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = make_pod("web-5d9f-x", {"main": one(0, 4096)}, NODE)
    pod["metadata"]["ownerReferences"] = [OWNER]
    pod["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=1Gi"
    await machine.api.put("pods", pod)
    await machine.kubelet.admit(pod)
    await machine.kubelet.prestart(pod, "main")
    plain = await machine.create("plain", main=one(0, 100))
    await machine.kubelet.prestart(plain, "main")
    await machine.remove(plain)
    await machine.remove(json.loads(json.dumps(pod)))
    await until(lambda: len(events(machine, names.EVENT_LIMITS_ENDED)) == 2, "events")
    of_pod, of_owner = events(machine, names.EVENT_LIMITS_ENDED)
    assert of_pod["involvedObject"]["name"] == "web-5d9f-x"
    involved = of_owner["involvedObject"]
    assert (involved["kind"], involved["name"], involved["apiVersion"]) == ("ReplicaSet", "web-5d9f", "apps/v1")
    assert involved["uid"] == OWNER["uid"]
    assert of_owner["message"] == (
        "limits of pod web-5d9f-x ended with it (main: memory 1024 MiB); the next pod of ReplicaSet web-5d9f starts as "
        "requested (main: 4096 MiB); to keep them, change the request in its template"
    )
