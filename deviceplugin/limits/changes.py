"""What a change of a pod's limits means on this node: whether there is room for it, and what it says to people."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deviceplugin import pods
from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.allocate import limit
from deviceplugin.allocation.grant_totals import Overuse
from deviceplugin.node.node_state import Node
from unigpu import errors, findings, limits, modes
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.limits import Applied, Limits
from unigpu.policy import Policy
from unigpu.requests import ComputePolicy, Request
from unigpu.units import Bytes, GpuUuid, MiB, Percent


@dataclass(frozen=True, slots=True)
class Held:
    """What one container is held to."""

    request: Request
    shares: Sequence[Share]
    """By GPU, in the order in which the container sees them."""


@dataclass(frozen=True, slots=True)
class Change:
    """From what is in force to what is wanted."""

    wanted: Limits
    before: Applied
    containers: Mapping[str, tuple[Held, Held]]
    """Before and after, of those for which anything changes."""

    @property
    def text(self) -> str:
        """`main: memory 4096 -> 1024 MiB, cores 50 -> 10 %`."""
        return "; ".join(f"{name}: {_difference(*pair)}" for name, pair in self.containers.items())


def held(pod: pods.Pod, in_force: Limits, labels: Mapping[str, str]) -> dict[str, Held]:
    """What each container that has a share is held to under these limits, on a node of these labels.

    Raises Denied, Malformed.
    """
    request, allocation = pod.request(), pod.allocation()
    found = {}
    for name, shares in allocation.containers.items():
        asked = request.containers.get(name)
        if asked is not None:
            to = in_force.get(name)
            found[name] = Held(limits.effective(modes.on_node(asked, labels), to), limits.shares(asked, shares, to))
    return found


def pending(pod: pods.Pod, labels: Mapping[str, str]) -> Change | None:
    """What the pod's annotations want changed, on a node of these labels; None: nothing. Raises Denied, Malformed."""
    request, applied = pod.request(), pod.applied()
    wanted = pod.wanted(request)
    if limits.dump(wanted) == limits.dump(applied.limits):
        return None
    problems = [
        problem
        for name, one in wanted.items()
        if name in request.containers
        for problem in limits.problems(name, request.containers[name], one)
    ]
    if problems:
        raise errors.Denied(findings.message(problems))
    before, after = held(pod, applied.limits, labels), held(pod, wanted, labels)
    return Change(wanted, applied, {name: (before[name], after[name]) for name in after if before[name] != after[name]})


def refusal(node: Node, pod: pods.Pod, change: Change, grants: Iterable[Grant], overuse: Overuse) -> str | None:
    """Why the node has no room for the change beside all that is granted on it, or None if it has.

    What a program holds counts with what its container was granted. Raises Unavailable where a GPU isn't known now.
    """
    held_here = {(grant.pod_uid, grant.container): grant for grant in grant_totals.with_overuse(grants, overuse)}
    new = []
    for name, (_, after) in change.containers.items():
        key = (pod.uid, name)
        before = held_here.get(key)
        grant = before if before is not None else _unstarted(pod, name, after)
        grant = dataclasses.replace(grant, shares=tuple(after.shares))
        new += grant_totals.with_overuse([grant], overuse)
        held_here[key] = new[-1]
    for grant in new:
        missing = [share.gpu for share in grant.shares if share.gpu not in node.gpus]
        if missing:
            raise errors.Unavailable(f"{grant.container}: GPU {missing[0]} isn't known to node {node.name} at present")
        problem = grant_totals.excess(node.gpus, held_here.values(), grant)
        if problem:
            return f"{grant.container}: {problem}"
    return None


def _unstarted(pod: pods.Pod, name: str, to: Held) -> Grant:
    """A container that hasn't started yet counts too: it will want its share."""
    return Grant(
        pod.namespace, pod.name, pod.uid, name, (), (), {}, to.request.isolated, to.request.dialect, to.request.role
    )


def lowered(node: Node, before: Held, after: Held) -> Policy:
    """What holds under both: what the change takes is taken before anything that it gives is given."""
    old, new = limit(node, before.request, before.shares), limit(node, after.request, after.shares)
    return dataclasses.replace(
        new,
        gpus=tuple(
            dataclasses.replace(
                gpu, memory=Bytes(_less(gpu.memory, was.memory)), cores=Percent(_less(gpu.cores, was.cores))
            )
            for gpu, was in zip(new.gpus, old.gpus, strict=True)
        ),
    )


def _less(one: int, other: int) -> int:
    """The tighter of two limits, of which 0 is none."""
    return min(one, other) if one and other else one or other


def larger(before: Held, after: Held) -> tuple[Share, ...]:
    """What the books hold for a container while its limits change."""
    return tuple(
        dataclasses.replace(new, memory=max(new.memory, old.memory), cores=max(new.cores, old.cores))
        for new, old in zip(after.shares, before.shares, strict=True)
    )


def event_name(pod: pods.Pod, reason: str, before: Applied, wanted: str, changes: int) -> str:
    """The same for the same change of a pod whose limits were changed so often before, so that it is told once.

    `wanted` is the canonical text, or the annotation's own where that can't be read.
    """
    told = "\\0".join((pod.uid, reason, limits.dump(before.limits), wanted, str(changes)))
    return f"{pod.name[:200].rstrip('.-')}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _difference(before: Held, after: Held) -> str:
    said = [
        (
            "memory",
            _amounts(share.memory for share in before.shares),
            _amounts(share.memory for share in after.shares),
            " MiB",
        ),
        (
            "cores",
            _amounts(share.cores for share in before.shares),
            _amounts(share.cores for share in after.shares),
            " %",
        ),
        ("ceiling", _ceiling(before), _ceiling(after), " %"),
        ("policy", str(before.request.policy), str(after.request.policy), ""),
    ]
    return ", ".join(f"{what} {was} -> {now}{unit}" for what, was, now, unit in said if was != now)


def _amounts(values: Iterable[int]) -> str:
    """Of all GPUs: one number where they are the same."""
    return "/".join(dict.fromkeys(str(value) if value else "unlimited" for value in values))


def _ceiling(one: Held) -> str:
    """Only soft containers have one of their own."""
    if one.request.policy is not ComputePolicy.SOFT:
        return "none"
    return _amounts(max(one.request.ceiling, share.cores) for share in one.shares)


def in_use(shares: Sequence[Share], used: Mapping[GpuUuid, MiB]) -> str:
    """What is to be said of memory that a program still holds beyond its new limit; nothing where it holds none."""
    parts = [f"{used[share.gpu]} of {share.memory} MiB on {share.gpu}" for share in shares if share.gpu in used]
    return f"still in use: {', '.join(parts)}" if parts else ""
