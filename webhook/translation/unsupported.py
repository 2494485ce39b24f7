"""Warn of what translation doesn't carry over: misspelt or misplaced names, unsupported preferences, gangs, queues."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

from unigpu import names
from unigpu.findings import Remark
from webhook.translation import dialects, preferences
from webhook.translation.dialects import alibaba, hami, kai, tencent
from webhook.translation.options import Options
from webhook.translation.pods import Pod

DOMAINS = tuple(sorted({name.partition("/")[0] for name in dialects.OF_RESOURCE}))
"""Domains of the vendors' resources."""
STEMS = ("gpu", "cuda")
"""Parts of a name in one of these domains that make it look like a request for a GPU."""
ANNOTATIONS = frozenset({tencent.CORE_LIMIT, *preferences.ANNOTATIONS, *kai.ANNOTATIONS})
"""Vendors' annotations that translation reads."""
LABELS = frozenset({alibaba.COUNT, alibaba.LABEL_PLACEMENT, hami.LABEL_IGNORE[0]})
"""Vendors' labels that translation reads."""
WITHOUT_EFFECT = {
    "nvidia.com/vgpu-mode": "unigpu always shares GPUs by time and memory limits",
    "nvidia.com/numa-bind": "unigpu doesn't bind GPUs to NUMA nodes",
    "hami.io/device-scoring-weights": "unigpu scores GPUs by its own placement policy",
    "volcano.sh/vgpu-mode": "unigpu always shares GPUs by time and memory limits",
    "volcano.sh/vgpu-use-gpuuuid": f"unigpu reads {preferences.LISTS['use_uuids']} instead",
    "volcano.sh/vgpu-nouse-gpuuuid": f"unigpu reads {preferences.LISTS['avoid_uuids']} instead",
    "volcano.sh/vgpu-podgroup-policy": "unigpu places each pod by itself",
}
"""Annotations that vendors know and translation doesn't: why they have no effect."""
FAMILIES = {
    "nvidia.com/container.": "unigpu doesn't translate KAI's requests by container (NvFractions)",
    "tensor-fusion.ai/": "unigpu doesn't translate tensor-fusion's requests",
}
"""The same by the beginning of the annotation's name."""
GANGS = (
    "scheduling.k8s.io/group-name",
    "scheduling.volcano.sh/group-name",
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io/name",
    "pod-group-name",
)
"""Annotations or labels that make pods a gang of their scheduler's."""
QUEUES = (
    "scheduling.volcano.sh/queue-name",
    "volcano.sh/queue-name",
    "kai.scheduler/queue",
    "runai/queue",
    "kueue.x-k8s.io/queue-name",
)
"""Annotations or labels that put a pod into a queue of its scheduler's."""
SERVED_BY_OTHERS = ("nvidia.com/mig-", "nvidia.com/gpu.shared")
"""Resources of NVIDIA's own device plugin that unigpu leaves to it."""
_DEFAULT_SCHEDULERS = ("", "default-scheduler")
_CLOSE = 0.85
"""Similarity above which an unknown annotation or label is taken for a misspelt one."""


def warnings(pod: Pod) -> Iterator[str]:
    """Yield warnings for names on the pod and its containers that have no effect."""
    for container in pod.containers:
        for resource in sorted((container.limits.keys() | container.requests.keys()) - dialects.OF_RESOURCE.keys()):
            if known := _misspelt(resource):
                where, value = f"container {container.name}", container.value(resource)
                yield str(Remark(where, resource, value, "unknown, has no effect", known))
    yield from _on_pod("annotation", pod.annotations, ANNOTATIONS)
    yield from _on_pod("label", pod.labels, LABELS)
    if (note := pod.annotations.get(kai.MEMORY)) is not None and not kai.asks(pod):
        why = "has no effect, because nothing else in the pod is KAI's"
        accepted = f"schedulerName kai-scheduler for KAI's meaning, or {names.RESOURCE_MEMORY} under limits"
        yield str(Remark("pod", f"annotation {kai.MEMORY}", note, why, accepted))


def of_replaced_scheduler(pod: Pod, options: Options) -> Iterator[str]:
    """Yield warnings for gangs and queues, and other GPUs, of a pod whose scheduler unigpu's replaces."""
    for container in pod.containers:
        for resource in container.limits:
            if resource.startswith(SERVED_BY_OTHERS):
                why = "isn't translated: NVIDIA's own device plugin must serve it on the pod's node"
                yield str(Remark(f"container {container.name}", resource, container.limits[resource], why))
    if pod.scheduler in (*_DEFAULT_SCHEDULERS, options.scheduler):
        return
    for names_, what in ((GANGS, "place gangs"), (QUEUES, "know queues")):
        for kind, present in (("annotation", pod.annotations), ("label", pod.labels)):
            for name in names_:
                if name in present:
                    why = f"has no effect: {options.scheduler} replaces {pod.scheduler} and doesn't {what}"
                    yield str(Remark("pod", f"{kind} {name}", present[name], why))


def _on_pod(kind: str, present: Mapping[str, str], known: frozenset[str]) -> Iterator[str]:
    for name, value in present.items():
        if name in known:
            continue
        if (reason := _without_effect(name)) is not None:
            yield str(Remark("pod", f"{kind} {name}", value, f"has no effect: {reason}"))
        elif name in dialects.OF_RESOURCE:
            why = f"has no effect as {'an annotation' if kind == 'annotation' else 'a label'}"
            yield str(Remark("pod", f"{kind} {name}", value, why, f"{name} under a container's limits"))
        elif (close := _nearest(name, known, _CLOSE)) is not None and name.partition("/")[0] == close.partition("/")[0]:
            yield str(Remark("pod", f"{kind} {name}", value, "unknown, has no effect", f"{kind} {close}"))


def _without_effect(name: str) -> str | None:
    families = (reason for family, reason in FAMILIES.items() if name.startswith(family))
    return WITHOUT_EFFECT.get(name) or next(families, None)


def _misspelt(resource: str) -> str:
    """Return the known resources that an unknown one may mean; empty where it isn't a vendor's for a GPU."""
    domain, _, name = resource.partition("/")
    if domain not in DOMAINS or resource.startswith(SERVED_BY_OTHERS):
        return ""
    siblings = [known for known in dialects.OF_RESOURCE if known.startswith(f"{domain}/")]
    close = _nearest(resource, siblings, _CLOSE)
    if close is None and not any(stem in name for stem in STEMS):
        return ""
    return _nearest(resource, siblings, 0.6) or " or ".join(siblings)


def _nearest(name: str, known: Iterable[str], similarity: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, 1, similarity)), None)
