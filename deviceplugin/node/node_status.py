"""Computes what the node object must say of the GPUs, and the smallest patches that make it so. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Any

from deviceplugin.allocation import grant_totals
from unigpu import gpus, names
from unigpu.gpus import Gpu


def labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the node's labels."""
    found: dict[str, str] = (node.get("metadata") or {}).get("labels") or {}
    return found


def published(node: Mapping[str, Any]) -> str | None:
    """Return the inventory annotation as it is now."""
    text: str | None = ((node.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    return text


def annotation(node_gpus: Sequence[Gpu], node: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a merge patch of the node's metadata, None where it is right already."""
    text = gpus.dump(node_gpus)
    if published(node) == text:
        return None
    return {"metadata": {"annotations": {names.ANNOTATION_INVENTORY: text}}}


def resources(node_gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return the node's resources: MiB and percent over its healthy GPUs."""
    healthy = [gpu for gpu in node_gpus if gpu.healthy]
    return {
        names.RESOURCE_MEMORY: str(sum(gpu.memory for gpu in healthy)),
        names.RESOURCE_CORES: str(grant_totals.GPU_CORES * len(healthy)),
    }


def capacity(node_gpus: Sequence[Gpu], node: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a merge patch of the node's status, None where it is right already.

    The kubelet derives allocatable from capacity seconds later; both are patched so that pods needn't wait for it.
    """
    wanted = resources(node_gpus)
    status = node.get("status") or {}
    wrong = {
        part: changes
        for part in ("capacity", "allocatable")
        if (
            changes := {
                name: amount for name, amount in wanted.items() if not _same((status.get(part) or {}).get(name), amount)
            }
        )
    }
    return {"status": wrong} if wrong else None


_SUFFIXES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}


def _same(quantity: str | None, amount: str) -> bool:
    """Whether the API server's form of a whole number (`96k` for 96000) is that amount."""
    if quantity is None:
        return False
    digits = quantity.rstrip("kMG")
    suffix = quantity[len(digits) :]
    return digits.isdecimal() and suffix in _SUFFIXES and int(digits) * _SUFFIXES[suffix] == int(amount)
