"""Find the pods in a manifest, in whatever shape its kind has them, and put changed ones back.

Most kinds have pod templates, with `spec.containers`. Others have parts of a pod in places of their own:

    Argo Workflows      a template has one `container` or `script`, or a `containerSet`, and `metadata` next to it
    KServe              a predictor is a pod's spec, and a `model` in it is one more container
    Spark operator      driver and executor name a resource and a quantity

`unjudged` finds fields that ask for GPUs in none of these places.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import names
from webhook.translation import dialects

Place = tuple[str | int, ...]
Json = dict[str, Any]

_DEPTH = 32
"""No pod lies deeper in a document."""
_ARGO = {
    "Workflow": ("spec",),
    "WorkflowTemplate": ("spec",),
    "ClusterWorkflowTemplate": ("spec",),
    "CronWorkflow": ("spec", "workflowSpec"),
}
"""Kinds of Argo Workflows, and where their workflow is."""
_KSERVE = ("predictor", "transformer", "explainer")
_SPARK = {"SparkApplication": ("spec",), "ScheduledSparkApplication": ("spec", "template")}
_NO_PODS = frozenset(
    {
        *("Node", "ConfigMap", "Secret", "CustomResourceDefinition"),
        *("ResourceQuota", "LimitRange", "ElasticQuota", "ElasticQuotaProfile"),
        *("PodGroup", "Queue", "ClusterQueue", "LocalQueue", "Workload", "Cohort", "ResourceFlavor"),
        *("NodePool", "Provisioner", "MachineSet", "MachineDeployment", "HyperNode"),
    }
)
"""Kinds that name GPU resources and make no pods: quotas, queues, groups, nodes and what makes nodes."""


@dataclass(frozen=True, slots=True)
class FoundPod:
    """One pod of a document."""

    place: Place
    """Where it is, for people."""
    pod: Json
    """As its controller will create it, as far as the document says."""
    parts: Mapping[Place, Place] | None
    """Which part of the pod is which of the document. Empty: the pod can't be written as the document's kind has it;
    None: the pod is the place."""

    def put(self, document: Json, pod: Json) -> None:
        """Write the pod into a copy of its document."""
        if self.parts is None:
            node = at(document, self.place)
            node.clear()
            node.update(pod)
            return
        for source, target in self.parts.items():
            part = get(pod, source)
            if part is None:
                continue
            parent: Any = document
            for key in target[:-1]:
                parent = parent[key] if isinstance(key, int) else parent.setdefault(key, {})
            parent[target[-1]] = part


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A field that asks for GPUs outside every pod that could be read."""

    place: Place
    field: str
    value: str

    def __str__(self) -> str:
        return (
            f"{shown(self.place)}: {self.field} = {self.value}: in no pod that can be read here, so what becomes of it "
            "is unknown; accepted: the pods that its controller creates (kubectl get pods -o yaml)"
        )


def pods(document: Json) -> list[FoundPod]:
    """Return every pod and pod template in a document of any kind."""
    kind = document.get("kind")
    if kind == "Pod":
        return [FoundPod((), document, None)]
    found = list(_templates(document, ()))
    if kind in _ARGO:
        found += _argo(document, _ARGO[str(kind)])
    elif kind == "InferenceService":
        found += _kserve(document)
    elif kind in _SPARK:
        found += _spark(document, _SPARK[str(kind)])
    else:
        found += _bare_specs(document, (), [one.place for one in found])
    return found


def unjudged(document: Json, found: list[FoundPod]) -> list[Unjudged]:
    """Return the fields of a document that ask for GPUs and belong to none of the pods that were found."""
    if document.get("kind") in _NO_PODS:
        return []
    read = {one.place for one in found if one.parts is None}
    read |= {target for one in found for target in (one.parts or {}).values()}
    read |= {one.place for one in found if one.parts == {}}
    return list(_asking(document, (), read))


def at(document: Any, place: Place) -> Any:
    """Return the part of a document at a place that it has."""
    for key in place:
        document = document[key]
    return document


def get(document: Any, place: Place) -> Any:
    """Return the part of a document at a place; None where it has none."""
    for key in place:
        if isinstance(document, dict) and isinstance(key, str):
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
        else:
            return None
    return document


def shown(place: Place) -> str:
    """Return a place as people write it: `spec.tasks[1].template`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


def _templates(node: object, place: Place) -> Iterator[FoundPod]:
    """Yield whatever has `spec.containers`."""
    if len(place) > _DEPTH:
        return
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _templates(item, (*place, index))
    elif isinstance(node, dict):
        spec = node.get("spec")
        if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
            yield FoundPod(place, node, None)
            return
        for key, item in node.items():
            yield from _templates(item, (*place, key))


def _argo(document: Json, workflow: Place) -> Iterator[FoundPod]:
    common = get(document, (*workflow, "podMetadata"))
    for place in _argo_templates(get(document, workflow), workflow):
        yield _assembled(
            document,
            place,
            [common, get(document, (*place, "metadata"))],
            (*place, "metadata"),
            [
                *(where for key in ("container", "script") if isinstance(get(document, where := (*place, key)), dict)),
                *_each(document, (*place, "containerSet", "containers")),
                *_each(document, (*place, "sidecars")),
            ],
            list(_each(document, (*place, "initContainers"))),
            (*place, "schedulerName"),
        )


def _argo_templates(node: object, place: Place) -> Iterator[Place]:
    if len(place) > _DEPTH:
        return
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _argo_templates(item, (*place, index))
    elif isinstance(node, dict):
        if any(isinstance(node.get(key), dict) for key in ("container", "script", "containerSet")):
            yield place
            return
        for key, item in node.items():
            yield from _argo_templates(item, (*place, key))


def _kserve(document: Json) -> Iterator[FoundPod]:
    for component in _KSERVE:
        place: Place = ("spec", component)
        spec = get(document, place)
        if not isinstance(spec, dict):
            continue
        whole = (document.get("metadata"), spec)
        models = [(*place, key) for key, part in spec.items() if isinstance(part, dict) and "resources" in part]
        containers = [*_each(document, (*place, "containers")), *models]
        if containers:
            init = list(_each(document, (*place, "initContainers")))
            yield _assembled(document, place, whole, place, containers, init, (*place, "schedulerName"))
        yield from _bare_specs(get(document, (*place, "workerSpec")), (*place, "workerSpec"), [])


def _spark(document: Json, application: Place) -> Iterator[FoundPod]:
    for role in ("driver", "executor"):
        place = (*application, role)
        gpu = get(document, (*place, "gpu"))
        if isinstance(gpu, dict) and gpu.get("name") is not None:
            limits = {str(gpu["name"]): gpu.get("quantity")}
            container = {"name": f"spark-kubernetes-{role}", "resources": {"limits": limits}}
            part = get(document, place)
            metadata = {key: part[key] for key in ("labels", "annotations") if isinstance(part.get(key), dict)}
            yield FoundPod((*place, "gpu"), {"metadata": metadata, "spec": {"containers": [container]}}, {})


def _bare_specs(node: object, place: Place, read: list[Place]) -> Iterator[FoundPod]:
    """Yield pods' specs that stand under other names than `spec`: `template: {containers: […]}`."""
    if len(place) > _DEPTH or place in read:
        return
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _bare_specs(item, (*place, index), read)
    elif isinstance(node, dict):
        containers = node.get("containers")
        if isinstance(containers, list) and any(isinstance(one, dict) and "resources" in one for one in containers):
            yield FoundPod(place, {"spec": node}, {("spec",): place})
            return
        for key, item in node.items():
            yield from _bare_specs(item, (*place, key), read)


def _each(document: Json, place: Place) -> Iterator[Place]:
    found = get(document, place)
    for index, item in enumerate(found if isinstance(found, list) else ()):
        if isinstance(item, dict):
            yield (*place, index)


def _assembled(
    document: Json,
    place: Place,
    metadata: "list[Any] | tuple[Any, ...]",
    notes: Place,
    containers: list[Place],
    init: list[Place],
    scheduler: Place,
) -> FoundPod:
    """Return a pod of parts: metadata from several places, of which the later count, and containers one by one."""
    labels: Json = {}
    annotations: Json = {}
    for one in metadata:
        if isinstance(one, dict):
            labels |= one.get("labels") or {}
            annotations |= one.get("annotations") or {}
    spec: Json = {"containers": [{"name": f"{place[-1]}", **at(document, place)} for place in containers]}
    if init:
        spec["initContainers"] = [at(document, place) for place in init]
    if isinstance(name := get(document, scheduler), str):
        spec["schedulerName"] = name
    parts: dict[Place, Place] = {("spec", "containers", index): one for index, one in enumerate(containers)}
    parts |= {("spec", "initContainers", index): one for index, one in enumerate(init)}
    parts |= {("metadata", "annotations"): (*notes, "annotations"), ("spec", "schedulerName"): scheduler}
    return FoundPod(place, {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}, parts)


def _asking(node: object, place: Place, read: set[Place]) -> Iterator[Unjudged]:
    if len(place) > _DEPTH or place in read:
        return
    if isinstance(node, str):
        # Text with a manifest in it: a patch, or an object that a workflow creates.
        named = next((name for name in _VENDORS if name in node), None) if "\n" in node or "{" in node else None
        if named is not None:
            yield Unjudged(place, named, "…")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _asking(item, (*place, index), read)
    elif isinstance(node, dict):
        for key, item in node.items():
            if key in _VENDORS and not isinstance(item, dict | list):
                yield Unjudged(place, key, str(item))
            else:
                yield from _asking(item, (*place, key), read)


_VENDORS = frozenset(dialects.OF_RESOURCE) | frozenset(names.UNIFIED_RESOURCES)
