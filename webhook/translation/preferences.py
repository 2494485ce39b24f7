"""A pod's preferences among GPUs and nodes, from its annotations, whatever the dialects of its containers."""

from collections.abc import Iterable
from dataclasses import dataclass

from unigpu.findings import Remark
from unigpu.requests import PlacementPolicy, Preferences, Request
from webhook.translation.pods import Pod

NODE_POLICY = "hami.io/node-scheduler-policy"
GPU_POLICY = "hami.io/gpu-scheduler-policy"
LISTS = {
    "use_types": ("nvidia.com/use-gputype", "tensor-fusion.ai/gpu-model"),
    "avoid_types": ("nvidia.com/nouse-gputype",),
    "use_uuids": ("nvidia.com/use-gpuuuid", "volcano.sh/vgpu-use-gpuuuid"),
    "avoid_uuids": ("nvidia.com/nouse-gpuuuid", "volcano.sh/vgpu-nouse-gpuuuid"),
}
"""Field of Preferences → annotations with a comma list."""
_POLICIES = {
    NODE_POLICY: (PlacementPolicy.BINPACK, PlacementPolicy.SPREAD),
    GPU_POLICY: (PlacementPolicy.BINPACK, PlacementPolicy.SPREAD, PlacementPolicy.TOPOLOGY),
}
NUMA = "nvidia.com/numa-bind"
_FLAGS = {"true": True, "false": False}
ANNOTATIONS = frozenset({*_POLICIES, NUMA, *(annotation for each in LISTS.values() for annotation in each)})
"""Every annotation that is read here."""


@dataclass(frozen=True, slots=True)
class PodPreferences:
    """The preferences, and warnings about what was not understood."""

    preferences: Preferences
    warnings: tuple[str, ...] = ()


_NONE = PodPreferences(Preferences())
_BY_LINKS = PodPreferences(Preferences(gpu_policy=PlacementPolicy.TOPOLOGY))
"""The preferences of pods without such annotations, as nearly all are."""


def read(pod: Pod, requests: Iterable[Request]) -> PodPreferences:
    """Return the pod's preferences. By default several whole GPUs of one container are chosen by their links."""
    if ANNOTATIONS.isdisjoint(pod.annotations):
        return _BY_LINKS if any(request.whole and request.gpus > 1 for request in requests) else _NONE
    warnings: list[str] = []
    policies: dict[str, PlacementPolicy | None] = {}
    for annotation, known in _POLICIES.items():
        value = pod.annotations.get(annotation, "")
        policies[annotation] = PlacementPolicy(value) if value in known else None
        if value and value not in known:
            warnings.append(str(Remark("pod", f"annotation {annotation}", value, "has no effect", " or ".join(known))))
    gpu_policy = policies[GPU_POLICY]
    if gpu_policy is None and any(request.whole and request.gpus > 1 for request in requests):
        gpu_policy = PlacementPolicy.TOPOLOGY
    numa = pod.annotations.get(NUMA, "")
    if numa and numa.lower() not in _FLAGS:
        warnings.append(str(Remark("pod", f"annotation {NUMA}", numa, "has no effect", "true or false")))
    lists = {
        field: tuple(
            word
            for annotation in each
            for part in pod.annotations.get(annotation, "").split(",")
            if (word := part.strip())
        )
        for field, each in LISTS.items()
    }
    return PodPreferences(
        Preferences(
            gpu_policy=gpu_policy, node_policy=policies[NODE_POLICY], numa=_FLAGS.get(numa.lower(), False), **lists
        ),
        tuple(warnings),
    )
