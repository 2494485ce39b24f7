"""Limits that a pod brings along in `unigpu.dev/limits`, before it has a GPU: no wider than its request."""

import dataclasses
from collections.abc import Mapping

from unigpu import errors, limits, names, requests
from unigpu.findings import Problem
from unigpu.limits import Limit, Limits
from unigpu.requests import ComputePolicy, Request

NO_SHARE = "the pod has no share of a GPU"
_WHY = "exceeds the request, and limits can only be lower until the pod has a GPU"
_ONCE_PLACED = "no such limit until the pod is placed"


def problems(annotations: Mapping[str, str], asked: Mapping[str, Request]) -> list[Problem]:
    """Return the problems with the limits of a pod whose containers have these requests."""
    text = annotations.get(names.ANNOTATION_LIMITS, "")
    if not asked:
        return [Problem("", limits.FIELD, text, NO_SHARE, "no such annotation")] if text.strip() else []
    try:
        wanted = limits.from_annotations(annotations, asked)
    except limits.Unreadable as error:
        return list(error.problems)
    return [
        *(problem for name, limit in wanted.items() for problem in limits.problems(name, asked[name], limit)),
        *wider(asked, wanted),
    ]


def narrowed(annotations: Mapping[str, str]) -> str | None:
    """Return the text of the limits without those that exceed the request, None where none is left.

    Limits that can't be read stay as they are, and are refused for that.
    """
    text = annotations.get(names.ANNOTATION_LIMITS)
    if text is None:
        return None
    try:
        asked = requests.load(annotations[names.ANNOTATION_REQUEST]).containers
        wanted = limits.from_annotations(annotations, asked)
    except (KeyError, errors.Malformed):
        return text
    if not wider(asked, wanted):
        return text
    kept = {name: _no_wider(name, asked[name], limit) for name, limit in wanted.items()}
    kept = {name: limit for name, limit in kept.items() if limit != limits.AS_REQUESTED}
    return limits.dump(kept) if kept else None


def _no_wider(name: str, asked: Request, limit: Limit) -> Limit:
    """Return the limit without the amounts that exceed the request; compute limits go together."""
    memory = Limit(memory=limit.memory)
    compute = dataclasses.replace(limit, memory=None)
    kept = [part for part in (memory, compute) if not wider({name: asked}, {name: part})]
    return dataclasses.replace(
        compute if compute in kept else limits.AS_REQUESTED, memory=memory.memory if memory in kept else None
    )


def wider(by_container: Mapping[str, Request], wanted: Limits) -> list[Problem]:
    """Return where limits are wider than the requests."""
    found = []
    for name, limit in wanted.items():
        asked = by_container[name]
        becomes = limits.effective(asked, limit)
        if limit.memory is not None and not becomes.memory <= asked.memory:
            accepted = f"up to {asked.memory} MiB" if asked.memory else _ONCE_PLACED
            found.append(Problem(name, "memory", f"{becomes.memory} MiB", _WHY, accepted))
        if limit.cores is not None and not becomes.cores <= asked.cores:
            accepted = f"up to {asked.cores} %" if asked.cores else _ONCE_PLACED
            found.append(Problem(name, "cores", f"{becomes.cores} %", _WHY, accepted))
        if _highest(becomes) > _highest(asked) and (limit.ceiling, limit.policy) != (None, None):
            shown = str(limit.policy) if limit.ceiling is None else f"{limit.ceiling} %"
            which = "policy" if limit.ceiling is None else "ceiling"
            found.append(Problem(name, which, shown, _WHY, f"a ceiling of up to {_highest(asked)} %"))
    return found


def _highest(request: Request) -> int:
    """The percentage of a GPU that the container may use at most."""
    if request.policy is ComputePolicy.UNLIMITED or not request.cores:
        return 100
    return max(request.cores, request.ceiling)
