"""A pod that was copied from a live one: restored, replaced by force, or made by `kubectl debug --copy-to`.

Its annotations still say where the original ran and which limits were in force there. Such annotations are dropped,
because only a binding and the node agent give them a meaning. So an author who writes them by hand gains nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import errors, limits, names, requests
from unigpu.findings import Remark
from unigpu.limits import Limit
from unigpu.requests import Request
from webhook.translation import initial_limits
from webhook.translation.pods import Pod

STALE = {
    names.ANNOTATION_ALLOCATION: "the scheduler chooses GPUs for the new pod",
    names.ANNOTATION_LIMITS_APPLIED: "the node agent writes it for the new pod",
}
"""Annotations that belong to one running pod: why a copy's are dropped."""
_DROPPED = "dropped from this copy of a running pod"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A pod without what belongs to its original."""

    pod: Pod
    patch: tuple[dict[str, Any], ...] = ()
    """The RFC 6902 operations that made it so; empty: nothing was dropped."""
    warnings: tuple[str, ...] = ()


def clean(pod: Pod) -> Cleaned:
    """Drop the original's allocation and applied limits, its node, and limits that exceed the request.

    The node and the limits stay in a pod without a request, which unigpu hasn't translated.
    """
    stale = [name for name in STALE if name in pod.annotations]
    if not stale:
        return Cleaned(pod)
    annotations = {name: value for name, value in pod.annotations.items() if name not in STALE}
    patch = [_remove(name) for name in stale]
    warnings = [
        str(Remark("pod", f"annotation {name}", pod.annotations[name], f"{_DROPPED}: {STALE[name]}")) for name in stale
    ]
    node = pod.node
    if node and names.ANNOTATION_ALLOCATION in stale and names.ANNOTATION_REQUEST in annotations:
        patch.append({"op": "remove", "path": "/spec/nodeName"})
        warnings.append(
            str(Remark("pod", "spec.nodeName", node, f"{_DROPPED}: the scheduler chooses the new pod's node"))
        )
        node = ""
    was = annotations.get(names.ANNOTATION_LIMITS)
    becomes = _narrowed(annotations)
    if was is not None and becomes != was:
        patch.append(_remove(names.ANNOTATION_LIMITS) if becomes is None else _put(names.ANNOTATION_LIMITS, becomes))
        why = f"exceeds the request, with which this copy of a running pod starts; now {becomes or 'dropped'}"
        warnings.append(str(Remark("pod", limits.FIELD, was, why)))
        del annotations[names.ANNOTATION_LIMITS]
        annotations |= {} if becomes is None else {names.ANNOTATION_LIMITS: becomes}
    return Cleaned(dataclasses.replace(pod, annotations=annotations, node=node), tuple(patch), tuple(warnings))


def _narrowed(annotations: Mapping[str, str]) -> str | None:
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
    if not initial_limits.wider(asked, wanted):
        return text
    kept = {name: _no_wider(name, asked[name], limit) for name, limit in wanted.items()}
    kept = {name: limit for name, limit in kept.items() if limit != limits.AS_REQUESTED}
    return limits.dump(kept) if kept else None


def _no_wider(name: str, asked: Request, limit: Limit) -> Limit:
    """Return the limit without the amounts that exceed the request; compute limits go together."""
    memory = Limit(memory=limit.memory)
    compute = dataclasses.replace(limit, memory=None)
    kept = [part for part in (memory, compute) if not initial_limits.wider({name: asked}, {name: part})]
    return dataclasses.replace(
        compute if compute in kept else limits.AS_REQUESTED, memory=memory.memory if memory in kept else None
    )


def _remove(annotation: str) -> dict[str, Any]:
    return {"op": "remove", "path": _path(annotation)}


def _put(annotation: str, value: str) -> dict[str, Any]:
    return {"op": "replace", "path": _path(annotation), "value": value}


def _path(annotation: str) -> str:
    return f"/metadata/annotations/{annotation.replace('/', '~1')}"
