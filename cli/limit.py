"""`kubectl unigpu limit`: a pod's new limits, in words and as the annotation. Pure."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from unigpu import errors, limits, names, requests
from unigpu.limits import AS_REQUESTED, Applied
from unigpu.requests import ComputePolicy, Request


@dataclass(frozen=True, slots=True)
class LimitChange:
    """The limits that the command line names."""

    container: str = ""
    """Empty: the pod's only one with a GPU; with `reset` alone, all of them."""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """`memory`, `cores`, `ceiling`, `policy`, as written."""
    reset: bool = False
    """Forget earlier limits first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The annotation to write, and the change in words."""

    text: str | None
    """Value of the annotation; None: remove it."""
    changes: tuple[str, ...]
    """A line for each container whose limits change: old → new."""


def plan(annotations: Mapping[str, str], change: LimitChange) -> Plan:
    """Return the pod's limits, with those of the command line in place of earlier ones of the same name.

    Raises Denied where the pod has no GPU or it isn't clear which container is meant, Malformed for what can't be read.
    """
    asked = _requests(annotations)
    try:
        had, unreadable = limits.from_annotations(annotations, asked), False
    except errors.Malformed:  # it isn't in force, and is replaced
        had, unreadable = {}, True
    wanted = dict(had)
    for name in _meant(change, asked):
        was = AS_REQUESTED if change.reset else wanted.get(name, AS_REQUESTED)
        named = limits.parse(json.dumps({name: dict(change.fields)}), asked).get(name, AS_REQUESTED)
        wanted[name] = dataclasses.replace(
            was, **{field: value for field in change.fields if (value := getattr(named, field)) is not None}
        )
    wanted = {name: limit for name, limit in wanted.items() if limit != AS_REQUESTED}
    changes = tuple(
        f"{name}: {held_to(limits.effective(asked[name], had.get(name)))} → "
        f"{held_to(limits.effective(asked[name], wanted.get(name)))}"
        for name in asked
        if wanted.get(name) != had.get(name)
    )
    if unreadable:
        changes = (f"annotation {names.ANNOTATION_LIMITS} could not be read and is replaced", *changes)
    return Plan(limits.dump(wanted) if wanted else None, changes)


def shown(annotations: Mapping[str, str]) -> list[str]:
    """Return a line for each container with a GPU: its limits now.

    Raises Denied, Malformed.
    """
    asked = _requests(annotations)
    wanted = limits.from_annotations(annotations, asked)
    lines = []
    for name, request in asked.items():
        requested = f", requested: {held_to(request)}" if name in wanted else ""
        lines.append(f"{name}: {held_to(limits.effective(request, wanted.get(name)))}{requested}")
    said = applied(annotations)
    return [*lines, "not in force yet"] if said is None else lines + beyond(said)


def applied(annotations: Mapping[str, str]) -> Applied | None:
    """Return the node agent's report once the wanted limits are in force; None before that.

    Raises Denied, Malformed.
    """
    says = limits.load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
    wanted = limits.from_annotations(annotations, _requests(annotations))
    return says if limits.dump(says.limits) == limits.dump(wanted) else None


def held_to(request: Request) -> str:
    """Return a container's limits in words: `4096 MiB, 10 % up to 80 % (soft)`."""
    if request.whole:
        return "whole GPUs"
    if not request.isolated:
        return "not isolated"
    if request.memory:
        memory = f"{request.memory} MiB"
    else:
        memory = f"{request.memory_percent} % of the memory" if request.memory_percent else "memory without limit"
    if request.policy is ComputePolicy.UNLIMITED or not request.cores:
        guaranteed = f", {request.cores} % guaranteed" if request.cores else ""
        return f"{memory}{guaranteed}, compute without limit"
    upto = f" up to {request.ceiling} %" if request.ceiling > request.cores else ""
    return f"{memory}, {request.cores} %{upto} ({request.policy})"


def beyond(said: Applied) -> list[str]:
    """Return a line for each container that holds more memory than its limit."""
    return [
        f"{name}: has {amount} MiB of {gpu} in use, more than its limit: it can't allocate more until it frees some"
        for name, gpus in said.held.items()
        for gpu, amount in gpus.items()
    ]


def _requests(annotations: Mapping[str, str]) -> Mapping[str, Request]:
    text = annotations.get(names.ANNOTATION_REQUEST)
    if text is None:
        raise errors.Denied(
            f"annotation {names.ANNOTATION_REQUEST} is missing: the pod has no share of a GPU; accepted: "
            "a pod whose GPU request was admitted"
        )
    return requests.load(text).containers


def _meant(change: LimitChange, asked: Collection[str]) -> Sequence[str]:
    if change.container:
        if change.container not in asked:
            known = ", ".join(asked)
            raise errors.Denied(f"container = {change.container}: it has no share of a GPU; accepted: {known}")
        return [change.container]
    if len(asked) > 1 and change.fields:
        raise errors.Denied(
            f"container is missing: the pod has several with a GPU; accepted: -c with one of {', '.join(asked)}"
        )
    return list(asked)
