"""Warnings about updates of a pod that don't do, or not for long, what their author may expect."""

from collections.abc import Iterator, Mapping
from typing import Any

from unigpu import limits, names
from unigpu.findings import Remark
from webhook.translation import dialects, preferences, unsupported
from webhook.translation.pods import Pod

ANNOTATIONS = tuple(sorted(unsupported.ANNOTATIONS | dialects.OF_RESOURCE.keys()))
"""Vendors' annotations that count at a pod's creation, and resources, which count nowhere as annotations."""
LABELS = tuple(sorted(unsupported.LABELS))
"""Vendors' labels that count at a pod's creation."""
_CHOICES = preferences.ANNOTATIONS | unsupported.LABELS
"""Names that choose GPUs, their number or the dialect. Limits can't replace them."""


def without_effect(before: Pod, after: Pod) -> Iterator[str]:
    """Yield a warning for each of the vendors' annotations and labels of a translated pod that the update changes."""
    if names.ANNOTATION_REQUEST not in before.annotations:
        return
    for kind, known, had, has in (
        ("annotation", ANNOTATIONS, before.annotations, after.annotations),
        ("label", LABELS, before.labels, after.labels),
    ):
        for name in known:
            if had.get(name) != has.get(name):
                instead = "a new pod" if name in _CHOICES else "kubectl unigpu limit, or a new pod"
                why = "the change has no effect on a running pod"
                yield str(Remark("pod", f"{kind} {name}", has.get(name, "absent"), why, instead))


def ends_with_pod(pod: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield a warning where the limits `text` are set on a pod that a controller will replace without them."""
    owners = (pod.get("metadata") or {}).get("ownerReferences")
    for owner in owners if isinstance(owners, list) and text.strip() else ():
        if isinstance(owner, dict) and owner.get("controller") is True:
            title = f"{owner.get('kind', '')} {owner.get('name', '')}"
            why = f"ends with this pod; the next pod of {title} starts as requested"
            yield str(Remark("pod", limits.FIELD, text, why))
