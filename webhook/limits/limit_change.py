"""A change of a running pod's limits: whether it is understood, allowed here, and no more than the GPUs have free.

Lowering always passes, even below what the program uses: libvgpu then refuses new memory and takes none away. A raise
is checked in two steps: first against the pod itself (`evaluate`), which names the node whose GPUs must be checked,
then against those (`check_capacity`). Removing limits that are below the request is a raise too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import allocations, errors, fit, gpus, limits, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.findings import Problem, Remark
from unigpu.fit import GpuState
from unigpu.ledger import Booking, CapacityLedger
from unigpu.limits import Limits
from unigpu.modes import NodeMode
from unigpu.requests import ComputePolicy, Request, Role
from unigpu.units import GpuUuid
from webhook.translation import decision, initial_limits, namespaces
from webhook.translation.options import Rules

_PHASES_ENDED = ("Succeeded", "Failed")
_UNLIMITED = 1 << 62
Annotations = Mapping[str, str]
Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a pod's limits, as far as the pod itself shows it."""

    problems: tuple[Problem, ...] = ()
    """Not empty: refused."""
    warnings: tuple[str, ...] = ()
    pod: str = ""
    """`namespace/name`."""
    uid: str = ""
    node: str = ""
    """The node whose GPUs must have capacity for it; empty: none has to."""
    before: Allocation | None = None
    """The shares that count for the pod now."""
    after: Allocation | None = None
    """The shares that would count."""
    requests: Mapping[str, Request] = field(default_factory=dict)
    text: str | None = None
    """The annotation after the change."""


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """A change that the webhook has allowed, kept until the API server shows it."""

    uid: str
    text: str | None
    """The annotation."""
    booking: Booking
    """The pod's usage under it."""


def evaluate(pod: Item, before: Annotations, after: Annotations, rules: Rules, *, given_back: bool = False) -> Change:
    """Check the change against the pod, with its annotations before and after.

    `rules` are those of its namespace. `given_back`: unigpu had lowered the limits for a while, and gives back what
    they were. The namespace's maximum isn't asked for that: a pod whose limits weren't lowered keeps what it has, too,
    when the maximum becomes less.
    """
    asked = _asked(before)
    if not asked:
        return Change(tuple(initial_limits.problems(after, {})))
    try:
        wanted = limits.from_annotations(after, asked)
    except limits.Unreadable as error:
        return Change(error.problems)
    had = _readable(before, asked)
    changed = [name for name in asked if wanted.get(name) != had.get(name)]
    problems = [
        problem for name in changed if name in wanted for problem in limits.problems(name, asked[name], wanted[name])
    ]
    if problems:
        return Change(tuple(problems))
    if _phase(pod) in _PHASES_ENDED:
        return Change(warnings=(_ended(after),))
    for name in () if given_back else changed:
        now, then = (limits.effective(asked[name], of.get(name)) for of in (had, wanted))
        problems += _forbidden(name, now, then, rules)
    allocation = _allocation(before)
    if allocation is None:
        return Change((*problems, *initial_limits.wider(asked, wanted)))
    counted_now, _ = limits.accounted(allocation, asked, before)
    counted_then, _ = limits.accounted(allocation, asked, after)
    return Change(
        problems=tuple(problems),
        pod=_title(pod),
        uid=str((pod.get("metadata") or {}).get("uid", "")),
        node=allocation.node if _grown(counted_now, counted_then) else "",
        before=counted_now,
        after=counted_then,
        requests=asked,
        text=after.get(names.ANNOTATION_LIMITS),
    )


def check_capacity(change: Change, others: CapacityLedger) -> list[Problem]:
    """Return where the GPUs have too little capacity for the change; `others` is its node's ledger with all pods."""
    node = others.without(change.node, {change.uid})
    if node is None or not node.gpus or change.before is None or change.after is None:
        why = f"the GPUs of node {change.node} aren't known, so no limit can be raised there"
        return [
            Problem("", limits.FIELD, change.text or "", why, "lower limits, or the same once its node agent reports")
        ]
    seen = {state.gpu.uuid: state for state in node.gpus}
    usage = allocations.pod_usage(change.after, _roles(change.requests))
    problems = []
    for name, (was, becomes) in _pairs(change.before, change.after).items():
        for kind in ("memory", "cores"):
            shortages = [
                _shortage(kind, seen.get(then.gpu), now, then, getattr(usage[then.gpu], kind))
                for now, then in zip(was, becomes, strict=True)
            ]
            worst = min(
                (shortage for shortage in shortages if shortage is not None),
                key=lambda shortage: shortage.free,
                default=None,
            )
            if worst is not None:
                problems.append(_no_capacity(name, kind, worst, change.node))
    return problems


def accepted(change: Change) -> AcceptedChange | None:
    """Return the allowed change to remember; None where no GPU was chosen for the pod yet."""
    if change.after is None:
        return None
    uses = allocations.pod_usage(change.after, _roles(change.requests))
    return AcceptedChange(change.uid, change.text, Booking(change.pod, change.after.node, uses))


def is_same(pod: Item, other: Item) -> bool:
    """Return whether both are one pod, with the same request, allocation and limits."""
    uids = [(item.get("metadata") or {}).get("uid") for item in (pod, other)]
    ours = [{name: _annotations(item).get(name) for name in decision.REVIEWED} for item in (pod, other)]
    return uids[0] == uids[1] and ours[0] == ours[1]


def add_accepted(found: CapacityLedger, node: str, pods: Iterable[Item], recent: Iterable[AcceptedChange]) -> None:
    """Count, in the ledger of the node, allowed changes that its pods don't show yet."""
    shown = {str((item.get("metadata") or {}).get("uid", "")): item for item in pods}
    for change in recent:
        item, booking = shown.get(change.uid), found.booking(change.uid)
        if change.booking.node != node or item is None or booking is None:
            continue
        if _annotations(item).get(names.ANNOTATION_LIMITS) != change.text:
            uses = {gpu: use.larger(booking.uses.get(gpu, fit.UNUSED)) for gpu, use in change.booking.uses.items()}
            found.book(change.uid, Booking(booking.pod, node, {**booking.uses, **uses}))


def build_ledger(node: str, node_item: Item | None, pods: Iterable[Item]) -> CapacityLedger:
    """Build a ledger of the node's GPUs and its pods' shares from the API server's objects."""
    found = CapacityLedger()
    inventory = _annotations(node_item or {}).get(names.ANNOTATION_INVENTORY)
    if inventory is not None:
        try:
            found.set_node(node, gpus.load(inventory), NodeMode.MIXED, None)
        except errors.Malformed:
            return found
    for item in pods:
        metadata, annotations = item.get("metadata") or {}, _annotations(item)
        allocation = _allocation(annotations)
        if allocation is None or allocation.node != node:
            continue
        asked = _asked(annotations)
        taken, _ = limits.accounted(allocation, asked, annotations)
        uses = allocations.pod_usage(taken, _roles(asked))
        found.book(str(metadata.get("uid", "")), Booking(_title(item), node, uses))
    return found


def _forbidden(name: str, before: Request, after: Request, rules: Rules) -> list[Problem]:
    """Return where a raise exceeds the namespace's rules."""
    wider = {
        "memory": (after.memory or _UNLIMITED) > (before.memory or _UNLIMITED),
        "cores": _guaranteed(after) > _guaranteed(before),
    }
    return [problem for problem in namespaces.problems(name, after, rules) if wider.get(problem.field, False)]


def _guaranteed(request: Request) -> int:
    return _UNLIMITED if request.policy is ComputePolicy.UNLIMITED or not request.cores else request.cores


def _ended(after: Annotations) -> str:
    text = after.get(names.ANNOTATION_LIMITS, "")
    return str(Remark("pod", limits.FIELD, text, "has no effect, because the pod has ended"))


def _grown(before: Allocation, after: Allocation) -> bool:
    return any(
        then.memory > now.memory or then.cores > now.cores
        for was, becomes in _pairs(before, after).values()
        for now, then in zip(was, becomes, strict=True)
    )


def _pairs(before: Allocation, after: Allocation) -> dict[str, tuple[Sequence[Share], Sequence[Share]]]:
    return {name: (before.containers[name], becomes) for name, becomes in after.containers.items()}


@dataclass(frozen=True, slots=True)
class _Shortage:
    """A GPU with too little free for a container."""

    gpu: GpuUuid
    state: GpuState | None
    had: int
    wanted: int
    free: int
    """For the container: not taken by other pods nor by the other containers of its pod."""


def _shortage(kind: str, state: GpuState | None, now: Share, then: Share, usage: int) -> _Shortage | None:
    """Return the GPU's shortage of memory or cores; None: none, or the container takes no more than before."""
    had, wanted = getattr(now, kind), getattr(then, kind)
    if wanted <= had:
        return None
    if state is None:
        return _Shortage(then.gpu, None, had, wanted, 0)
    total = state.gpu.memory if kind == "memory" else fit.FULL
    over = usage - (total - getattr(state.taken, kind))
    return _Shortage(then.gpu, state, had, wanted, max(wanted - over, 0)) if over > 0 else None


def _no_capacity(container: str, kind: str, shortage: _Shortage, node: str) -> Problem:
    unit = "MiB" if kind == "memory" else "%"
    value, accepted = f"{shortage.wanted} {unit}", f"up to {max(shortage.free, shortage.had)} {unit}"
    if shortage.state is None:
        why = f"node {node} no longer reports GPU {shortage.gpu}"
        return Problem(container, kind, value, why, accepted)
    gpu = shortage.state.gpu
    total = gpu.memory if kind == "memory" else fit.FULL
    of = "" if kind == "memory" else " of its compute time"
    why = (
        f"GPU {gpu.index} ({gpu.uuid}) of node {node} has {shortage.free} {unit}{of} free for this container "
        f"(others have {total - shortage.free} of {total} {unit})"
    )
    return Problem(container, kind, value, why, accepted)


def _roles(asked: Mapping[str, Request]) -> dict[str, Role]:
    return {name: request.role for name, request in asked.items()}


def _title(item: Item) -> str:
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _annotations(item: Item) -> Annotations:
    found = (item.get("metadata") or {}).get("annotations") or {}
    return found if isinstance(found, dict) else {}


def _phase(pod: Item) -> str:
    status = pod.get("status")
    return str(status.get("phase", "")) if isinstance(status, dict) else ""


def _asked(annotations: Annotations) -> Mapping[str, Request]:
    """Return the containers' requests; empty where the pod has none, or they can't be read."""
    try:
        return requests.load(annotations[names.ANNOTATION_REQUEST]).containers
    except (KeyError, errors.Malformed):
        return {}


def _allocation(annotations: Annotations) -> Allocation | None:
    text = annotations.get(names.ANNOTATION_ALLOCATION)
    if text is None:
        return None
    try:
        return allocations.load(text)
    except errors.Malformed:
        return None


def _readable(annotations: Annotations, asked: Mapping[str, Request]) -> Limits:
    """Return the limits so far; none where they can't be read, because then they aren't in force either."""
    try:
        return limits.from_annotations(annotations, asked)
    except errors.Malformed:
        return {}
