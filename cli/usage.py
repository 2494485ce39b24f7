"""`kubectl unigpu status`: who has which GPU, from the API server's objects alone. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import allocations, errors, gpus, names
from unigpu.allocations import Share
from unigpu.gpus import Gpu

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One container's share of a card."""

    namespace: str
    pod: str
    container: str
    share: Share


@dataclass(frozen=True, slots=True)
class Card:
    """A card and who is on it."""

    node: str
    gpu: Gpu
    tenants: tuple[Tenant, ...]


def cards(nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> tuple[Card, ...]:
    """Every card of the nodes, by node and index. What isn't understood counts as absent."""
    tenants: dict[tuple[str, str], list[Tenant]] = {}
    for pod in pods:
        for node, tenant in _tenants(pod):
            tenants.setdefault((node, tenant.share.gpu), []).append(tenant)
    return tuple(
        Card(node, gpu, tuple(tenants.get((node, gpu.uuid), ())))
        for node, found in sorted(_inventory(nodes))
        for gpu in sorted(found, key=lambda gpu: gpu.index)
    )


def table(found: Iterable[Card]) -> str:
    """The cards as aligned text: a line for each container, and one for each empty card."""
    rows = [("NODE", "GPU", "MODEL", "MEMORY (MiB)", "CORES", "POD", "CONTAINER")]
    for card in found:
        model = card.gpu.model if card.gpu.healthy else f"{card.gpu.model} (unhealthy)"
        head = (card.node, str(card.gpu.index), model)
        if not card.tenants:
            rows.append((*head, f"0/{card.gpu.memory}", "0 %", "-", "-"))
        for tenant in card.tenants:
            memory, cores = _amounts(tenant.share, card.gpu)
            rows.append((*head, memory, cores, f"{tenant.namespace}/{tenant.pod}", tenant.container))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _amounts(share: Share, gpu: Gpu) -> tuple[str, str]:
    if share.whole:
        return f"{gpu.memory}/{gpu.memory}", "whole"
    memory = str(share.memory) if share.memory else "any"
    return f"{memory}/{gpu.memory}", f"{share.cores} %" if share.cores else "any"


def _tenants(pod: Mapping[str, Any]) -> Iterator[tuple[str, Tenant]]:
    metadata = pod.get("metadata") or {}
    text = (metadata.get("annotations") or {}).get(names.ANNOTATION_ALLOCATION)
    if text is None or (pod.get("status") or {}).get("phase") in _ENDED:
        return
    try:
        allocation = allocations.load(text)
    except errors.Malformed:
        return
    for container, shares in allocation.containers.items():
        for share in shares:
            yield allocation.node, Tenant(metadata.get("namespace", ""), metadata.get("name", ""), container, share)


def _inventory(nodes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[Gpu, ...]]]:
    for node in nodes:
        metadata = node.get("metadata") or {}
        text = (metadata.get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
        if text is not None:
            try:
                yield metadata.get("name", ""), gpus.load(text)
            except errors.Malformed:
                continue
