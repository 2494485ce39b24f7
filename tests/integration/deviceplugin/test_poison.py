"""Objects that no parser expects: each costs itself only."""

import copy
import json
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import NODE, Machine, make_pod, one, until
from tests.integration.deviceplugin.test_agent import refusal
from unigpu import gpus, names, policy

HUGE = json.dumps(
    {"version": 1, "node": NODE, "containers": {"main": [{"gpu": "GPU-x", "memory": 0, "cores": 0}]}}
).replace('"memory": 0', '"memory": 1e999')
DEEP = '{"version": 1, "containers": ' + "[" * 100_000


async def serves(machine: Machine, name: str, gpu: int) -> None:
    """A pod starts, its limits change while it runs, and it is released."""
    pod = await machine.create(name, main=one(gpu, 4096, 50))
    await machine.kubelet.prestart(pod, "main")
    changed = copy.deepcopy(machine.api.objects["pods"][f"default/{name}"])
    changed["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=1Gi"
    await machine.api.put("pods", changed)
    file = machine.folder(pod) / "policy"
    await until(lambda: policy.unpack(file.read_bytes()).gpus[0].memory == 1 << 30, "its limit is in force")
    await machine.remove(pod)
    await until(lambda: not machine.folder(pod).exists(), "it is released")


@pytest.mark.parametrize("text", [HUGE, DEEP, '{"version": 1, "node": NaN}', "\\ud800", "null"])
@pytest.mark.parametrize(
    "annotation",
    [
        names.ANNOTATION_ALLOCATION,
        names.ANNOTATION_REQUEST,
        names.ANNOTATION_LIMITS,
        names.ANNOTATION_LIMITS_APPLIED,
    ],
)
async def test_poisoned_annotation_of_a_pod(machine: Machine, annotation: str, text: str) -> None:
    machine.run()
    await machine.serving()
    running = await machine.create("running", main=one(0, 100, 10))
    await machine.kubelet.prestart(running, "main")
    starting = make_pod("starting", {"main": one(1, 100, 10)})
    for pod in (machine.api.objects["pods"]["default/running"], starting):
        poisoned: dict[str, Any] = copy.deepcopy(pod)
        poisoned["metadata"]["annotations"][annotation] = text
        await machine.api.put("pods", poisoned)
    await machine.kubelet.admit(starting)
    if annotation != names.ANNOTATION_LIMITS:
        assert "annotation" in await refusal(machine, starting)
    await serves(machine, "other", 2)
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await machine.serving()
    await serves(machine, "another", 3)
    assert "Traceback" not in machine.log.read_text()
    assert machine.folder(running).exists()


async def test_pod_of_another_form(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    odd = make_pod("odd", {"main": one(1, 100)})
    odd["status"]["containerStatuses"] = [{"name": "main", "state": {"running": {"startedAt": "yesterday"}}}]
    await machine.api.put("pods", odd)
    await serves(machine, "other", 2)
    assert machine.log.read_text().count("object can't be read") == 1


@pytest.mark.parametrize("text", [HUGE, DEEP, "", '{"version":1,"gpus":[{"uuid":"GPU-a","memory":1e999}]}'])
async def test_poisoned_inventory_is_replaced(machine: Machine, text: str) -> None:
    async def poison() -> None:
        node = copy.deepcopy(machine.api.node(NODE))
        node["metadata"].setdefault("annotations", {})[names.ANNOTATION_INVENTORY] = text
        await machine.api.put("nodes", node)

    def published() -> bool:
        found = machine.api.node(NODE)["metadata"]["annotations"][names.ANNOTATION_INVENTORY]
        return found != text and len(gpus.load(found)) == 4

    await poison()
    machine.run()
    await machine.serving()
    await until(published, "the inventory is right at start")
    await poison()
    await until(published, "the inventory is right again")
    assert "Traceback" not in machine.log.read_text()
