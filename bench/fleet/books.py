"""Compare what the API server shows with what an extender counts, and with what the GPUs have."""

from collections import defaultdict
from dataclasses import dataclass, field

from bench.fleet import load
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.objects import Json
from unigpu import api_objects, gpus, names, units
from unigpu.units import GpuUuid, MiB
from unigpu_kube import objects as paths


@dataclass(slots=True)
class Holdings:
    """What the pods of the fleet have, by their annotations."""

    bound: list[str] = field(default_factory=list)
    """Names of pods that are bound and haven't ended."""
    pending: dict[str, str] = field(default_factory=dict)
    """Names of the others, each with the kube-scheduler's words."""
    memory: dict[GpuUuid, int] = field(default_factory=lambda: defaultdict(int))
    """MiB that are given away of each GPU."""
    shares: dict[GpuUuid, int] = field(default_factory=lambda: defaultdict(int))
    free: int = 0
    """MiB of all GPUs that aren't given away."""
    faults: list[str] = field(default_factory=list)
    """What must not be."""


async def read(plane: ControlPlane) -> Holdings:
    """Read all pods and nodes, and note what must not be: a bound pod without an allocation, a GPU with too much."""
    nodes = await plane.client.items(paths.NODES)
    pods = await plane.client.items(load.PODS)
    found = Holdings()
    for pod in pods:
        _add(found, pod)
    known = {gpu.uuid: (gpu, node["metadata"]["name"]) for node in nodes for gpu in _gpus(node)}
    found.free = sum(gpu.memory for gpu, _ in known.values()) - sum(found.memory.values())
    for uuid, memory in found.memory.items():
        if uuid not in known:
            found.faults.append(f"GPU {uuid} is given away, and no node has it")
        elif memory > known[uuid][0].memory:
            found.faults.append(f"GPU {uuid} has {known[uuid][0].memory} MiB, and {memory} are given away")
    return found


def _add(found: Holdings, pod: Json) -> None:
    name = pod["metadata"]["name"]
    facts = api_objects.pod(pod)
    if facts.problem:
        found.faults.append(f"pod {name}: {facts.problem}")
    if not facts.node:
        conditions = pod.get("status", {}).get("conditions") or ()
        found.pending[name] = next((each.get("message", "") for each in conditions if each["status"] == "False"), "")
        return
    if facts.ended:
        return
    found.bound.append(name)
    uses = api_objects.usage(facts)
    if not uses:
        found.faults.append(f"pod {name} is bound without an allocation")
    for uuid, use in uses.items():
        found.memory[uuid] += use.memory
        found.shares[uuid] += use.shares


def _gpus(node: Json) -> tuple[gpus.Gpu, ...]:
    return gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])


async def counted(replica: Replica, books: Holdings) -> bool:
    """Return whether an extender counts what the annotations say, each pod confirmed, and no GPU with too much."""
    found = [
        await replica.metric(name)
        for name in (names.METRIC_SCHEDULER_PODS, names.METRIC_SCHEDULER_ASSUMED, names.METRIC_SCHEDULER_OVERBOOKED)
    ]
    free = await replica.metric(names.METRIC_SCHEDULER_FREE_MEMORY, 'by="share"')
    return [*found, free] == [len(books.bound), 0, 0, units.to_bytes(MiB(books.free))]
