"""Computes what the node object must say of the GPUs, and the smallest patches that make it so. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deviceplugin.allocation import grant_totals
from unigpu import gpus, names, vendor_resources, walls
from unigpu.gpus import Gpu
from unigpu.lowering import Freed
from unigpu.walls import Walls

_NOTHING = Freed()


def labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the node's labels."""
    found: dict[str, str] = (node.get("metadata") or {}).get("labels") or {}
    return found


def runtime(node: Mapping[str, Any]) -> str:
    """Return the container runtime and its version, as the kubelet reports it; empty where it doesn't."""
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return str(info.get("containerRuntimeVersion") or "")


def published(node: Mapping[str, Any]) -> str | None:
    """Return the inventory annotation as it is now."""
    text: str | None = ((node.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    return text


def offered(node: Mapping[str, Any]) -> str | None:
    """Return the annotation that says what containers could do without, as it is now."""
    text: str | None = ((node.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_LOWERABLE)
    return text


def annotation(
    node_gpus: Sequence[Gpu],
    node_walls: Walls,
    node: Mapping[str, Any],
    vendors: Collection[str] = (),
    lowerable: str | None = None,
) -> dict[str, Any] | None:
    """Return a merge patch of the node's metadata, None where it is right already.

    `vendors` are the vendors' resources whose capacity is published. `lowerable`: what containers could do without, as
    `unigpu.lowering` words it.
    """
    present = (node.get("metadata") or {}).get("annotations") or {}
    wanted = {
        names.ANNOTATION_INVENTORY: gpus.dump(node_gpus),
        names.ANNOTATION_WALLS: walls.dump(node_walls),
        names.ANNOTATION_PUBLISHED: ",".join(sorted(vendors)) or None,
        names.ANNOTATION_LOWERABLE: lowerable,
    }
    changes = {name: text for name, text in wanted.items() if present.get(name) != text}
    return {"metadata": {"annotations": changes}} if changes else None


def resources(node_gpus: Sequence[Gpu], freed: Freed = _NOTHING) -> dict[str, str]:
    """Return the node's resources: MiB and percent over its healthy GPUs.

    `freed` is what pods with lowered limits request and don't have: the kube-scheduler and the kubelet count it still.
    """
    healthy = [gpu for gpu in node_gpus if gpu.healthy]
    return {
        names.RESOURCE_MEMORY: str(sum(gpu.memory for gpu in healthy) + freed.memory),
        names.RESOURCE_CORES: str(grant_totals.GPU_CORES * len(healthy) + freed.cores),
    }


@dataclass(frozen=True, slots=True)
class VendorCapacity:
    """The capacity of vendors' resources on the node."""

    wanted: Mapping[str, int] = field(default_factory=dict)
    """What is to be published."""
    known: Collection[str] = ()
    """Every vendor's resource."""
    registered: Collection[str] = ()
    """Resources that other device plugins offer."""

    def published(self) -> dict[str, str]:
        """Return what is published: nothing that another device plugin offers."""
        return {name: str(amount) for name, amount in self.wanted.items() if name not in self.registered}

    def removed(self, node: Mapping[str, Any]) -> set[str]:
        """Return the resources to remove from the node's status.

        What is no longer published, and what a device plugin left behind that is gone: its amount stays 0, and the
        kubelet refuses pods that ask for more.
        """
        status = node.get("status") or {}
        present = {name for part in _PARTS for name in status.get(part) or {}}
        annotations = (node.get("metadata") or {}).get("annotations") or {}
        empty = {
            name for name in present if all(_same((status.get(part) or {}).get(name, "0"), "0") for part in _PARTS)
        }
        gone = vendor_resources.published(annotations) | (empty & set(self.known))
        return {name for name in gone & present if name not in self.published() and name not in self.registered}


_NO_VENDORS = VendorCapacity()
_PARTS = ("capacity", "allocatable")


def capacity(
    node_gpus: Sequence[Gpu],
    node: Mapping[str, Any],
    vendors: VendorCapacity = _NO_VENDORS,
    freed: Freed | None = _NOTHING,
) -> dict[str, Any] | None:
    """Return a merge patch of the node's status, None where it is right already.

    The kubelet derives allocatable from capacity seconds later; both are patched so that pods needn't wait for it.
    `freed` as in `resources`; None: not known yet, and then nothing is reduced. An earlier agent may have raised it,
    and a kubelet that starts refuses its pods if they ask for more than there is.
    """
    wanted = resources(node_gpus, freed or _NOTHING) | vendors.published()
    removed = vendors.removed(node)
    status = node.get("status") or {}
    wrong: dict[str, dict[str, str | None]] = {}
    for part in _PARTS:
        present = status.get(part) or {}
        changes: dict[str, str | None] = {
            name: amount
            for name, amount in wanted.items()
            if not _same(present.get(name), amount) and not (freed is None and _whole(present.get(name)) > int(amount))
        }
        changes |= {name: None for name in sorted(removed) if name in present}
        if changes:
            wrong[part] = changes
    return {"status": wrong} if wrong else None


_SUFFIXES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}


def _same(quantity: str | None, amount: str) -> bool:
    """Whether the API server's form of a whole number (`96k` for 96000) is that amount."""
    return _whole(quantity) == int(amount)


def _whole(quantity: str | None) -> int:
    """Return the amount of the API server's form of a whole number; -1 where it is absent, or another form."""
    if quantity is None:
        return -1
    digits = quantity.rstrip("kMG")
    suffix = quantity[len(digits) :]
    return int(digits) * _SUFFIXES[suffix] if digits.isdecimal() and suffix in _SUFFIXES else -1
