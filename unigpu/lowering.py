"""Limits that are lowered to make room for a more important pod, and the two annotations that carry them. Pure.

    unigpu.dev/lowerable  of a node, written by its node agent: for each container that could do with less, its pod's
                          UID, its name, the indexes of its GPUs, and on each of them the memory (MiB) and cores
                          (percent) that it is limited to, and the least that it could be limited to:
                          {"version": 1, "containers": [["UID", "main", [0], [4096, 1024], [50, 5]], …]}
    unigpu.dev/lowered    of a pod, written by the scheduler with its lowered `unigpu.dev/limits`: for which pod,
                          when, the text of `unigpu.dev/limits` before, null if there was none, and the text that was
                          written in its place: {"version": 1, "for": "ns/pod", "at": 1767225600, "before": null,
                          "wrote": "…"}

The node agent gives back what was lowered when the GPUs have room for it. The record on the pod is all that it needs.
If somebody changes the limits after they were lowered, theirs count, and nothing is given back.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unigpu import documents, errors, limits, names
from unigpu.allocations import Share
from unigpu.documents import whole
from unigpu.gpus import Gpu
from unigpu.limits import AS_REQUESTED
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MAX_MEMORY, GpuUuid, MiB, Percent

VERSION = 1
MAX_CONTAINERS = 1024
"""Most containers of one node that are named; those that could do without the most come first. Their text has about 90
bytes each, and all annotations of an object together at most 262,144."""
STEPS = 8
"""Memory that a container holds is published in this many steps of its limit, so that the annotation seldom changes."""
LEAST_GAIN = MiB(64)
"""MiB below which a container's memory isn't worth lowering."""
MAX_TIME = 1 << 40


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a container is limited to on each of its GPUs."""

    memory: MiB = MiB(0)
    """0: not limited."""
    cores: Percent = Percent(0)
    """Guaranteed percent; 0: none."""


@dataclass(frozen=True, slots=True)
class Lowerable:
    """A container that could do with less."""

    pod: str
    """The pod's UID."""
    container: str
    gpus: tuple[GpuUuid, ...]
    now: Amounts
    least: Amounts
    """The least that it could be limited to."""

    @property
    def key(self) -> str:
        """Pod's UID and container's name."""
        return f"{self.pod}/{self.container}"


@dataclass(frozen=True, slots=True)
class Freed:
    """What pods with lowered limits request and don't have, over all GPUs of a node."""

    memory: MiB = MiB(0)
    cores: int = 0
    """Percent of one GPU's compute time."""


@dataclass(frozen=True, slots=True)
class Keep:
    """What containers keep when their limits are lowered."""

    reserve: int = 10
    """Percent of its limit that a container keeps free beyond the memory that it holds."""
    cores: int = 5
    """Percent of each GPU's compute time that a soft container keeps guaranteed."""


def least(request: Request, share: Share, held: MiB, keep: Keep) -> Amounts:
    """Return the least that a container could be limited to on a GPU of which it holds so much memory.

    `request`: with the limits in force; `share`: likewise. The memory is rounded up to an eighth of the limit. Only a
    soft container can do with less compute time, because it may use what others leave idle.
    """
    if not limits.limitable(request) or share.whole:
        return Amounts(share.memory, share.cores)
    step = max(1, -(-share.memory // STEPS))
    kept = -(-(held + -(-share.memory * keep.reserve // 100)) // step) * step
    memory = min(share.memory, max(kept, 1))
    if share.memory - memory < LEAST_GAIN:
        memory = share.memory
    soft = request.policy is ComputePolicy.SOFT and request.ceiling > share.cores
    return Amounts(MiB(memory), Percent(min(share.cores, keep.cores)) if soft else share.cores)


def entry(
    pod: str, container: str, request: Request, shares: Sequence[Share], held: Sequence[MiB], keep: Keep
) -> Lowerable | None:
    """Return what one container could do without; None if nothing. `held`: MiB in use, in the shares' order.

    Limits are the same on each GPU of a container, so the GPU that needs the most decides.
    """
    lowest = [least(request, share, used, keep) for share, used in zip(shares, held, strict=True)]
    if not lowest:
        return None
    now = Amounts(shares[0].memory, shares[0].cores)
    if any((share.memory, share.cores) != (now.memory, now.cores) for share in shares):
        return None  # percentages of GPUs of different sizes: there is no one limit that says so
    found = Amounts(max(one.memory for one in lowest), max(one.cores for one in lowest))
    if found == now:
        return None
    return Lowerable(pod, container, tuple(share.gpu for share in shares), now, found)


def dump(found: Iterable[Lowerable], gpus: Sequence[Gpu]) -> str | None:
    """Return the node annotation's text; None, which removes it, if no container could do with less."""
    indexes = {gpu.uuid: gpu.index for gpu in gpus}
    known = [one for one in found if all(gpu in indexes for gpu in one.gpus)]
    known.sort(key=lambda one: (one.least.memory - one.now.memory, one.least.cores - one.now.cores, one.key))
    containers = [
        [
            one.pod,
            one.container,
            [indexes[gpu] for gpu in one.gpus],
            [one.now.memory, one.least.memory],
            [one.now.cores, one.least.cores],
        ]
        for one in sorted(known[:MAX_CONTAINERS], key=lambda one: one.key)
    ]
    return json.dumps({"version": VERSION, "containers": containers}, separators=(",", ":")) if containers else None


def load(text: str | None, gpus: Iterable[Gpu]) -> tuple[Lowerable, ...]:
    """Return what `dump` wrote of the node's GPUs. Containers on other GPUs are left out. Raises Malformed."""
    if text is None:
        return ()
    uuids = {gpu.index: gpu.uuid for gpu in gpus}
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise ValueError(f"it has version {document['version']}, not {VERSION}")
        if len(document["containers"]) > MAX_CONTAINERS:
            raise ValueError(f"it names more than {MAX_CONTAINERS} containers")
        found = []
        for pod, container, indexes, memory, cores in document["containers"]:
            places = tuple(uuids[index] for index in indexes if whole(index, documents.MAX_INDEX) in uuids)
            now, lowest = (
                Amounts(MiB(whole(amount, MAX_MEMORY)), Percent(whole(part, 100)))
                for amount, part in zip(memory, cores, strict=True)
            )
            if places and len(places) == len(indexes):
                found.append(Lowerable(documents.text(pod), documents.text(container), places, now, lowest))
        return tuple(found)
    except documents.INVALID as error:
        raise errors.Malformed(
            f"annotation {names.ANNOTATION_LOWERABLE} can't be read: {documents.brief(error)}"
        ) from (error)


@dataclass(frozen=True, slots=True)
class Record:
    """Why a pod's limits are lower than they were, and what they were."""

    purpose: str
    """`namespace/name` of the pod that they were lowered for."""
    at: int
    """Seconds since the epoch; of the latest change, where there were several."""
    before: str | None
    """The text of `unigpu.dev/limits` before the first; None: the pod had no such annotation."""
    wrote: str
    """The text that was written in its place."""

    def holds(self, annotations: Mapping[str, str]) -> bool:
        """Return whether the pod's limits are still those that were written: nobody else has changed them."""
        return annotations.get(names.ANNOTATION_LIMITS) == self.wrote


def dump_record(record: Record) -> str:
    """Return the pod annotation's text."""
    document = {
        "version": VERSION,
        "for": record.purpose,
        "at": record.at,
        "before": record.before,
        "wrote": record.wrote,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def load_record(text: str) -> Record:
    """Return what `dump_record` wrote. Raises Malformed."""
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise ValueError(f"it has version {document['version']}, not {VERSION}")
        before = document["before"]
        return Record(
            documents.text(document["for"]),
            whole(document["at"], MAX_TIME),
            None if before is None else documents.text(before),
            documents.text(document["wrote"]),
        )
    except documents.INVALID as error:
        reason = documents.brief(error)
        raise errors.Malformed(f"annotation {names.ANNOTATION_LOWERED} can't be read: {reason}") from error


def record(annotations: Mapping[str, str]) -> Record | None:
    """Return the record of a pod whose limits are still lowered; None where they aren't, or it can't be read."""
    text = annotations.get(names.ANNOTATION_LOWERED)
    if text is None:
        return None
    try:
        found = load_record(text)
    except errors.Malformed:
        return None
    return found if found.holds(annotations) else None


def gives_back(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Return whether this change of a pod's annotations gives back what was lowered, and no more than that."""
    found = record(before)
    return (
        found is not None
        and names.ANNOTATION_LOWERED not in after
        and after.get(names.ANNOTATION_LIMITS) == found.before
    )


def lower(
    annotations: Mapping[str, str], requests: Mapping[str, Request], to: Mapping[str, Amounts], purpose: str, at: int
) -> dict[str, str] | None:
    """Return the two annotations that lower a pod's limits to these amounts; None if nothing would be lower.

    No amount is raised: where the pod has changed since it was planned, the smaller of both counts. Raises Malformed
    where the pod's limits can't be read.
    """
    present = limits.from_annotations(annotations, requests.keys())
    wanted: dict[str, limits.Limit] = dict(present)
    for name, amounts in to.items():
        request = requests.get(name)
        if request is None or not limits.limitable(request):
            continue
        limit = present.get(name, AS_REQUESTED)
        now = limits.effective(request, limit)
        memory = limit.memory
        if amounts.memory and (now.memory == 0 or amounts.memory < now.memory):
            memory = amounts.memory
        cores = limit.cores
        if amounts.cores and amounts.cores < now.cores:
            cores = amounts.cores
        wanted[name] = dataclasses.replace(limit, memory=memory, cores=cores)
    wrote = limits.dump(wanted)
    if wrote == limits.dump(present):
        return None
    earlier = record(annotations)
    before = annotations.get(names.ANNOTATION_LIMITS) if earlier is None else earlier.before
    text = dump_record(Record(purpose, at, before, wrote))
    return {names.ANNOTATION_LIMITS: wrote, names.ANNOTATION_LOWERED: text}
