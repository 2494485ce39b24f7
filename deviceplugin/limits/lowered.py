"""What the node's containers could do without, what lowered limits have freed, and who gets theirs back. No I/O."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from deviceplugin import pods
from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.grant_totals import Overuse
from deviceplugin.limits import changes
from deviceplugin.node.node_state import Node
from unigpu import allocations, errors, limits, lowering, modes, names
from unigpu.allocations import Allocation, GpuUsage
from unigpu.fit import UNUSED
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.lowering import Freed, Keep, Lowerable, Record
from unigpu.requests import Request, Role
from unigpu.units import GpuUuid, MiB


def offers(pod: pods.Pod, labels: Mapping[str, str], used: Mapping[str, Sequence[MiB]], keep: Keep) -> list[Lowerable]:
    """Return which of the pod's containers could do with less, on a node with these labels.

    `used`: MiB that containers hold, in the order of their GPUs; others are left alone. A pod whose init containers
    have GPUs of their own is left alone: what it takes may be theirs. So is one whose limits are being changed.
    """
    try:
        requests, wanted, applied = pod.request().containers, pod.wanted(pod.request()), pod.applied()
        if any(one.role is Role.INIT for one in requests.values()):
            return []
        if applied.held or limits.dump(wanted) != limits.dump(applied.limits):
            return []
        held = changes.held(pod, applied.limits, labels)
    except errors.UnigpuError:
        return []
    mode = modes.from_labels(labels)
    found = []
    for container, here in held.items():
        amounts = used.get(container)
        if amounts is None or len(amounts) != len(here.shares):
            continue
        if not modes.enforcement(mode, labels, here.request).memory:
            continue
        one = lowering.entry(pod.uid, container, here.request, here.shares, amounts, keep)
        if one is not None:
            found.append(one)
    return found


def freed(found: Iterable[pods.Pod], gpus: Iterable[Gpu]) -> Freed:
    """Return how much less is counted for pods with lowered limits than they request, on healthy GPUs."""
    healthy = {gpu.uuid for gpu in gpus if gpu.healthy}
    memory = cores = 0
    for pod in found:
        if pod.finished or lowering.record(pod.annotations) is None:
            continue
        try:
            allocation, requests = pod.allocation(), pod.request().containers
        except errors.UnigpuError:
            continue
        counted, _ = limits.accounted(allocation, requests, pod.annotations)
        before, after = _sums(allocation, requests, healthy), _sums(counted, requests, healthy)
        memory += max(0, before[0] - after[0])
        cores += max(0, before[1] - after[1])
    return Freed(MiB(memory), cores)


class Counted:
    """What the node's pods take of each GPU, as the cluster's ledger counts it: raises that aren't in force included,
    and pods that haven't started."""

    def __init__(self, found: Iterable[pods.Pod]) -> None:
        self._pods = {pod.uid: _usage(pod, pod.annotations) for pod in found if not pod.finished}
        self._gpus: dict[GpuUuid, GpuUsage] = {}
        for uses in self._pods.values():
            for gpu, use in uses.items():
                self._gpus[gpu] = self._gpus.get(gpu, UNUSED).plus(use)

    def has_room(self, node: Node, pod: pods.Pod, record: Record) -> bool:
        """Return whether the other pods leave room for what this one had before its limits were lowered."""
        own = self._pods.get(pod.uid, {})
        for gpu, use in _usage(pod, _before(pod, record)).items():
            known, now, taken = node.gpus.get(gpu), own.get(gpu, UNUSED), self._gpus.get(gpu, UNUSED)
            if known is None:
                return False
            if use.memory > now.memory and taken.memory - now.memory + use.memory + known.foreign > known.memory:
                return False
            if use.cores > now.cores and taken.cores - now.cores + use.cores > grant_totals.GPU_CORES:
                return False
        return True

    def raised(self, pod: pods.Pod) -> None:
        """Count a pod as it is now."""
        for gpu, use in self._pods.get(pod.uid, {}).items():
            taken = self._gpus[gpu]
            self._gpus[gpu] = dataclasses.replace(
                taken, memory=MiB(taken.memory - use.memory), cores=taken.cores - use.cores
            )
        self._pods[pod.uid] = _usage(pod, pod.annotations)
        for gpu, use in self._pods[pod.uid].items():
            taken = self._gpus.get(gpu, UNUSED)
            self._gpus[gpu] = dataclasses.replace(
                taken, memory=MiB(taken.memory + use.memory), cores=taken.cores + use.cores
            )


def granted_room(node: Node, pod: pods.Pod, record: Record, grants: Iterable[Grant], overuse: Overuse) -> bool:
    """Return whether the grants leave room for what the pod had before its limits were lowered; those too whose pod is
    gone, while a program of it still runs."""
    try:
        request, applied = pod.request(), pod.applied()
        wanted = limits.parse(record.before or "", request.containers.keys())
        before = changes.held(pod, applied.limits, node.labels)
        after = changes.held(pod, wanted, node.labels)
        pairs = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
        return changes.refusal(node, pod, changes.Change(wanted, applied, pairs), grants, overuse) is None
    except errors.UnigpuError:
        return False


def due(found: Iterable[pods.Pod], now: float, pause: float) -> list[tuple[pods.Pod, Record]]:
    """Return the pods whose limits may be raised again, those that were lowered first in front.

    The record has the scheduler's time, and `now` is the node's: a small difference must not end the pause at once.
    """
    result = []
    for pod in found:
        record = lowering.record(pod.annotations)
        if record is not None and not pod.finished and not record.at - pause <= now < record.at + pause:
            result.append((pod, record))
    return sorted(result, key=lambda entry: (entry[1].at, entry[0].uid))


def void(found: Iterable[pods.Pod]) -> list[pods.Pod]:
    """Return the pods with a record that no longer counts: somebody has changed their limits since."""
    return [
        pod
        for pod in found
        if names.ANNOTATION_LOWERED in pod.annotations and lowering.record(pod.annotations) is None and not pod.finished
    ]


def urgent(before: Collection[Lowerable], after: Collection[Lowerable]) -> bool:
    """Return whether other containers, or other limits, are offered than before; what they hold doesn't count."""
    return {(one.key, one.gpus, one.now) for one in before} != {(one.key, one.gpus, one.now) for one in after}


def _before(pod: pods.Pod, record: Record) -> dict[str, str]:
    """Return the pod's annotations as they will be."""
    changed = {name: text for name, text in pod.annotations.items() if name != names.ANNOTATION_LIMITS}
    return changed if record.before is None else {**changed, names.ANNOTATION_LIMITS: record.before}


def _usage(pod: pods.Pod, annotations: Mapping[str, str]) -> dict[GpuUuid, GpuUsage]:
    try:
        allocation, requests = pod.allocation(), pod.request().containers
    except errors.UnigpuError:
        return {}
    counted, _ = limits.accounted(allocation, requests, annotations)
    return allocations.pod_usage(counted, {name: one.role for name, one in requests.items()})


def _sums(allocation: Allocation, requests: Mapping[str, Request], gpus: Collection[GpuUuid]) -> tuple[int, int]:
    uses = allocations.pod_usage(allocation, {name: one.role for name, one in requests.items()})
    here = [use for gpu, use in uses.items() if gpu in gpus]
    return sum(use.memory for use in here), sum(use.cores for use in here)
