"""Work out a change of a pod's limits: whether the node has room for it, and what the events say. No I/O."""

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
    """The limits of one container."""

    request: Request
    shares: Sequence[Share]
    """By GPU, in the order in which the container sees them."""


@dataclass(frozen=True, slots=True)
class Change:
    """The step from the limits in force to those that are wanted."""

    wanted: Limits
    before: Applied
    containers: Mapping[str, tuple[Held, Held]]
    """Before and after, of those for which anything changes."""

    @property
    def text(self) -> str:
        """`main: memory 4096 -> 1024 MiB, cores 50 -> 10 %`."""
        return "; ".join(f"{name}: {_difference(*pair)}" for name, pair in self.containers.items())


def held(pod: pods.Pod, in_force: Limits, labels: Mapping[str, str]) -> dict[str, Held]:
    """Return what each container with a share is held to under these limits, on a node with these labels.

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
    """Return the change that the pod's annotations ask for, None where there is none. Raises Denied, Malformed."""
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
    """Return why the node has no room for the change, None if it has.

    Memory that a program holds beyond its limit counts. Raises Unavailable where a GPU isn't known now.
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
            raise errors.Unavailable(f"{grant.container}: GPU {missing[0]} isn't known to node {node.name} yet")
        problem = grant_totals.excess(node.gpus, held_here.values(), grant)
        if problem:
            return f"{grant.container}: {problem}"
    return None


def _unstarted(pod: pods.Pod, name: str, to: Held) -> Grant:
    """The grant of a container that hasn't started: it counts too, because it will want its share."""
    return Grant(
        pod.namespace, pod.name, pod.uid, name, (), (), {}, to.request.isolated, to.request.dialect, to.request.role
    )


def lowered(node: Node, before: Held, after: Held) -> Policy:
    """Return the tighter policy of both: decreases are applied before increases."""
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
    """The tighter of two limits; 0 is no limit."""
    return min(one, other) if one and other else one or other


def larger(before: Held, after: Held) -> tuple[Share, ...]:
    """Return what the ledger counts for a container while its limits change: the larger of each amount."""
    return tuple(
        dataclasses.replace(new, memory=max(new.memory, old.memory), cores=max(new.cores, old.cores))
        for new, old in zip(after.shares, before.shares, strict=True)
    )


def event_name(pod: pods.Pod, reason: str, before: Applied, wanted: str, changes: int) -> str:
    """Return a name that is the same for the same change, so that its event is written once.

    `changes`: how many changes the pod's limits have had before. `wanted`: their canonical text, or the annotation's
    own text where it can't be read.
    """
    told = "\0".join((pod.uid, reason, limits.dump(before.limits), wanted, str(changes)))
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
    """Amounts of all GPUs; one number where they are the same."""
    return "/".join(dict.fromkeys(str(value) if value else "unlimited" for value in values))


def _ceiling(one: Held) -> str:
    """A soft container's ceiling; others have none of their own."""
    if one.request.policy is not ComputePolicy.SOFT:
        return "none"
    return _amounts(max(one.request.ceiling, share.cores) for share in one.shares)


def in_use(shares: Sequence[Share], used: Mapping[GpuUuid, MiB]) -> str:
    """Return what to say of memory that programs hold beyond their new limit; empty where they hold none."""
    parts = [f"{used[share.gpu]} of {share.memory} MiB on {share.gpu}" for share in shares if share.gpu in used]
    return f"still in use: {', '.join(parts)}" if parts else ""
