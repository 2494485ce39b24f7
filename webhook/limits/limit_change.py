"""Limits that somebody changes: whether the change is understood, allowed here, and no more than the GPUs have free.

Lowering always passes, also below what the program uses: the node agent then refuses it new memory and takes nothing
from it. A raise is checked in two steps: first what the pod itself tells (`evaluate`), which names the node whose GPUs
must be looked at, then those (`check_capacity`). To remove limits that are below the request is a raise too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import allocations, errors, fit, gpus, limits, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.findings import Problem
from unigpu.fit import GpuState
from unigpu.ledger import Booking, CapacityLedger
from unigpu.limits import Limits
from unigpu.modes import NodeMode
from unigpu.requests import ComputePolicy, Request, Role
from unigpu.units import GpuUuid
from webhook.translation import namespaces
from webhook.translation.options import Rules

NO_SHARE = "the pod has no share of a GPU"
ENDED = f"the pod has ended: annotation {names.ANNOTATION_LIMITS} has no effect any more"
_PHASES_ENDED = ("Succeeded", "Failed")
_WITHOUT_LIMIT = 1 << 62
Annotations = Mapping[str, str]
Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a pod's limits, as far as the pod itself tells."""

    problems: tuple[Problem, ...] = ()
    """Not empty: refused."""
    warnings: tuple[str, ...] = ()
    pod: str = ""
    """`namespace/name`."""
    uid: str = ""
    node: str = ""
    """Whose GPUs must have room for it; empty: no GPU has to."""
    before: Allocation | None = None
    """What the books count for the pod now."""
    after: Allocation | None = None
    """What they would count."""
    requests: Mapping[str, Request] = field(default_factory=dict)
    text: str | None = None
    """The annotation after it."""


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """A change that was let pass, for as long as the API server may not show it yet."""

    uid: str
    text: str | None
    """The annotation."""
    booking: Booking
    """What the pod takes with it."""


def at_creation(annotations: Annotations, wishes: Mapping[str, Request]) -> list[Problem]:
    """Problems with limits that a pod brings along: they may be no wider than what it asks for."""
    text = annotations.get(names.ANNOTATION_LIMITS, "")
    if not wishes:
        return [] if not text.strip() else [Problem("", limits.FIELD, text, NO_SHARE, "no such annotation")]
    try:
        wanted = limits.from_annotations(annotations, wishes)
    except limits.Unreadable as error:
        return list(error.problems)
    return [
        *(problem for name, limit in wanted.items() for problem in limits.problems(name, wishes[name], limit)),
        *_wider(wishes, wanted),
    ]


def evaluate(pod: Item, before: Annotations, after: Annotations, rules: Rules) -> Change:
    """What the pod, with its annotations before and after, tells of the change.

    `rules` are those of its namespace.
    """
    wishes = _wishes(before)
    if not wishes:
        return Change(tuple(at_creation(after, {})))
    try:
        wanted = limits.from_annotations(after, wishes)
    except limits.Unreadable as error:
        return Change(error.problems)
    had = _readable(before, wishes)
    changed = [name for name in wishes if wanted.get(name) != had.get(name)]
    problems = [
        problem for name in changed if name in wanted for problem in limits.problems(name, wishes[name], wanted[name])
    ]
    if problems:
        return Change(tuple(problems))
    if _phase(pod) in _PHASES_ENDED:
        return Change(warnings=(ENDED,))
    for name in changed:
        now, then = (limits.effective(wishes[name], of.get(name)) for of in (had, wanted))
        problems += _forbidden(name, now, then, rules)
    allocation = _allocation(before)
    if allocation is None:
        return Change((*problems, *_wider(wishes, wanted)))
    counted_now, _ = limits.accounted(allocation, wishes, before)
    counted_then, _ = limits.accounted(allocation, wishes, after)
    return Change(
        problems=tuple(problems),
        pod=_title(pod),
        uid=str((pod.get("metadata") or {}).get("uid", "")),
        node=allocation.node if _grown(counted_now, counted_then) else "",
        before=counted_now,
        after=counted_then,
        requests=wishes,
        text=after.get(names.ANNOTATION_LIMITS),
    )


def check_capacity(change: Change, others: CapacityLedger) -> list[Problem]:
    """Where the GPUs have less room than the change takes; `others` has the change's node with all of its pods."""
    node = others.without(change.node, {change.uid})
    if node is None or not node.gpus or change.before is None or change.after is None:
        why = "it isn't known which GPUs that node has, so nothing can be given there"
        return [Problem("", limits.FIELD, change.node, why, "lower limits, or the same once the node agent reports")]
    seen = {state.gpu.uuid: state for state in node.gpus}
    will_take = allocations.pod_usage(change.after, _roles(change.requests))
    problems = []
    for name, (was, becomes) in _pairs(change.before, change.after).items():
        for kind in ("memory", "cores"):
            shortages = [
                _shortage(kind, seen.get(then.gpu), now, then, getattr(will_take[then.gpu], kind))
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
    """The change, let pass; None where no GPU was chosen for the pod yet."""
    if change.after is None:
        return None
    uses = allocations.pod_usage(change.after, _roles(change.requests))
    return AcceptedChange(change.uid, change.text, Booking(change.pod, change.after.node, uses))


def add_accepted(found: CapacityLedger, node: str, pods: Iterable[Item], recent: Iterable[AcceptedChange]) -> None:
    """Count in the node's books what changes take that its pods don't show yet."""
    shown = {str((item.get("metadata") or {}).get("uid", "")): item for item in pods}
    for change in recent:
        item, booking = shown.get(change.uid), found.booking(change.uid)
        if change.booking.node != node or item is None or booking is None:
            continue
        if _annotations(item).get(names.ANNOTATION_LIMITS) != change.text:
            uses = {gpu: use.larger(booking.uses.get(gpu, fit.UNUSED)) for gpu, use in change.booking.uses.items()}
            found.book(change.uid, Booking(booking.pod, node, {**booking.uses, **uses}))


def build_ledger(node: str, node_item: Item | None, pods: Iterable[Item]) -> CapacityLedger:
    """The node's GPUs, and what its pods take of them, from the API server's objects."""
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
        wishes = _wishes(annotations)
        taken, _ = limits.accounted(allocation, wishes, annotations)
        uses = allocations.pod_usage(taken, _roles(wishes))
        found.book(str(metadata.get("uid", "")), Booking(_title(item), node, uses))
    return found


def _forbidden(name: str, before: Request, after: Request, rules: Rules) -> list[Problem]:
    """Where the namespace doesn't allow what is more than before."""
    wider = {
        "memory": (after.memory or _WITHOUT_LIMIT) > (before.memory or _WITHOUT_LIMIT),
        "cores": _guaranteed(after) > _guaranteed(before),
    }
    return [problem for problem in namespaces.problems(name, after, rules) if wider.get(problem.field, False)]


def _wider(wishes: Mapping[str, Request], wanted: Limits) -> list[Problem]:
    """Where limits are wider than what was asked for; for pods that no GPU was chosen for yet."""
    found = []
    for name, limit in wanted.items():
        asked = wishes[name]
        becomes = limits.effective(asked, limit)
        why = "the pod has no GPU yet, so limits can only be narrower than what it asks for"
        if limit.memory is not None and not becomes.memory <= asked.memory:
            accepted = f"up to {asked.memory} MiB" if asked.memory else "no such limit until the pod is placed"
            found.append(Problem(name, "memory", f"{becomes.memory} MiB", why, accepted))
        if limit.cores is not None and not becomes.cores <= asked.cores:
            accepted = f"up to {asked.cores} %" if asked.cores else "no such limit until the pod is placed"
            found.append(Problem(name, "cores", f"{becomes.cores} %", why, accepted))
        if _highest(becomes) > _highest(asked):
            shown = str(limit.policy) if limit.ceiling is None else f"{limit.ceiling} %"
            which = "policy" if limit.ceiling is None else "ceiling"
            found.append(Problem(name, which, shown, why, f"a ceiling of up to {_highest(asked)} %"))
    return found


def _highest(request: Request) -> int:
    """Percent of a GPU that the container may use at most."""
    if request.policy is ComputePolicy.UNLIMITED or not request.cores:
        return 100
    return max(request.cores, request.ceiling)


def _guaranteed(request: Request) -> int:
    return _WITHOUT_LIMIT if request.policy is ComputePolicy.UNLIMITED or not request.cores else request.cores


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
    """A GPU that has too little for a container."""

    gpu: GpuUuid
    state: GpuState | None
    had: int
    wanted: int
    free: int
    """For the container: what is neither others' nor its pod's other containers'."""


def _shortage(kind: str, state: GpuState | None, now: Share, then: Share, will_take: int) -> _Shortage | None:
    """What the GPU lacks of memory or cores; None: nothing, or the container takes no more than it did."""
    had, wanted = getattr(now, kind), getattr(then, kind)
    if wanted <= had:
        return None
    if state is None:
        return _Shortage(then.gpu, None, had, wanted, 0)
    total = state.gpu.memory if kind == "memory" else fit.FULL
    over = will_take - (total - getattr(state.taken, kind))
    return _Shortage(then.gpu, state, had, wanted, max(wanted - over, 0)) if over > 0 else None


def _no_capacity(container: str, kind: str, shortage: _Shortage, node: str) -> Problem:
    unit = "MiB" if kind == "memory" else "%"
    value, accepted = f"{shortage.wanted} {unit}", f"up to {max(shortage.free, shortage.had)} {unit}"
    if shortage.state is None:
        why = f"node {node} doesn't report GPU {shortage.gpu} any more"
        return Problem(container, kind, value, why, accepted)
    gpu = shortage.state.gpu
    total = gpu.memory if kind == "memory" else fit.FULL
    of = "" if kind == "memory" else " of its compute"
    why = (
        f"GPU {gpu.index} ({gpu.uuid}) of node {node} has {shortage.free} {unit}{of} free for it: "
        f"{total} {unit}, less {total - shortage.free} {unit} of others"
    )
    return Problem(container, kind, value, why, accepted)


def _roles(wishes: Mapping[str, Request]) -> dict[str, Role]:
    return {name: wish.role for name, wish in wishes.items()}


def _title(item: Item) -> str:
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _annotations(item: Item) -> Annotations:
    found = (item.get("metadata") or {}).get("annotations") or {}
    return found if isinstance(found, dict) else {}


def _phase(pod: Item) -> str:
    status = pod.get("status")
    return str(status.get("phase", "")) if isinstance(status, dict) else ""


def _wishes(annotations: Annotations) -> Mapping[str, Request]:
    """What the containers asked for; empty where the pod asked for nothing, or that can't be read."""
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


def _readable(annotations: Annotations, wishes: Mapping[str, Request]) -> Limits:
    """The limits so far; none where they can't be read, which then aren't in force either."""
    try:
        return limits.from_annotations(annotations, wishes)
    except errors.Malformed:
        return {}
