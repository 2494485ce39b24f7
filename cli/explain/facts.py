"""What is asked, translated, placed, enforced and held, with the source of each number. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli import limit, translate
from cli.explain.report import Fact, Section
from cli.status import pending
from unigpu import allocations, errors, gpus, limits, modes, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.limits import Applied, Limits
from unigpu.requests import Request
from unigpu.units import GpuUuid

_RULES = (
    names.ANNOTATION_DEFAULT_MEMORY,
    names.ANNOTATION_DEFAULT_CORES,
    names.ANNOTATION_MAX_GPUS,
    names.ANNOTATION_MAX_MEMORY,
    names.ANNOTATION_MAX_CORES,
    names.ANNOTATION_ISOLATION,
)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of which a pod is explained. None: it may not be read, or there is none."""

    pod: Json
    node: Json | None = None
    """The node that the pod is bound to."""
    namespace: Json | None = None
    events: tuple[Json, ...] = field(default=())


def sections(found: Objects) -> Iterator[Section]:
    """Yield the explanation of the pod as it is: one section for the pod, and one for each container with a GPU."""
    metadata, spec, status = (found.pod.get(key) or {} for key in ("metadata", "spec", "status"))
    annotations = metadata.get("annotations") or {}
    phase = str(status.get("phase") or "unknown")
    bound = spec.get("nodeName")
    about = [Fact("phase", f"{phase}{f' on node {bound}' if bound else ', on no node yet'}", "status of the pod")]
    about += [Fact("scheduler", str(spec.get("schedulerName") or "default-scheduler"), "schedulerName of the pod")]
    try:
        asked = _requests(annotations)
    except errors.Malformed as error:
        about.append(Fact("translated", str(error), f"annotation {names.ANNOTATION_REQUEST}", "fail"))
        asked = {}
    if names.ANNOTATION_REQUEST not in annotations:
        fields = pending.asked(found.pod)
        said = f"the pod asks for {fields}, and the webhook never saw it" if fields else "the pod asks for no GPU"
        about.append(Fact("translated", said, f"no annotation {names.ANNOTATION_REQUEST}", "fail" if fields else ""))
    about += _namespace(found.namespace, str(metadata.get("namespace") or ""))
    yield Section(f"Pod {metadata.get('namespace')}/{metadata.get('name')}", tuple(about))
    placed, problem = _placed(annotations, bound)
    if problem:
        yield Section("Placement", (Fact("placed", problem, f"annotation {names.ANNOTATION_ALLOCATION}", "fail"),))
    for name, request in asked.items():
        facts = [*_request(request), *_totals(found.pod, name), *_placement(name, placed, found.node)]
        yield Section(f"Container {name}", (*facts, *_limits(name, request, annotations, asked, found, placed)))


def _requests(annotations: Mapping[str, str]) -> Mapping[str, Request]:
    text = annotations.get(names.ANNOTATION_REQUEST)
    return {} if text is None else requests.load(text).containers


def _request(request: Request) -> Iterator[Fact]:
    fields = ", ".join(f"{name} = {value}" for name, value in sorted(request.original_fields.items()))
    if fields:
        yield Fact("asked", fields, f"the author's fields of dialect {request.dialect}, kept by the webhook")
    switched = "" if request.isolated else "; the author switched isolation off"
    source = f"annotation {names.ANNOTATION_REQUEST}, by the webhook"
    yield Fact("translated", f"{translate.describe(request)}; compute policy {request.policy}{switched}", source)


def _totals(pod: Json, container: str) -> Iterator[Fact]:
    spec = pod.get("spec") or {}
    for one in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if one.get("name") == container:
            asked = (one.get("resources") or {}).get("limits") or {}
            parts = [f"{name} = {asked[name]}" for name in names.UNIFIED_RESOURCES if name in asked]
            if parts:
                source = "limits of the container, by the webhook; kube-scheduler and ResourceQuota count these"
                yield Fact("counted", ", ".join(parts), source)


def _namespace(namespace: Json | None, name: str) -> Iterator[Fact]:
    if namespace is None:
        yield Fact("namespace", "its defaults and maxima aren't known", f"you may not read namespace {name}")
        return
    annotations = (namespace.get("metadata") or {}).get("annotations") or {}
    rules = [f"{rule} = {annotations[rule]}" for rule in _RULES if rule in annotations]
    source = f"annotations of namespace {name} as they are now; they apply when a pod is created"
    yield Fact("namespace", ", ".join(rules) or "sets no defaults and no maxima", source)


def _placed(annotations: Mapping[str, str], bound: str | None) -> tuple[Allocation | None, str]:
    text = annotations.get(names.ANNOTATION_ALLOCATION)
    if text is None:
        return None, ""
    try:
        placed = allocations.load(text)
    except errors.Malformed as error:
        return None, str(error)
    if bound and placed.node != bound:
        return placed, f"the allocation is for node {placed.node}, and the pod is on {bound}: it counts nowhere"
    return placed, ""


def _placement(name: str, placed: Allocation | None, node: Json | None) -> Iterator[Fact]:
    if placed is None:
        return
    known = inventory(node)
    source = f"annotation {names.ANNOTATION_ALLOCATION}, by the scheduler"
    for share in placed.containers.get(name, ()):
        yield Fact("placed", f"{amounts(share)} of {gpu_title(share.gpu, known)} on node {placed.node}", source)


def _limits(
    name: str,
    request: Request,
    annotations: Mapping[str, str],
    asked: Mapping[str, Request],
    found: Objects,
    placed: Allocation | None,
) -> Iterator[Fact]:
    wanted: Limits = {}
    applied: Applied = limits.NOTHING_APPLIED
    try:
        wanted = limits.from_annotations(annotations, asked)
    except errors.Malformed as error:
        yield Fact("limits", str(error), f"annotation {names.ANNOTATION_LIMITS}: it has no effect", "warn")
    try:
        applied = limits.load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
    except errors.Malformed as error:
        yield Fact("enforced", str(error), f"annotation {names.ANNOTATION_LIMITS_APPLIED}", "warn")
    labels = _labels(found.node)
    on_node = modes.on_node(request, labels)
    if name in wanted:
        source = f"annotation {names.ANNOTATION_LIMITS}, by people"
        waits = "" if wanted.get(name) == applied.limits.get(name) else "; not in force yet"
        said = limit.held_to(limits.effective(on_node, wanted[name]))
        yield Fact("wanted", said + waits, source, "warn" if waits else "")
    if placed is None:
        return
    now = limits.effective(on_node, applied.limits.get(name))
    yield Fact(
        "enforced", f"{limit.held_to(now)}{_enforcement(request, found.node)}", _origin(name, applied, labels, request)
    )
    known = inventory(found.node)
    for gpu, amount in applied.held.get(name, {}).items():
        said = (
            f"{amount} MiB of {gpu_title(gpu, known)}, more than the limit: it can't allocate more until it frees some"
        )
        yield Fact("held", said, f"annotation {names.ANNOTATION_LIMITS_APPLIED}, by the node agent", "warn")


def _origin(name: str, applied: Applied, labels: Mapping[str, str], request: Request) -> str:
    if name in applied.limits:
        return f"annotation {names.ANNOTATION_LIMITS_APPLIED}, by the node agent"
    if modes.on_node(request, labels) != request:
        return f"as translated, with the node's label {names.LABEL_QGPU_POLICY}"
    return "as translated"


def _enforcement(request: Request, node: Json | None) -> str:
    """Return what the node leaves open, in words."""
    if node is None or request.whole or not request.isolated:
        return ""
    labels = _labels(node)
    mode = modes.from_labels(labels)
    enforced = modes.enforcement(mode, labels, request)
    missing = [what for what, on in (("memory", enforced.memory), ("compute", enforced.cores)) if not on]
    if not missing:
        return ""
    why = (
        f"label {names.LABEL_CGPU_DISABLE_ISOLATION}"
        if labels.get(names.LABEL_CGPU_DISABLE_ISOLATION) == "true"
        else f"mode {mode}"
    )
    return f"; {' and '.join(missing)} only counted on this node, not enforced ({why})"


def _labels(node: Json | None) -> Mapping[str, str]:
    found: Mapping[str, str] = ((node or {}).get("metadata") or {}).get("labels") or {}
    return found


def inventory(node: Json | None) -> Mapping[GpuUuid, Gpu]:
    """Return the node's GPUs by UUID; none where the inventory can't be read."""
    text = (((node or {}).get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    try:
        return {} if text is None else {gpu.uuid: gpu for gpu in gpus.load(text)}
    except errors.Malformed:
        return {}


def gpu_title(uuid: GpuUuid, known: Mapping[GpuUuid, Gpu]) -> str:
    """Return `GPU 0 (GPU-…, NVIDIA A10, 24576 MiB)`."""
    gpu = known.get(uuid)
    if gpu is None:
        return f"GPU {uuid}"
    healthy = "" if gpu.healthy else ", unhealthy"
    return f"GPU {gpu.index} ({uuid}, {gpu.model}, {gpu.memory} MiB{healthy})"


def amounts(share: Share) -> str:
    """Return a share in words: `3072 MiB and 30 %`."""
    if share.whole:
        return "all"
    memory = f"{share.memory} MiB" if share.memory else "memory without limit"
    return f"{memory} and {share.cores} % of compute" if share.cores else f"{memory}, compute without a share,"


def events(found: Objects, most: int = 6) -> Iterator[Section]:
    """Yield the pod's latest events, the oldest of them first."""

    def moment(event: Json) -> str:
        return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")

    latest = sorted(found.events, key=moment)[-most:]
    if latest:
        facts = [
            Fact("", f"{moment(one)} {one.get('reason')}: {one.get('message')}", kind=_severity(one)) for one in latest
        ]
        yield Section("Latest events", tuple(facts))


def _severity(event: Json) -> str:
    return "warn" if event.get("type") == "Warning" else ""
