"""What moving to unigpu would change in a cluster: its GPU pods, and what else speaks vendors' names. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli import gpu_fields, text
from cli.doctor.check import Unread
from cli.doctor.evidence import name
from cli.text import Column, Style
from unigpu import errors, findings, names
from webhook.translation import decision as decisions
from webhook.translation.options import Options

API_VERSION = f"{names.DOMAIN}/moving/v1"
Json = Mapping[str, Any]

COMPONENTS = {
    "hami": "HAMi",
    "vgpu-device-plugin": "HAMi",
    "gpushare": "gpushare",
    "cgpu": "ACK cGPU",
    "gpu-manager": "gpu-manager",
    "gpu-quota-admission": "gpu-manager",
    "gpu-admission": "gpu-manager",
    "qgpu": "TKE qGPU",
    "volcano": "Volcano",
    "kai-scheduler": "KAI",
    "runai": "Run:ai",
    "koord": "Koordinator",
    "nvshare": "nvshare",
    "elastic-gpu": "elastic-gpu",
    "nvidia-device-plugin": "NVIDIA's device plugin",
    "k8s-device-plugin": "NVIDIA's device plugin",
    "gpu-operator": "NVIDIA's GPU Operator",
    "dcgm-exporter": "dcgm-exporter",
}
"""Part of a workload's name or image → what it belongs to. The first that matches counts."""

OWN_LABEL = "app.kubernetes.io/name"


@dataclass(slots=True)
class Workload:
    """Pods of one controller, or one pod without a controller."""

    title: str
    """`Kind/name` of the controller, `Pod/name` of a pod without one, in its namespace."""
    owned: bool
    """Whether a controller creates the pod again when it is deleted."""
    pods: int = 0
    dialects: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, pod: Json, options: Options) -> None:
        """Count a pod; the controller's first one stands for all in words."""
        self.pods += 1
        if self.pods > 1:
            return
        try:
            decision = decisions.decide({"metadata": pod.get("metadata"), "spec": pod.get("spec")}, options)
        except errors.Malformed as error:
            self.refusals.append(str(error))
            return
        translation = decision.translation
        if decision.denied:
            self.refusals.append(decision.denied)
        elif translation.problems:
            self.refusals.append(findings.message(translation.problems))
        self.warnings += [str(warning) for warning in translation.warnings]
        if translation.request is not None:
            self.dialects |= {str(one.dialect) for one in translation.request.containers.values()}


@dataclass(frozen=True, slots=True)
class Report:
    """The cluster before the move."""

    workloads: Sequence[Workload] | Unread
    already: int
    """Pods that unigpu has translated before."""
    components: Sequence[tuple[str, str]] | Unread
    """Product, and the workload that belongs to it."""
    webhooks: Sequence[tuple[str, str]] | Unread
    """Product, and its mutating webhook configuration."""
    nodes: Mapping[str, Mapping[str, int]] | Unread
    """Vendors' resources that nodes offer: node → resource → amount."""
    quotas: Sequence[str] | Unread
    limit_ranges: Sequence[str] | Unread


class Pods:
    """GPU pods, gathered by controller while the list is read."""

    def __init__(self, options: Options) -> None:
        """Begin; `options` say what the cluster's dialects mean."""
        self._options = options
        self._workloads: dict[str, Workload] = {}
        self.already = 0

    def add(self, pod: Json) -> None:
        """Take a pod into account, if it asks for a GPU."""
        metadata = pod.get("metadata") or {}
        if names.ANNOTATION_REQUEST in (metadata.get("annotations") or {}):
            self.already += 1
        elif gpu_fields.fields(pod):
            owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
            kind, title = (str(owner["kind"]), str(owner["name"])) if owner else ("Pod", str(metadata.get("name")))
            key = f"{metadata.get('namespace')} {kind}/{title}"
            self._workloads.setdefault(key, Workload(key, owner is not None)).add(pod, self._options)

    def workloads(self) -> list[Workload]:
        """Return the workloads by namespace and name."""
        return [self._workloads[key] for key in sorted(self._workloads)]


def component(workload: Json) -> tuple[str, str] | None:
    """Return the product that a DaemonSet or Deployment belongs to, and its title; None: not one of GPUs, or ours."""
    metadata = workload.get("metadata") or {}
    if (metadata.get("labels") or {}).get(OWN_LABEL) == "unigpu":
        return None
    pod = (((workload.get("spec") or {}).get("template") or {}).get("spec")) or {}
    images = [str(one.get("image") or "") for one in pod.get("containers") or ()]
    product = _product([str(metadata.get("name")), *images])
    return None if product is None else (product, name(workload))


def webhook(configuration: Json) -> tuple[str, str] | None:
    """Return the product that a mutating webhook configuration belongs to, and its name."""
    title = str((configuration.get("metadata") or {}).get("name"))
    product = None if title.startswith("unigpu") else _product([title])
    return None if product is None else (product, title)


def _product(texts: Iterable[str]) -> str | None:
    texts = [one.lower() for one in texts]
    return next((product for part, product in COMPONENTS.items() if any(part in one for one in texts)), None)


def offered(node: Json) -> dict[str, int]:
    """Return the vendors' resources that a node offers, but for those that it offers none of."""
    capacity = (node.get("status") or {}).get("capacity") or {}
    found = {}
    for resource, amount in capacity.items():
        if resource in gpu_fields.VENDORS and str(amount).isdigit() and int(amount):
            found[str(resource)] = int(amount)
    return found


def lines(report: Report, style: Style) -> Iterator[str]:
    """Yield the report as lines."""
    yield style.mark("GPU pods", "head")
    yield from _pods(report, style)
    yield ""
    yield style.mark("Other GPU software: ends before unigpu gives out the same GPUs", "head")
    yield from _pairs(report.components, "none that is known by its name")
    yield from _pairs(report.webhooks, "", "webhook ")
    yield ""
    yield style.mark("Vendors' resources that nodes offer", "head")
    if isinstance(report.nodes, Unread):
        yield f"  not read: {report.nodes.why}"
    else:
        yield from _nodes(report.nodes)
    for title, found in (("Quotas", report.quotas), ("Limit ranges", report.limit_ranges)):
        yield ""
        yield style.mark(f"{title} on vendors' names", "head")
        if isinstance(found, Unread):
            yield f"  not read: {found.why}"
        else:
            yield from (f"  {one}" for one in found or ["none"])


def _pods(report: Report, style: Style) -> Iterator[str]:
    if isinstance(report.workloads, Unread):
        yield f"  not read: {report.workloads.why}"
        return
    if report.already:
        yield f"  {text.count(report.already, 'pod')} of unigpu's already"
    if not report.workloads:
        yield "  none" if not report.already else "  no other"
        return
    columns = [Column("NAMESPACE"), Column("WORKLOAD", shrink=True), Column("PODS", right=True), Column("DIALECT")]
    rows = []
    for one in report.workloads:
        space, _, title = one.title.partition(" ")
        rows.append((space, title, str(one.pods), ", ".join(sorted(one.dialects)) or "?", _outcome(one)))
    for line in text.table([*columns, Column("OUTCOME")], rows, Style(style.width - 2, style.colour)):
        yield f"  {line}"
    for head, remarks in (
        ("Refused: mend these first", [(one, line) for one in report.workloads for line in one.refusals]),
        ("Warnings: what changes", [(one, line) for one in report.workloads for line in one.warnings]),
    ):
        if remarks:
            yield ""
            yield f"  {head}"
            for one, line in remarks:
                yield from text.wrap(f"{one.title}: {line}", style, "      ", first="    ")


def _outcome(workload: Workload) -> str:
    if workload.refusals:
        return "refused"
    again = "" if workload.owned else ", nobody creates it again"
    return f"translated{' with a warning' if workload.warnings else ''}{again}"


def _pairs(found: Sequence[tuple[str, str]] | Unread, none: str, prefix: str = "") -> Iterator[str]:
    if isinstance(found, Unread):
        yield f"  not read: {found.why}"
    elif not found and none:
        yield f"  {none}"
    else:
        yield from (f"  {product}: {prefix}{title}" for product, title in sorted(found))


def _nodes(nodes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    sums: dict[str, tuple[int, int]] = {}
    for offered_there in nodes.values():
        for resource, amount in offered_there.items():
            count, total = sums.get(resource, (0, 0))
            sums[resource] = count + 1, total + amount
    if not sums:
        yield "  none"
    for resource, (count, total) in sorted(sums.items()):
        yield f"  {resource}: {total} on {text.count(count, 'node')}"


def status(report: Report) -> int:
    """Return 0: every pod can move; 1: some change their meaning or can't be created again; 2: some are refused."""
    if isinstance(report.workloads, Unread) or any(one.refusals for one in report.workloads):
        return 2
    return 1 if any(one.warnings or not one.owned for one in report.workloads) else 0


def document(report: Report) -> dict[str, Any]:
    """Return the report for programs. Fields may be added; none is renamed, removed or given another meaning."""
    workloads = report.workloads
    return {
        "apiVersion": API_VERSION,
        "workloads": None
        if isinstance(workloads, Unread)
        else [
            {
                "title": one.title,
                "owned": one.owned,
                "pods": one.pods,
                "dialects": sorted(one.dialects),
                "refusals": one.refusals,
                "warnings": one.warnings,
            }
            for one in workloads
        ],
        "alreadyTranslated": report.already,
        "components": _pairs_document(report.components),
        "webhooks": _pairs_document(report.webhooks),
        "nodes": None if isinstance(report.nodes, Unread) else {key: dict(one) for key, one in report.nodes.items()},
        "quotas": None if isinstance(report.quotas, Unread) else list(report.quotas),
        "limitRanges": None if isinstance(report.limit_ranges, Unread) else list(report.limit_ranges),
    }


def _pairs_document(found: Sequence[tuple[str, str]] | Unread) -> list[dict[str, str]] | None:
    if isinstance(found, Unread):
        return None
    return [{"product": product, "name": title} for product, title in sorted(found)]
