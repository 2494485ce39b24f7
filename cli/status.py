"""`kubectl unigpu status`: which containers share which GPU, from the API server's objects alone. Pure."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import allocations, documents, errors, gpus, limits, names, requests
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One container's share of a GPU."""

    namespace: str
    pod: str
    container: str
    share: Share
    """With limits that were changed since."""
    ceiling: Percent = Percent(0)
    """Above the share where idle time is lent to it; else 0."""
    changed: bool = False
    """Whether its limits aren't those of its request."""
    in_force: bool = True
    """Whether the node agent says that they are."""
    held: MiB = MiB(0)
    """MiB in use on the GPU where that is more than the limit; else 0."""


@dataclass(frozen=True, slots=True)
class GpuTenants:
    """A GPU and the containers that share it."""

    node: str
    gpu: Gpu
    tenants: tuple[Tenant, ...]


def gpu_tenants(nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> tuple[GpuTenants, ...]:
    """Return every GPU of the nodes, by node and index. An object or annotation that can't be read counts as absent."""
    tenants: dict[tuple[str, str], list[Tenant]] = {}
    for pod in pods:
        with contextlib.suppress(*documents.INVALID):
            for node, tenant in list(_tenants(pod)):
                tenants.setdefault((node, tenant.share.gpu), []).append(tenant)
    return tuple(
        GpuTenants(node, gpu, tuple(tenants.get((node, gpu.uuid), ())))
        for node, found in sorted(_inventory(nodes))
        for gpu in sorted(found, key=lambda gpu: gpu.index)
    )


def table(found: Iterable[GpuTenants]) -> str:
    """Return the GPUs as aligned text: a line for each container, and one for each empty GPU."""
    rows = [("NODE", "GPU", "MODEL", "MEMORY (MiB)", "CORES", "LIMITS", "POD", "CONTAINER")]
    for one in found:
        model = one.gpu.model if one.gpu.healthy else f"{one.gpu.model} (unhealthy)"
        head = (one.node, str(one.gpu.index), model)
        if not one.tenants:
            rows.append((*head, f"0/{one.gpu.memory}", "0 %", "-", "-", "-"))
        for tenant in one.tenants:
            pod = f"{tenant.namespace}/{tenant.pod}"
            rows.append((*head, *_amounts(tenant, one.gpu), _state(tenant), pod, tenant.container))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _amounts(tenant: Tenant, gpu: Gpu) -> tuple[str, str]:
    share = tenant.share
    if share.whole:
        return f"{gpu.memory}/{gpu.memory}", "whole"
    memory = str(share.memory) if share.memory else "any"
    cores = f"{share.cores} %" if share.cores else "any"
    if tenant.ceiling > share.cores:
        cores = f"{share.cores} to {tenant.ceiling} %"
    return f"{memory}/{gpu.memory}", cores


def _state(tenant: Tenant) -> str:
    """Where the container's limits come from, and whether they are in force."""
    if not tenant.in_force:
        return "changed, not in force yet" if tenant.changed else "as requested, not in force yet"
    held = f", {tenant.held} MiB still held" if tenant.held else ""
    return ("changed" if tenant.changed else "as requested") + held


def _tenants(pod: Mapping[str, Any]) -> Iterator[tuple[str, Tenant]]:
    metadata = pod.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    text = annotations.get(names.ANNOTATION_ALLOCATION)
    if text is None or (pod.get("status") or {}).get("phase") in _ENDED:
        return
    try:
        allocation = allocations.load(text)
    except errors.Malformed:
        return
    try:
        asked = requests.load(annotations.get(names.ANNOTATION_REQUEST, "")).containers
        wanted = limits.from_annotations(annotations, asked)
        applied = limits.load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
    except errors.Malformed:
        asked, wanted, applied = {}, {}, limits.NOTHING_APPLIED
    unknown = Request(gpus=1)
    for container, shares in allocation.containers.items():
        request, limit = asked.get(container, unknown), wanted.get(container)
        becomes = limits.effective(request, limit)
        unthrottled = becomes.policy is ComputePolicy.UNLIMITED
        for share in limits.shares(request, shares, limit):
            yield (
                allocation.node,
                Tenant(
                    metadata.get("namespace", ""),
                    metadata.get("name", ""),
                    container,
                    share,
                    ceiling=Percent(100 if unthrottled and share.cores else becomes.ceiling),
                    changed=limit is not None,
                    in_force=limit == applied.limits.get(container),
                    held=applied.held.get(container, {}).get(share.gpu, MiB(0)),
                ),
            )


def _inventory(nodes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[Gpu, ...]]]:
    for node in nodes:
        metadata = node.get("metadata") or {}
        text = (metadata.get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
        if text is not None:
            try:
                yield metadata.get("name", ""), gpus.load(text)
            except errors.Malformed:
                continue
