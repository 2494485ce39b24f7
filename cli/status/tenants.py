"""What one pod has of each of its GPUs, from its annotations. Pure.

A large cluster has a hundred thousand shares, so these are structs of msgspec, which are made in a fifth of the time of
frozen dataclasses.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from unigpu import allocations, errors, limits, names, requests
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.limits import Applied, Limits
from unigpu.requests import ComputePolicy, Request
from unigpu.units import GpuUuid, MiB, Percent

_UNKNOWN = Request(gpus=1)
_NEVER_CHANGED = limits.NOTHING_APPLIED
_request = lru_cache(maxsize=4096)(requests.load)
"""Pods of one controller have the same request."""


class Tenant(msgspec.Struct, frozen=True, gc=False):
    """One container's share of a GPU."""

    namespace: str
    pod: str
    container: str
    share: Share
    """With limits that were changed since."""
    ceiling: Percent = Percent(0)
    """Above the share where idle time is lent to it; else 0."""
    dialect: str = ""
    """Whose fields the pod was written with; empty: not known."""
    changed: bool = False
    """Whether its limits aren't those of its request."""
    in_force: bool = True
    """Whether the node agent says that they are."""
    held: MiB = MiB(0)
    """MiB in use on the GPU where that is more than the limit; else 0."""

    @property
    def state(self) -> str:
        """Where the container's limits come from, and whether they are in force."""
        if not self.in_force:
            return "changed, not in force yet" if self.changed else "as requested, not in force yet"
        held = f", {self.held} MiB still held" if self.held else ""
        return ("changed" if self.changed else "as requested") + held


class PodShares(msgspec.Struct, frozen=True, gc=False):
    """What one pod has of one GPU."""

    node: str
    gpu: GpuUuid
    usage: GpuUsage
    """What the scheduler counts for it."""
    tenants: tuple[Tenant, ...]


def pod_shares(metadata: Mapping[str, Any]) -> Sequence[PodShares]:
    """Return what a pod with this metadata has of each GPU; nothing for a pod without an allocation.

    Raises Malformed for an allocation that can't be read. Other annotations that can't be read count as absent.
    """
    annotations = metadata.get("annotations") or {}
    text = annotations.get(names.ANNOTATION_ALLOCATION)
    if text is None:
        return ()
    allocation = allocations.load(text)
    pod = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
    as_requested = names.ANNOTATION_LIMITS not in annotations and names.ANNOTATION_LIMITS_APPLIED not in annotations
    if as_requested and len(allocation.containers) == 1:
        ((container, shares),) = allocation.containers.items()
        if len(shares) == 1:
            return (_only(allocation.node, pod, container, shares[0], annotations.get(names.ANNOTATION_REQUEST, "")),)
    asked, wanted, applied = _annotations(annotations)
    unchanged = not wanted and applied is _NEVER_CHANGED
    counted = allocation if unchanged else limits.reserved_allocation(allocation, asked, wanted, applied)
    usage = allocations.pod_usage(counted, {name: one.role for name, one in asked.items()})
    tenants = list(_tenants(allocation, asked, wanted, applied, pod))
    return [
        PodShares(allocation.node, gpu, use, tuple([one for one in tenants if one.share.gpu == gpu]))
        for gpu, use in usage.items()
    ]


def _only(node: str, pod: tuple[str, str], container: str, share: Share, request: str) -> PodShares:
    """Return what a pod has whose one container has one share, as requested: nearly every pod of a large cluster."""
    dialect, ceiling, unthrottled = _requested(request, container)
    highest = Percent(100) if unthrottled and share.cores else ceiling
    tenant = Tenant(*pod, container, share, highest, dialect)
    return PodShares(node, share.gpu, _use(share.memory, share.cores, whole=share.whole), (tenant,))


@lru_cache(maxsize=4096)
def _requested(text: str, container: str) -> tuple[str, Percent, bool]:
    """Dialect and ceiling of a container, and whether its compute isn't limited, by the pod's request."""
    try:
        request = _request(text).containers.get(container)
    except errors.Malformed:
        request = None
    becomes = _UNKNOWN if request is None else request
    return ("" if request is None else request.dialect), becomes.ceiling, becomes.policy is ComputePolicy.UNLIMITED


@lru_cache(maxsize=4096)
def _use(memory: MiB, cores: int, *, whole: bool) -> GpuUsage:
    """Shares of a large cluster come in few sizes."""
    return GpuUsage(memory, cores, 1, whole)


def _annotations(annotations: Mapping[str, str]) -> tuple[Mapping[str, Request], Limits, Applied]:
    """Return the request, the wanted limits and the node agent's report, each empty where it can't be read."""
    asked: Mapping[str, Request] = {}
    wanted: Limits = {}
    applied = _NEVER_CHANGED
    with contextlib.suppress(errors.Malformed):
        asked = _request(annotations.get(names.ANNOTATION_REQUEST, "")).containers
    if names.ANNOTATION_LIMITS in annotations:
        with contextlib.suppress(errors.Malformed):
            wanted = limits.from_annotations(annotations, asked)
    if names.ANNOTATION_LIMITS_APPLIED in annotations:
        with contextlib.suppress(errors.Malformed):
            applied = limits.load_applied(annotations[names.ANNOTATION_LIMITS_APPLIED])
    return asked, wanted, applied


def _tenants(
    allocation: Allocation,
    asked: Mapping[str, Request],
    wanted: Limits,
    applied: Applied,
    pod: tuple[str, str],
) -> Iterator[Tenant]:
    for container, shares in allocation.containers.items():
        request, limit = asked.get(container, _UNKNOWN), wanted.get(container)
        becomes = limits.effective(request, limit)
        unthrottled = becomes.policy is ComputePolicy.UNLIMITED
        for share in limits.shares(request, shares, limit):
            yield Tenant(
                *pod,
                container,
                share,
                ceiling=Percent(100 if unthrottled and share.cores else becomes.ceiling),
                dialect=request.dialect if container in asked else "",
                changed=limit is not None,
                in_force=limit == applied.limits.get(container),
                held=applied.held.get(container, {}).get(share.gpu, MiB(0)),
            )
