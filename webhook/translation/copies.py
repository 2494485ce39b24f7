"""A pod that was copied from a live one: restored, replaced by force, or made by `kubectl debug --copy-to`.

Its annotations still say where the original ran and which limits were in force there. Such annotations are dropped,
because only a binding and the node agent give them a meaning. So an author who writes them by hand gains nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import limits, lowering, names
from unigpu.findings import Remark
from webhook.translation import initial_limits
from webhook.translation.pods import Pod

STALE = {
    names.ANNOTATION_ALLOCATION: "the scheduler chooses GPUs for the new pod",
    names.ANNOTATION_LIMITS_APPLIED: "the node agent writes it for the new pod",
    names.ANNOTATION_LOWERED: "nothing was lowered for the new pod",
}
"""Annotations that belong to one running pod: why a copy's are dropped."""
_DROPPED = "dropped from this copy of a running pod"
_EXCEEDS = "exceeds the request, with which this copy of a running pod starts"


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
    record = lowering.record(pod.annotations)
    becomes = initial_limits.narrowed(annotations if record is None else _before(annotations, record))
    if was is not None and becomes != was:
        patch.append(_remove(names.ANNOTATION_LIMITS) if becomes is None else _put(names.ANNOTATION_LIMITS, becomes))
        cause = _EXCEEDS if record is None else f"the original made room for pod {record.purpose}"
        why = f"{cause}; now {becomes or 'dropped'}"
        warnings.append(str(Remark("pod", limits.FIELD, was, why)))
        del annotations[names.ANNOTATION_LIMITS]
        annotations |= {} if becomes is None else {names.ANNOTATION_LIMITS: becomes}
    return Cleaned(dataclasses.replace(pod, annotations=annotations, node=node), tuple(patch), tuple(warnings))


def _before(annotations: Mapping[str, str], record: lowering.Record) -> dict[str, str]:
    """Return the annotations as they were before the original's limits were lowered."""
    others = {name: value for name, value in annotations.items() if name != names.ANNOTATION_LIMITS}
    return others if record.before is None else {**others, names.ANNOTATION_LIMITS: record.before}


def _remove(annotation: str) -> dict[str, Any]:
    return {"op": "remove", "path": _path(annotation)}


def _put(annotation: str, value: str) -> dict[str, Any]:
    return {"op": "replace", "path": _path(annotation), "value": value}


def _path(annotation: str) -> str:
    return f"/metadata/annotations/{annotation.replace('/', '~1')}"
