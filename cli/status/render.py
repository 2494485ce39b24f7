"""The view as text: a tree that fits a terminal, or one line for each container. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from cli import text
from cli.status.pending import STARTING
from cli.status.tenants import Tenant
from cli.status.view import GpuView, NodeView, Sums, View
from cli.text import Column, Style
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode

_TREE = (
    Column("NODE, GPU, CONTAINER", shrink=True, overflow=True),
    Column("MEMORY", right=True),
    Column("FREE", right=True),
    Column("CORES", right=True),
    Column("SHARES", right=True),
)
_WIDE = tuple(
    Column(head)
    for head in (
        "NODE",
        "GPU",
        "UUID",
        "MODEL",
        "MEMORY (MiB)",
        "CORES",
        "LIMITS",
        "POD",
        "CONTAINER",
        "DIALECT",
        "HEALTH",
    )
)
BY = ("container", "gpu", "node")
"""How far the tree goes down."""


def tree(view: View, style: Style, now: datetime, by: str = "container") -> Iterator[str]:
    """Yield the lines of the table that people read: each node, its GPUs and their containers, with sums."""
    for note in view.notes:
        yield from text.wrap(note, style, first="Note: ")
    of_nodes = [node.sums for node in view.nodes]
    yield from summary(view, Sums.over(of_nodes), style)
    if view.nodes:
        yield ""
        yield from _tree(view, of_nodes, style, by)
    yield from pending(view, style, now)


def _tree(view: View, of_nodes: Sequence[Sums], style: Style, by: str) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    remarks: dict[int, list[tuple[str, str]]] = {}

    def remark(said: Iterator[tuple[str, str]]) -> None:
        if found := list(said):
            remarks[len(rows)] = found

    for node, sums in zip(view.nodes, of_nodes, strict=True):
        rows.append(_node_row(node, sums, view))
        remark(_node_remarks(node))
        for one in node.gpus if by != "node" else ():
            rows.append(_gpu_row(one, view))
            remark(_gpu_remarks(one))
            for tenant in one.tenants if by == "container" else ():
                rows.append(_tenant_row(tenant))
                if tenant.changed or tenant.held or not tenant.in_force:
                    remark(_tenant_remarks(tenant))
    for number, line in enumerate(text.table(_TREE, rows, style)):
        yield line
        for kind, said in remarks.get(number, ()):
            indent = " " * (len(rows[number - 1][0]) - len(rows[number - 1][0].lstrip()) + 2)
            first = indent + ("" if kind == "dim" else "! ")
            yield from (style.mark(part, kind) for part in text.wrap(said, style, indent + "  ", first=first))


def summary(view: View, sums: Sums, style: Style) -> Iterator[str]:
    """Yield one sentence on all GPUs, whose sums these are, and one on what needs a person."""
    if not view.nodes:
        if view.complete:
            yield from text.wrap(
                f"No GPUs{_where(view)}: no node has an inventory of GPUs. Is the node agent running? "
                "`kubectl unigpu doctor` finds out."
                if not view.namespace
                else f"No GPUs{_where(view)}.",
                style,
            )
        else:
            yield from text.wrap(f"No container{_where(view)} has a GPU.", style)
        return
    head = f"{text.count(len(view.nodes), 'node')}, {text.count(sums.gpus, 'GPU')}{_where(view)}: "
    if view.complete:
        granted = f"{text.part(sums.granted, sums.memory)} granted{_percent(sums.granted, sums.memory)}, "
        head += f"{granted}{text.memory(sums.free)} free, {_percentage(sums)} % of compute granted, "
    else:
        head += f"{text.memory(sums.granted)} and compute of {sums.cores_granted} % of a GPU granted, "
    yield from text.wrap(head + text.count(sums.shares, "share") + ".", style)
    trouble = [text.count(sums.unhealthy, "unhealthy GPU")] if sums.unhealthy and view.complete else []
    closed = sum(not node.open for node in view.nodes)
    trouble += [f"{text.count(closed, 'node')} that {'takes' if closed == 1 else 'take'} no pods"] if closed else []
    trouble += [text.count(len(view.pending), "pending pod")] if view.pending else []
    if trouble:
        yield from (style.mark(line, "warn") for line in text.wrap(f"Attention: {', '.join(trouble)}.", style))


def pending(view: View, style: Style, now: datetime) -> Iterator[str]:
    """Yield the pods that wait, each with its reason."""
    if not view.pending:
        return
    yield ""
    yield style.mark("PENDING", "head")
    for pod in view.pending:
        since = text.age(pod.since, now)
        about = f"{pod.namespace}/{pod.name}{f', for {since}' if since else ''}: {pod.asks}"
        yield from text.wrap(about, style, "  ", first="")
        reason = f"{pod.reason}: {pod.message}" if pod.message else pod.reason
        if pod.reason == STARTING:
            yield from text.wrap(reason, style, "    ", first="  ")
        else:
            yield from (style.mark(line, "warn") for line in text.wrap(reason, style, "    ", first="  ! "))


def wide(view: View, style: Style) -> Iterator[str]:
    """Yield a line for each container, and for each GPU without any, with whole names."""
    rows = []
    for node in view.nodes:
        for one in node.gpus:
            gpu = one.gpu
            head = (node.name, "?" if gpu is None else str(gpu.index), one.uuid, gpu.model if gpu else "?")
            total = "?" if gpu is None else str(gpu.memory)
            if not one.tenants:
                rows.append((*head, f"0/{total}", "0 %", "-", "-", "-", "-", _health(one)))
            for tenant in one.tenants:
                memory, cores = _exact(tenant, total)
                pod = f"{tenant.namespace}/{tenant.pod}"
                about = (tenant.state, pod, tenant.container, tenant.dialect or "-")
                rows.append((*head, memory, cores, *about, _health(one)))
    safe = [tuple(map(text.safe, row)) for row in rows]
    yield from text.table(_WIDE, safe, Style(colour=style.colour))


def _exact(tenant: Tenant, total: str) -> tuple[str, str]:
    share = tenant.share
    if share.whole:
        return f"{total}/{total}", "whole"
    return f"{share.memory or 'any'}/{total}", _cores(tenant, " %", " to ")


def _cores(tenant: Tenant, unit: str, to: str) -> str:
    if tenant.ceiling > tenant.share.cores:
        return f"{tenant.share.cores}{to}{tenant.ceiling}{unit}"
    return f"{tenant.share.cores}{unit}" if tenant.share.cores else "any"


def _node_row(node: NodeView, sums: Sums, view: View) -> tuple[str, ...]:
    free = text.memory(sums.free) if view.complete else "?"
    return (text.safe(node.name), text.part(sums.granted, sums.memory), free, *_compute(sums))


def _compute(sums: Sums) -> tuple[str, str]:
    return f"{sums.cores_granted}/{sums.cores} %", str(sums.shares)


def _gpu_row(one: GpuView, view: View) -> tuple[str, ...]:
    name = f"  {one.gpu.index} {one.gpu.model}" if one.gpu else f"  {one.uuid}"
    granted = text.part(one.taken.memory, one.gpu.memory) if one.gpu else text.memory(one.taken.memory)
    free = text.memory(one.free) if view.complete else "?"
    return (text.safe(name), granted, free, f"{one.taken.cores}/100 %", str(one.taken.shares))


def _tenant_row(tenant: Tenant) -> tuple[str, ...]:
    share = tenant.share
    memory = text.memory(share.memory) if share.memory else "any"
    cores = "whole" if share.whole else _cores(tenant, " %", "-")
    return (text.safe(f"    {tenant.namespace}/{tenant.pod} {tenant.container}"), memory, "", cores, "")


def _node_remarks(node: NodeView) -> Iterator[tuple[str, str]]:
    if not node.open:
        yield "fail" if "NotReady" in node.condition else "warn", f"{node.condition}: it takes no new pods"
    if node.problem:
        yield "fail", node.problem
    if node.mode is not NodeMode.MIXED:
        yield "dim", f"mode {node.mode}"
    if node.walls is not None:
        yield "dim", f"walls: {', '.join(node.walls.standing)}"


def _gpu_remarks(one: GpuView) -> Iterator[tuple[str, str]]:
    if one.gpu is None:
        if one.taken.shares:
            yield "warn", "the node's inventory doesn't have this GPU"
    elif not one.gpu.healthy:
        yield "fail", f"unhealthy: {fault(one.gpu)}"
    if one.cordon is not None:
        since = f" since {one.cordon.since}" if one.cordon.since else ""
        reason = f": {one.cordon.reason}" if one.cordon.reason else ""
        yield "warn", f"cordoned{since}{reason}: it takes no new pods"
    if one.gpu is not None and one.gpu.foreign:
        yield "fail", f"{text.memory(one.gpu.foreign)} in use without a grant"
    if one.gpu is not None and (one.taken.memory > one.gpu.memory or one.taken.cores > 100):
        yield "fail", "more is granted than the GPU has"


def _tenant_remarks(tenant: Tenant) -> Iterator[tuple[str, str]]:
    if not tenant.in_force or tenant.held:
        yield "warn", f"limits {tenant.state}"
    elif tenant.changed:
        yield "dim", f"limits {tenant.state}"


def fault(gpu: Gpu) -> str:
    """Return why the GPU is unhealthy, and since when."""
    if gpu.fault is None:
        return "the node agent gives no reason"
    since = f", since {gpu.fault.since}" if gpu.fault.since else ""
    reset = "; it lasts until the GPU is reset" if gpu.fault.epoch else ""
    return f"{gpu.fault.reason}{since}{reset}"


def _health(one: GpuView) -> str:
    if one.gpu is None:
        return "not in the inventory"
    return "ok" if one.gpu.healthy else f"unhealthy: {fault(one.gpu)}"


def _percentage(sums: Sums) -> int:
    return sums.cores_granted * 100 // sums.cores if sums.cores else 0


def _percent(part: int, total: int) -> str:
    return f" ({part * 100 // total} %)" if total else ""


def _where(view: View) -> str:
    return f" with containers of namespace {view.namespace}" if view.namespace else ""
