"""Limits that change while a container runs, and the two annotations that carry them.

    unigpu.dev/limits            what is wanted, written by people: {"main": {"memory": "1Gi", "cores": 10,
                                 "ceiling": 80, "policy": "soft"}}; for a pod with one GPU container also
                                 memory=1Gi,cores=10,ceiling=80,policy=soft
    unigpu.dev/limits-applied    what is in force, written by the node agent: the same in canonical form, and with it
                                 what containers still hold beyond it: {"main": {"held": {"GPU-…": 3000}, …}}

Fields that the annotation doesn't name stay as requested, and so do all of them once the annotation is removed. Memory
that a program holds can't be taken from it. Until the node agent reports that a lowered limit is in force and that the
container holds no more than that, the capacity ledger counts the larger amount (`reserved_allocation`). The node agent
therefore keeps an order: it writes the second annotation before it applies an increase, and after it has applied a
decrease.
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
FORM = '{"CONTAINER": {"memory": "1Gi", "cores": 10, "ceiling": 80, "policy": "soft"}}, any of the four'
PLAIN_FORM = "memory=1Gi,cores=10,ceiling=80,policy=soft, any of the four"
_MEMORY = "MiB on each GPU as a whole number above 0, or a quantity such as 1Gi"
_PERCENT = "a whole number of percent, 1 to 100"
_POLICY = "hard, soft or unlimited"
_HELD = "held"


@dataclass(frozen=True, slots=True)
class Limit:
    """What replaces one container's request; None: as requested."""

    memory: MiB | None = None
    """MiB on each GPU; above 0."""
    cores: Percent | None = None
    """Guaranteed percent of each GPU; above 0."""
    ceiling: Percent | None = None
    """Upper bound in percent while others idle; above 0."""
    policy: ComputePolicy | None = None


Limits = Mapping[str, Limit]
"""By container; those without an entry are limited as requested."""
AS_REQUESTED = Limit()


@dataclass(frozen=True, slots=True)
class Applied:
    """What the node agent says of a pod."""

    limits: Limits = field(default_factory=dict)
    """In force."""
    held: Mapping[str, Mapping[GpuUuid, MiB]] = field(default_factory=dict)
    """MiB that a container has in use on a GPU, where that is more than its limit there."""


NOTHING_APPLIED = Applied()
"""A pod as it was allocated."""


class Unreadable(errors.Malformed):
    """An annotation that isn't of the form, with every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(findings.message(problems))
        self.problems = tuple(problems)


def parse(text: str, containers: Collection[str]) -> dict[str, Limit]:
    """The annotation's limits; `containers` are those that have a share of a GPU. Empty text limits nothing.

    Raises Unreadable (a Malformed) with every problem: container, field, value and what would be accepted.
    """
    document = _document(text, containers)
    problems: list[Problem] = []
    found = {}
    for name, entry in document.items():
        limit = _limit(name, entry, problems)
        if name not in containers:
            known = ", ".join(sorted(containers)) or "no entry: no container of the pod has a share of a GPU"
            problems.append(Problem("", FIELD, name, "no container with a share of a GPU has that name", known))
        if limit != AS_REQUESTED:
            found[name] = limit
    if problems:
        raise Unreadable(problems)
    return found


def of(annotations: Mapping[str, str], containers: Collection[str]) -> dict[str, Limit]:
    """The limits that a pod with these annotations wants; empty without the annotation.

    Raises Unreadable (a Malformed).
    """
    return parse(annotations.get(names.ANNOTATION_LIMITS, ""), containers)


def dump(limits: Limits) -> str:
    """Canonical form: JSON with sorted keys, without spaces, memory in MiB, entries that say nothing left out."""
    return _text({name: _entry(limit) for name, limit in limits.items()})


def dump_applied(applied: Applied) -> str:
    """The node agent's annotation: as `dump(applied.limits)`, and equal to it where nothing is held beyond."""
    document = {name: _entry(limit) for name, limit in applied.limits.items()}
    for name, gpus in applied.held.items():
        if gpus:
            document.setdefault(name, {})[_HELD] = dict(gpus)
    return _text(document)


def load_applied(text: str | None) -> Applied:
    """The reverse of `dump_applied`; None, for a pod without the annotation, is NOTHING_APPLIED.

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
        raise errors.Malformed(f"annotation {names.ANNOTATION_LIMITS_APPLIED} is not of the form: {reason}") from error
    return Applied(limits, held)


def limitable(request: Request) -> bool:
    """Whether limits mean anything to the container: it shares its GPUs, and is held to its share."""
    return request.isolated and not request.whole


def effective(request: Request, limit: Limit | None) -> Request:
    """What the container is to be held to: its request, with what the limit replaces.

    A container that isn't limited at all (whole GPUs, or not isolated) stays as it is. Naming a share or a ceiling
    throttles a container that wasn't; a ceiling above the share makes the policy soft, and soft without a ceiling lends
    what is idle up to the request's ceiling, or all of the GPU where it has none.
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
    """What the container has of each of its GPUs: what was allocated, with memory and share that the limit names."""
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


def held(effective_shares: Sequence[Share], used: Sequence[Bytes]) -> dict[GpuUuid, MiB]:
    """Where a container has more in use than its share of a GPU; `used` is in the shares' order. Rounded up."""
    return {
        share.gpu: MiB(-(-amount // BYTES_PER_MIB))
        for share, amount in zip(effective_shares, used, strict=True)
        if share.memory and not share.whole and amount > share.memory * BYTES_PER_MIB
    }


def reserved_allocation(
    allocation: Allocation, requests: Mapping[str, Request], wanted: Limits, applied: Applied
) -> Allocation:
    """What the books count for a pod: of each share the larger of what is wanted, what is in force and what is held.

    A raise takes its room at once, a lowering gives it back when it is in force and the memory is free. Containers
    that `requests` doesn't name count as allocated.
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
    """What the books count for a pod with these annotations, and what is wrong with those; what is doesn't count."""
    if names.ANNOTATION_LIMITS not in annotations and names.ANNOTATION_LIMITS_APPLIED not in annotations:
        return allocation, ""
    wanted: Limits = {}
    applied = NOTHING_APPLIED
    doubts = []
    try:
        wanted = of(annotations, requests.keys())
    except errors.Malformed as error:
        doubts.append(str(error))
    try:
        applied = load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
    except errors.Malformed as error:
        doubts.append(str(error))
    return reserved_allocation(allocation, requests, wanted, applied), "; ".join(doubts)


def _reserved_shares(
    request: Request, allocated: Sequence[Share], wanted: Limit | None, applied: Applied, name: str
) -> tuple[Share, ...]:
    beyond = applied.held.get(name, {})
    coming = shares(request, allocated, wanted)
    present = shares(request, allocated, applied.limits.get(name))
    return tuple(
        dataclasses.replace(
            one,
            memory=max(one.memory, other.memory, beyond.get(one.gpu, MiB(0))),
            cores=max(one.cores, other.cores),
        )
        for one, other in zip(coming, present, strict=True)
    )


def problems(container: str, request: Request, limit: Limit) -> list[Problem]:
    """Why a limit doesn't suit what the container asked for, whatever its GPU has free."""
    if not limitable(request):
        state = "it has whole GPUs, which nobody else is on" if request.whole else "it isn't isolated"
        shown = _text(_entry(limit))
        return [Problem(container, FIELD, shown, f"{state}, so it is held to no limits", "no entry for it")]
    found = []
    cores = request.cores if limit.cores is None else limit.cores
    compute = "policy" if limit.policy is not None else "ceiling"
    value = str(limit.policy if limit.policy is not None else limit.ceiling)
    wants_share = limit.ceiling is not None or limit.policy in (ComputePolicy.HARD, ComputePolicy.SOFT)
    if wants_share and not cores:
        found.append(
            Problem(container, compute, value, "the container has no share of compute", f"cores beside it: {_PERCENT}")
        )
    elif limit.ceiling is not None and limit.policy is ComputePolicy.UNLIMITED:
        why = "policy unlimited isn't throttled at all"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, "policy soft, or no ceiling"))
    elif limit.ceiling is not None and limit.ceiling < cores:
        why = f"below the container's share of {cores} %"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, f"{cores} to 100"))
    elif limit.ceiling is not None and limit.policy is ComputePolicy.HARD and limit.ceiling != cores:
        why = f"a hard share, {cores} % here, is its own ceiling"
        found.append(Problem(container, "ceiling", str(limit.ceiling), why, "policy soft, or no ceiling"))
    return found


def _document(text: str, containers: Collection[str]) -> dict[str, Any]:
    text = text.strip()
    if not text:
        return {}
    if text.startswith("{"):
        return _json(text)
    if len(containers) != 1:
        many = f"the pod has {len(containers)} containers with a share of a GPU, so it must say which it is for"
        raise Unreadable([Problem("", FIELD, text, many, FORM)])
    entry: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key in entry:
            why = f"{key} is there twice" if equals else f"{part.strip() or 'an empty part'} is not KEY=VALUE"
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
    """A later key would replace its namesake unseen."""
    for (one, _), (other, _) in itertools.pairwise(sorted(pairs, key=lambda pair: pair[0])):
        if one == other:
            raise ValueError(f"{one} is there twice")
    return dict(pairs)


def _limit(container: str, entry: object, problems: list[Problem]) -> Limit:
    """One container's entry; what is wrong with it is added to the problems."""
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
                    accepted = "memory, cores, ceiling and policy"
                    raise ValueError("there is no such limit")
        except ValueError as error:
            why = "no such policy" if key == "policy" else str(error)
            shown = value if isinstance(value, str) else json.dumps(value)
            problems.append(Problem(container, key, shown, why, accepted))
    return Limit(memory, cores, ceiling, policy)


def _number(value: object, high: int, *, memory: bool = False) -> int:
    """Raises ValueError with what is wrong."""
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
