"""Warn of names that are one letter away from one that is read: resources, annotations, labels and variables.

`unsupported` judges by similarity and within a domain. This is the rest of it: other domains (`nvida.com/gpu`), short
names, variables, and a namespace's annotations and labels.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from unigpu import names
from unigpu.findings import Remark
from unigpu.remembered import remembered
from webhook.translation import isolation, unsupported
from webhook.translation.dialects import alibaba, hami, per_gpu
from webhook.translation.pods import Pod

SWITCHES = (*isolation.SWITCHES, per_gpu.UTILIZATION_POLICY)
"""Variables that mean something only for a container with a GPU."""
READ = frozenset({*unsupported.ANNOTATIONS, *unsupported.WITHOUT_EFFECT}) - {"gpu-memory"}
"""Annotations that mean something only for a pod with a GPU. KAI's `gpu-memory` has a warning of its own."""
VARIABLES = (*isolation.SWITCHES, per_gpu.UTILIZATION_POLICY, names.ENV_MEMORY_LIMIT, names.ENV_CORE_LIMIT)
"""Variables that admission or libvgpu reads."""
PLATFORM = (names.ANNOTATION_LIMITS,)
"""The platform's annotation that people write."""
_ANNOTATIONS = frozenset({*unsupported.ANNOTATIONS, *unsupported.WITHOUT_EFFECT, *PLATFORM})
"""Annotations that people write: vendors', and the platform's."""
OF_NAMESPACES = (
    names.ANNOTATION_DEFAULT_MEMORY,
    names.ANNOTATION_DEFAULT_CORES,
    names.ANNOTATION_MAX_GPUS,
    names.ANNOTATION_MAX_MEMORY,
    names.ANNOTATION_MAX_CORES,
    names.ANNOTATION_ISOLATION,
)
"""Annotations of namespaces that are rules for their pods."""
NAMESPACE_LABELS = ("hami.io/webhook",)
"""Labels of namespaces that are read."""
GAP = 9
"""Letters at most between the two parts of a frame: the span, one on each side of it, and one that is too many."""
_SPAN = 6
_WHY = "unknown, has no effect"
_REMEMBERED = 4096
"""Names whose likeness is remembered: pods of one controller have the same ones."""
_WITHOUT_GPU = "has no effect without a request for a GPU"


def warnings(pod: Pod, resources: Collection[str], said: Collection[str]) -> Iterator[str]:
    """Yield warnings about the pod's own names; `said` are those that other checks have given already.

    `resources`: those that the cluster's dialects know.
    """
    every = tuple(resources)
    for container in pod.containers:
        where = f"container {container.name}"
        for resource in sorted(container.limits.keys() | container.requests.keys()):
            if (known := _remembered(resource, every)) and not _is_in(f"{resource} = ", said):
                yield str(Remark(where, resource, container.value(resource), unsupported.NOT_OFFERED, known))
        for variable in container.env:
            if known := _remembered(_without_index(variable), VARIABLES):
                yield str(Remark(where, f"env {variable}", container.env[variable] or "", _WHY, f"env {known}"))
    count = pod.labels.get(alibaba.COUNT)
    if count is not None and not any(container.has(names.ALIYUN_GPU_MEM) for container in pod.containers):
        why = f"has no effect without {names.ALIYUN_GPU_MEM}"
        yield str(Remark("pod", f"label {alibaba.COUNT}", count, why))
    for kind, present, read in (
        ("annotation", pod.annotations, _ANNOTATIONS),
        ("label", pod.labels, unsupported.LABELS),
    ):
        for name, value in present.items():
            if (known := _remembered(name, read)) and not _is_in(f"{kind} {name} = ", said):
                yield str(Remark("pod", f"{kind} {name}", value, _WHY, f"{kind} {known}"))


def without_gpu(pod: Pod, resources: Collection[str]) -> Iterator[str]:
    """Yield warnings about a pod that asks for no GPU, and has annotations and labels for one that does."""
    if any(container.has(resource) for container in pod.containers for resource in resources):
        return
    for kind, present, read in (
        ("annotation", pod.annotations, READ - unsupported.WITHOUT_EFFECT.keys()),
        ("label", pod.labels, unsupported.LABELS - {hami.LABEL_IGNORE[0], alibaba.COUNT}),
    ):
        for name in sorted(read & present.keys()):
            yield str(Remark("pod", f"{kind} {name}", present[name], _WITHOUT_GPU))
    for container in pod.containers:
        if per_gpu.UTILIZATION_POLICY in container.env:
            value = container.env[per_gpu.UTILIZATION_POLICY] or ""
            yield str(Remark(f"container {container.name}", f"env {per_gpu.UTILIZATION_POLICY}", value, _WITHOUT_GPU))


def of_namespace(annotations: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
    """Yield warnings about a namespace's names."""
    for kind, present, read in (("annotation", annotations, OF_NAMESPACES), ("label", labels, NAMESPACE_LABELS)):
        for name, value in present.items():
            if known := nearest(name, read):
                yield str(Remark("namespace", f"{kind} {name}", value, _WHY, f"{kind} {known}"))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is one letter away: added, missing, another, or exchanged with the next one.

    Empty where there is none, or where the name itself is known.
    """
    found = ""
    for one in known:
        if one == name:
            return ""
        if not found and abs(len(one) - len(name)) <= 1 and _one_letter(name, one):
            found = one
    return found


def frames(name: str, stems: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return beginnings and ends of a name, of which a name that is one letter away has at least one pair.

    With `stems`, such a name has a pair or still one of these stems. The letters between a pair are at most `GAP`.
    """
    places = [(at, at + len(stem)) for stem in stems for at in range(len(name)) if name.startswith(stem, at)]
    if len(places) > 1:
        return []
    spans = places or [(at, min(at + _SPAN, len(name))) for at in range(0, len(name), _SPAN)]
    # A letter may be exchanged with the one before the span, or with the one after it.
    return [(name[: max(0, start - 1)], name[end + 1 :]) for start, end in spans]


@remembered(_REMEMBERED)
def _remembered(name: str, known: tuple[str, ...] | frozenset[str]) -> str:
    return nearest(name, known)


def _one_letter(wrong: str, right: str) -> bool:
    first = next((at for at, pair in enumerate(zip(wrong, right, strict=False)) if pair[0] != pair[1]), None)
    if first is None:
        return len(wrong) != len(right)
    rest, meant = wrong[first:], right[first:]
    if len(wrong) != len(right):
        return rest[1:] == meant if len(wrong) > len(right) else rest == meant[1:]
    return rest[1:] == meant[1:] or (rest[:2] == meant[1::-1] and rest[2:] == meant[2:])


def _without_index(variable: str) -> str:
    """`CUDA_DEVICE_MEMORY_LIMIT_0` is the variable of one GPU."""
    stem, _, index = variable.rpartition("_")
    return stem if index.isdecimal() and stem else variable


def _is_in(text: str, said: Collection[str]) -> bool:
    return any(text in line for line in said)
