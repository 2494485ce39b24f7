"""Limits that change while a container runs, and the two annotations that carry them.

    unigpu.dev/limits            wanted limits, written by people: {"main": {"memory": "1Gi", "cores": 10,
                                 "ceiling": 80, "policy": "soft"}}, or for a pod with one GPU container
                                 memory=1Gi,cores=10,ceiling=80,policy=soft
    unigpu.dev/limits-applied    limits in force, written by the node agent: the same in canonical form, plus the
                                 memory that containers hold beyond a limit: {"main": {"held": {"GPU-…": 3000}, …}}

A field that the annotation doesn't name stays as requested; without the annotation, all fields do. Memory that a
program holds can't be taken from it. The capacity ledger therefore counts the larger amount (`reserved_allocation`)
until the node agent reports that a lowered limit is in force and that the container holds no more than it. To keep that
promise, the node agent writes `limits-applied` before it applies an increase, and after it has applied a decrease.
"""

import dataclasses
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import documents, errors, findings, names, quantities
from unigpu.allocations import Allocation, Share
from unigpu.findings import Problem
from unigpu.requests import ComputePolicy, Request
from unigpu.units import BYTES_PER_MIB, MAX_MEMORY, Bytes, GpuUuid, MiB, Percent

FIELD = f"annotation {names.ANNOTATION_LIMITS}"
FORM = '{"CONTAINER": {"memory": "1Gi", "cores": 10, "ceiling": 80, "policy": "soft"}}, with any of the four keys'
PLAIN_FORM = "memory=1Gi,cores=10,ceiling=80,policy=soft, with any of the four keys"
_MEMORY = "MiB on each GPU, as a whole number above 0 or a quantity such as 1Gi"
_PERCENT = "a whole percentage from 1 to 100"
_POLICY = "hard, soft or unlimited"
_HELD = "held"


@dataclass(frozen=True, slots=True)
class Limit:
    """Amounts that replace those of one container's request; None: as requested."""

    memory: MiB | None = None
    """MiB on each GPU; above 0."""
    cores: Percent | None = None
    """Guaranteed percent of each GPU; above 0."""
    ceiling: Percent | None = None
    """Most percent that it may use while others are idle; above 0."""
    policy: ComputePolicy | None = None


Limits = Mapping[str, Limit]
"""Limits by container name; a container without an entry is limited as requested."""
AS_REQUESTED = Limit()


@dataclass(frozen=True, slots=True)
class Applied:
    """The node agent's report on a pod: its limits in force, and memory held beyond them."""

    limits: Limits = field(default_factory=dict)
    """Limits in force."""
    held: Mapping[str, Mapping[GpuUuid, MiB]] = field(default_factory=dict)
    """MiB in use by container and GPU, for GPUs on which that exceeds the limit."""


NOTHING_APPLIED = Applied()
"""The report on a pod whose limits have never changed."""


class Unreadable(errors.Malformed):
    """The annotation doesn't have the required form; carries every problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(findings.message(problems))
        self.problems = tuple(problems)


def parse(text: str, containers: Collection[str]) -> dict[str, Limit]:
    """Parse the annotation's text; an empty text has no limits. `containers` are those with a share of a GPU.

    Raises Unreadable (a Malformed) with every problem: container, field, value and what would be accepted.
    """
    document = _document(text, containers)
    problems: list[Problem] = []
    found = {}
    for name, entry in document.items():
        limit = _limit(name, entry, problems)
        if name not in containers:
            known = ", ".join(sorted(containers)) or "no entry, because no container of the pod has a share of a GPU"
            problems.append(Problem("", FIELD, name, "no container with a share of a GPU has that name", known))
        if limit != AS_REQUESTED:
            found[name] = limit
    if problems:
        raise Unreadable(problems)
    return found


def from_annotations(annotations: Mapping[str, str], containers: Collection[str]) -> dict[str, Limit]:
    """Return the wanted limits of a pod with these annotations; empty without the annotation.

    Raises Unreadable (a Malformed).
    """
    return parse(annotations.get(names.ANNOTATION_LIMITS, ""), containers)


def dump(limits: Limits) -> str:
    """Return the limits in canonical form: JSON with sorted keys, no spaces, memory in MiB, no empty entries."""
    return _text({name: _entry(limit) for name, limit in limits.items()})


def dump_applied(applied: Applied) -> str:
    """Return the text of the node agent's annotation; it equals `dump(applied.limits)` if no memory is held beyond."""
    document = {name: _entry(limit) for name, limit in applied.limits.items()}
    for name, gpus in applied.held.items():
        if gpus:
            document.setdefault(name, {})[_HELD] = dict(gpus)
    return _text(document)


def load_applied(text: str | None) -> Applied:
    """Return the report that `dump_applied` wrote; None, for a pod without the annotation, is NOTHING_APPLIED.

    Raises Malformed.
    """
    if text is None:
        return NOTHING_APPLIED
    try:
        document = documents.decode(text)
        held = {
            name: {GpuUuid(gpu): _whole(amount) for gpu, amount in entry.pop(_HELD).items()}
            for name, entry in document.items()
            if _HELD in entry
        }
        limits = {}
        for name, entry in document.items():
            problems: list[Problem] = []
            limit = _limit(name, entry, problems)
            if problems:
                raise ValueError(findings.message(problems))
            if limit != AS_REQUESTED:
                limits[name] = limit
    except documents.INVALID as error:
        reason = documents.brief(error)
        raise errors.Malformed(f"annotation {names.ANNOTATION_LIMITS_APPLIED} can't be read: {reason}") from error
    return Applied(limits, held)


def limitable(request: Request) -> bool:
    """Return whether limits apply to the container: it shares its GPUs and is isolated."""
    return request.isolated and not request.whole


def effective(request: Request, limit: Limit | None) -> Request:
    """Return the container's request with the limit's amounts in place of its own.

    A container to which no limits apply (see `limitable`) keeps its request. `cores` or `ceiling` throttle a container
    that wasn't throttled. A ceiling above the share makes the policy soft. `soft` without a ceiling takes the request's
    ceiling, or 100 percent if it has none.
    """
    if limit is None or limit == AS_REQUESTED or not limitable(request):
        return request
    if limit.memory is not None:
        request = dataclasses.replace(request, memory=limit.memory, memory_percent=Percent(0))
    if limit.cores is None and limit.ceiling is None and limit.policy is None:
        return request
    cores = request.cores if limit.cores is None else limit.cores
    if limit.policy is ComputePolicy.UNLIMITED or not cores:
        return dataclasses.replace(request, cores=cores, ceiling=Percent(0), policy=ComputePolicy.UNLIMITED)
    ceiling = _ceiling(request, limit, cores)
    soft = ceiling > cores
    return dataclasses.replace(
        request,
        cores=cores,
        ceiling=ceiling if soft else Percent(0),
        policy=ComputePolicy.SOFT if soft else ComputePolicy.HARD,
    )


def _ceiling(request: Request, limit: Limit, cores: Percent) -> Percent:
    if limit.policy is ComputePolicy.HARD:
        return cores
    if limit.ceiling is not None:
        return limit.ceiling
    if request.policy is ComputePolicy.SOFT:
        return request.ceiling
    return Percent(100) if limit.policy is ComputePolicy.SOFT else cores


def shares(request: Request, allocated: Sequence[Share], limit: Limit | None) -> tuple[Share, ...]:
    """Return the container's allocated shares with the limit's memory and cores in place of their own."""
    if limit is None or not limitable(request):
        return tuple(allocated)
    return tuple(
        dataclasses.replace(
            share,
            memory=share.memory if limit.memory is None else limit.memory,
            cores=share.cores if limit.cores is None else limit.cores,
        )
        for share in allocated
    )


def held_memory(effective_shares: Sequence[Share], used: Sequence[Bytes]) -> dict[GpuUuid, MiB]:
    """Return the MiB in use, rounded up, on each GPU where that exceeds the share. `used` is in the shares' order."""
    return {
        share.gpu: MiB(-(-amount // BYTES_PER_MIB))
        for share, amount in zip(effective_shares, used, strict=True)
        if share.memory and not share.whole and amount > share.memory * BYTES_PER_MIB
    }


def granted_memory(
    effective_shares: Sequence[Share], before: Sequence[Share], held: Mapping[GpuUuid, MiB], used: Mapping[GpuUuid, MiB]
) -> dict[GpuUuid, MiB]:
    """Return what counts of `used`, the MiB that a container's usage file says are in use beyond its shares.

    `before`, `held`: its shares, and the MiB held beyond them, as they were last reported. Beyond a limit nothing can
    be allocated, so a container holds at most what it was granted before or held already. The usage file is the
    container's to write; without this bound it could claim the whole GPU.
    """
    most = {share.gpu: max(share.memory, held.get(share.gpu, MiB(0))) for share in before}
    counted = {share.gpu: min(used.get(share.gpu, MiB(0)), most.get(share.gpu, MiB(0))) for share in effective_shares}
    return {share.gpu: counted[share.gpu] for share in effective_shares if counted[share.gpu] > share.memory}


def reserved_allocation(
    allocation: Allocation, requests: Mapping[str, Request], wanted: Limits, applied: Applied
) -> Allocation:
    """Return what the capacity ledger counts for a pod: of each share, the largest of wanted, in force and held.

    A raise counts at once. Capacity freed by a lowered limit counts as free once the limit is in force and the memory
    is no longer held. Containers that `requests` doesn't name count as allocated.
    """
    return Allocation(
        allocation.node,
        {
            name: _reserved_shares(requests[name], allocated, wanted.get(name), applied, name)
            if name in requests
            else tuple(allocated)
            for name, allocated in allocation.containers.items()
        },
    )


def accounted(
    allocation: Allocation, requests: Mapping[str, Request], annotations: Mapping[str, str]
) -> tuple[Allocation, str]:
    """Return what the capacity ledger counts for a pod with these annotations, and why any of them was ignored."""
    if names.ANNOTATION_LIMITS not in annotations and names.ANNOTATION_LIMITS_APPLIED not in annotations:
        return allocation, ""
    wanted: Limits = {}
    applied = NOTHING_APPLIED
    ignored = []
    try:
        wanted = from_annotations(annotations, requests.keys())
    except errors.Malformed as error:
        ignored.append(str(error))
    try:
        applied = load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
    except errors.Malformed as error:
        ignored.append(str(error))
    return reserved_allocation(allocation, requests, wanted, applied), "; ".join(ignored)


def _reserved_shares(
    request: Request, allocated: Sequence[Share], wanted: Limit | None, applied: Applied, name: str
) -> tuple[Share, ...]:
    held = applied.held.get(name, {})
    wanted_shares = shares(request, allocated, wanted)
    applied_shares = shares(request, allocated, applied.limits.get(name))
    return tuple(
        dataclasses.replace(
            one,
            memory=max(one.memory, other.memory, held.get(one.gpu, MiB(0))),
            cores=max(one.cores, other.cores),
        )
        for one, other in zip(wanted_shares, applied_shares, strict=True)
    )


def problems(container: str, request: Request, limit: Limit) -> list[Problem]:
    """Return why a limit contradicts the container's request, however much its GPUs have free."""
    if not limitable(request):
        cause = "the container has whole GPUs" if request.whole else "isolation is switched off for the container"
        shown = _text(_entry(limit))
        accepted = "no entry for this container"
        return [Problem(container, FIELD, shown, f"{cause}, so it has no limits to change", accepted)]
    found = []
    cores = request.cores if limit.cores is None else limit.cores
    key = "policy" if limit.policy is not None else "ceiling"
    value = str(limit.policy if limit.policy is not None else limit.ceiling)
    wants_share = limit.ceiling is not None or limit.policy in (ComputePolicy.HARD, ComputePolicy.SOFT)
    if wants_share and not cores:
        accepted = f"{key} together with cores, {_PERCENT}"
        found.append(Problem(container, key, value, "the container has no share of compute time", accepted))
    elif limit.ceiling is not None and limit.policy is ComputePolicy.UNLIMITED:
        why = "a container with policy unlimited has no ceiling"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, "policy soft, or no ceiling"))
    elif limit.ceiling is not None and limit.ceiling < cores:
        why = f"below the container's share of {cores} %"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, f"{cores} to 100"))
    elif limit.ceiling is not None and limit.policy is ComputePolicy.HARD and limit.ceiling != cores:
        why = f"with policy hard, the ceiling is the share, {cores} %"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, "policy soft, or no ceiling"))
    return found


def _document(text: str, containers: Collection[str]) -> dict[str, Any]:
    text = text.strip()
    if not text:
        return {}
    if text.startswith("{"):
        return _json(text)
    if len(containers) != 1:
        if containers:
            why = f"the pod has {len(containers)} containers with a share of a GPU, so name the container"
            raise Unreadable([Problem("", FIELD, text, why, FORM)])
        raise Unreadable([Problem("", FIELD, text, "no container of the pod has a share of a GPU", "no annotation")])
    entry: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key in entry:
            why = f"{key} appears twice" if equals else f"{part.strip() or 'an empty part'} is not KEY=VALUE"
            raise Unreadable([Problem("", FIELD, text, why, f"{PLAIN_FORM}, or {FORM}")])
        entry[key] = value
    return {next(iter(containers)): entry}


def _json(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable([Problem("", FIELD, text, f"not JSON: {error}", FORM)]) from None
    return dict(document)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that appears twice: json would silently keep the last one."""
    for (one, _), (other, _) in itertools.pairwise(sorted(pairs, key=lambda pair: pair[0])):
        if one == other:
            raise ValueError(f"{one} appears twice")
    return dict(pairs)


def _limit(container: str, entry: object, problems: list[Problem]) -> Limit:
    """Parse one container's entry, and append what is wrong with it to `problems`."""
    if not isinstance(entry, dict):
        problems.append(Problem(container, FIELD, json.dumps(entry), "not an object", FORM))
        return AS_REQUESTED
    memory = cores = ceiling = policy = None
    for key, value in entry.items():
        accepted = _MEMORY
        try:
            match key:
                case "memory":
                    memory = MiB(_number(value, MAX_MEMORY, memory=True))
                case "cores":
                    accepted = _PERCENT
                    cores = Percent(_number(value, 100))
                case "ceiling":
                    accepted = _PERCENT
                    ceiling = Percent(_number(value, 100))
                case "policy":
                    accepted = _POLICY
                    policy = ComputePolicy(value) if isinstance(value, str) else ComputePolicy("")
                case _:
                    accepted = "memory, cores, ceiling or policy"
                    raise ValueError("unknown key")
        except ValueError as error:
            why = "unknown policy" if key == "policy" else str(error)
            shown = value if isinstance(value, str) else json.dumps(value)
            problems.append(Problem(container, key, shown, why, accepted))
    return Limit(memory, cores, ceiling, policy)


def _number(value: object, high: int, *, memory: bool = False) -> int:
    """Return a whole number from 1 to `high`; raise ValueError that says what is wrong."""
    if isinstance(value, str):
        number = quantities.amount(value, MiB(1)) if memory else quantities.count(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise ValueError("not a whole number")
    if not 1 <= number <= high:
        raise ValueError("out of range")
    return number


def _whole(value: object) -> MiB:
    return MiB(_number(value, MAX_MEMORY))


def _entry(limit: Limit) -> dict[str, Any]:
    values = ((name, getattr(limit, name)) for name in Limit.__slots__)
    return {name: value for name, value in values if value is not None}


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(
        {name: entry for name, entry in document.items() if entry != {}}, sort_keys=True, separators=(",", ":")
    )
