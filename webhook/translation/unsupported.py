"""Warn of what translation doesn't carry over: misspelt or misplaced names, unsupported preferences, gangs, queues."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping

from unigpu import names
from unigpu.findings import Remark
from unigpu.remembered import remembered
from webhook.translation import dialects, preferences
from webhook.translation.dialects import alibaba, hami, kai, nvfractions, tencent, tensor_fusion
from webhook.translation.options import Options
from webhook.translation.pods import Pod

STEMS = ("gpu", "cuda")
"""Parts of a name in one of these domains that make it look like a request for a GPU."""
MISSPELT_STEMS = "pu|gu|g.u|gp|uda|cu|cd|c.da"
"""A regular expression: what is left of a stem in which one letter is wrong, missing, too many, or exchanged."""
ANNOTATIONS = frozenset(
    {tencent.CORE_LIMIT, *preferences.ANNOTATIONS, *kai.ANNOTATIONS, *tensor_fusion.READ, *tensor_fusion.TFLOPS}
)
"""Vendors' annotations that translation reads."""
LABELS = frozenset({alibaba.COUNT, alibaba.LABEL_PLACEMENT, hami.LABEL_IGNORE[0], tensor_fusion.ENABLED[0]})
"""Vendors' labels that translation reads."""
WITHOUT_EFFECT = {
    "nvidia.com/vgpu-mode": "unigpu always shares GPUs by time and memory limits",
    "hami.io/device-scoring-weights": "unigpu scores GPUs by its own placement policy",
    "volcano.sh/vgpu-mode": "unigpu always shares GPUs by time and memory limits",
    "volcano.sh/vgpu-podgroup-policy": "unigpu places each pod by itself",
}
"""Annotations that vendors know and translation doesn't: why they have no effect."""
FAMILIES = (nvfractions.PREFIX, tensor_fusion.PREFIX)
"""Beginnings of annotations that vendors read, and of which translation reads some."""
NOT_OFFERED = "unknown: the pod stays pending, unless a node offers it"
"""Of a resource: the kube-scheduler looks for a node that has it."""
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
_LIKELY = 24
"""Names of containers' annotations with which an unknown one is compared."""
_CLOSE = 0.85
"""Similarity above which an unknown annotation or label is taken for a misspelt one."""


def domains(known: Iterable[str]) -> tuple[str, ...]:
    """Return the domains of resources, sorted."""
    return tuple(sorted({name.partition("/")[0] for name in known}))


def warnings(pod: Pod, options: Options) -> Iterator[str]:
    """Yield warnings for names on the pod and its containers that have no effect."""
    resources = dialects.vocabulary(options.words).of_resource.keys()
    for container in pod.containers:
        for resource in sorted((container.limits.keys() | container.requests.keys()) - resources):
            if known := _misspelt(resource, resources):
                where, value = f"container {container.name}", container.value(resource)
                yield str(Remark(where, resource, value, NOT_OFFERED, known))
    yield from _on_pod("annotation", pod.annotations, ANNOTATIONS, resources)
    yield from _on_pod("label", pod.labels, LABELS, resources)
    yield from _of_families(pod)
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


def _on_pod(kind: str, present: Mapping[str, str], known: frozenset[str], resources: Collection[str]) -> Iterator[str]:
    for name, value in present.items():
        if name in known:
            continue
        if name.startswith(FAMILIES):
            continue
        if (reason := WITHOUT_EFFECT.get(name)) is not None:
            yield str(Remark("pod", f"{kind} {name}", value, f"has no effect: {reason}"))
        elif name in resources:
            why = f"has no effect as {'an annotation' if kind == 'annotation' else 'a label'}"
            yield str(Remark("pod", f"{kind} {name}", value, why, f"{name} under a container's limits"))
        elif (close := _nearest(name, known, _CLOSE)) is not None and name.partition("/")[0] == close.partition("/")[0]:
            yield str(Remark("pod", f"{kind} {name}", value, "unknown, has no effect", f"{kind} {close}"))


def _of_families(pod: Pod) -> Iterator[str]:
    """Yield warnings about annotations whose names begin as a vendor's do, and that mean nothing."""
    by_container = {
        f"{nvfractions.PREFIX}{container.name}{suffix}": None
        for container in pod.containers
        for suffix in nvfractions.SUFFIXES
    }
    label, value = tensor_fusion.ENABLED
    for name, text in pod.annotations.items():
        if name.startswith(nvfractions.PREFIX) and name not in by_container:
            close = _nearest(name, tuple(by_container)[:_LIKELY], 0.6) or ""
            yield str(
                Remark("pod", f"annotation {name}", text, "unknown, has no effect", close and f"annotation {close}")
            )
        elif name.startswith(tensor_fusion.PREFIX) and pod.labels.get(label) != value:
            why = "has no effect without tensor-fusion's own label"
            yield str(Remark("pod", f"annotation {name}", text, why, f'label {label}: "{value}"'))
        elif name.startswith(tensor_fusion.PREFIX) and name not in ANNOTATIONS:
            why = "has no effect: unigpu has no such setting"
            yield str(Remark("pod", f"annotation {name}", text, why, _nearest(name, ANNOTATIONS, _CLOSE) or ""))


def _misspelt(resource: str, resources: Collection[str]) -> str:
    """Return the known resources that an unknown one may mean; empty where it isn't a vendor's for a GPU."""
    domain, _, name = resource.partition("/")
    if domain not in domains(resources) or resource.startswith(SERVED_BY_OTHERS):
        return ""
    siblings = tuple(known for known in resources if known.startswith(f"{domain}/"))
    close = _nearest(resource, siblings, _CLOSE)
    if close is None and not any(stem in name for stem in STEMS):
        return ""
    return _nearest(resource, siblings, 0.6) or " or ".join(siblings)


@remembered(4096)
def _nearest(name: str, known: tuple[str, ...] | frozenset[str], similarity: float) -> str | None:
    """Return the known name that is most like this one. One that continues the other counts as nearer.

    Remembered, because it takes longer than the rest of a review, and pods of one controller have the same names.
    """
    found = difflib.get_close_matches(name, known, 5, similarity)

    def likeness(other: str) -> float:
        continues = name.startswith(other) or other.startswith(name)
        return difflib.SequenceMatcher(None, name, other).ratio() + 0.05 * continues

    return max(found, key=likeness, default=None)
