"""What becomes of a program's wish for higher limits: the change of the pod's annotation, or a refusal. No I/O."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deviceplugin import pods
from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.grant_totals import GPU_CORES, Overuse
from deviceplugin.limits import changes
from deviceplugin.limits.changes import Held
from deviceplugin.node.node_state import Node
from unigpu import errors, findings, limits, names, wishes
from unigpu.allocations import GpuUsage, Share
from unigpu.grants import Grant
from unigpu.limits import AS_REQUESTED, Limit, Limits
from unigpu.units import GpuUuid
from unigpu.wishes import Wish


@dataclass(frozen=True, slots=True)
class Raise:
    """The change that fulfils a wish."""

    limits: Limits
    """All of the pod's limits then."""
    before: Limit
    after: Limit
    held: Held
    """What the container is held to then."""


def change(pod: pods.Pod, container: str, wish: Wish, labels: Mapping[str, str]) -> Raise | None:
    """Return the change of the pod's limits that fulfils the wish; None where the limits already allow it.

    Raises Denied, Malformed.
    """
    request = pod.request()
    before = pod.wanted(request)
    held = changes.held(pod, before, labels).get(container)
    if held is None:
        raise errors.Denied("the container has no share of a GPU")
    limit = before.get(container, AS_REQUESTED)
    after = wishes.wanted(wish, held.request, held.shares, limit)
    if after == limit:
        return None
    problems = limits.problems(container, request.containers[container], after)
    if problems:
        raise errors.Denied(findings.message(problems))
    wanted = {**before, container: after}
    return Raise(wanted, limit, after, changes.held(pod, wanted, labels)[container])


def shortage(node: Node, key: tuple[str, str], raised: Raise, grants: Iterable[Grant], overuse: Overuse) -> str:
    """Return why a GPU has too little free for the raise, and how much would do; empty where all have enough."""
    after = {(grant.pod_uid, grant.container): grant for grant in grant_totals.with_overuse(grants, overuse)}
    present = after.get(key)
    if present is None:
        return "the container has no grant on this node"
    after[key] = _with(present, raised.held.shares)
    totals = _totals(after.values())
    for was, share in zip(present.shares, raised.held.shares, strict=True):
        gpu = node.gpus.get(share.gpu)
        if gpu is None:
            return f"GPU {share.gpu} isn't known to node {node.name} now"
        used = totals[share.gpu]
        for what, unit, total, taken, asked, has in (
            ("memory", "MiB", gpu.memory, used.memory, share.memory, was.memory),
            ("cores", "%", GPU_CORES, used.cores, share.cores, was.cores),
        ):
            free = max(asked - max(taken - total, 0), 0)
            if asked > has and free < asked:
                why = f"GPU {gpu.index} has {free} of {total} {unit} free for this container"
                return f"{what} = {asked} {unit}: {why}; accepted: {_within(what, unit, max(free, has))}"
    return ""


def _within(what: str, unit: str, most: int) -> str:
    """`up to 250 MiB (CUDA_DEVICE_MEMORY_LIMIT=250m)`."""
    variable = f"{names.ENV_MEMORY_LIMIT}={most}m" if what == "memory" else f"{names.ENV_CORE_LIMIT}={most}"
    return f"up to {most} {unit} ({variable})"


def with_promised(grants: Iterable[Grant], promised: Mapping[tuple[str, str], tuple[Share, ...]]) -> list[Grant]:
    """Return the grants, those with raises under way as they will be."""
    return [
        _with(grant, shares) if (shares := promised.get((grant.pod_uid, grant.container))) is not None else grant
        for grant in grants
    ]


def command(pod: pods.Pod, container: str, raised: Raise) -> str:
    """Return the command that sets the same limits from outside."""
    options = wishes.options(raised.before, raised.after)
    return f"kubectl unigpu limit {pod.name} -n {pod.namespace} -c {container} {options}"


def _with(grant: Grant, shares: Iterable[Share]) -> Grant:
    return dataclasses.replace(grant, shares=tuple(shares))


def _totals(grants: Iterable[Grant]) -> dict[GpuUuid, GpuUsage]:
    totals: dict[GpuUuid, GpuUsage] = {}
    for uses in grant_totals.by_pod(grants).values():
        for gpu, use in uses.items():
            totals[gpu] = totals.get(gpu, GpuUsage()).plus(use)
    return totals
