"""Decide what becomes of a pod that is created: the same at admission and offline. Pure."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import names
from unigpu.findings import Problem
from webhook.translation import annotation_check, copies, initial_limits, mutate, pod_reading, pods, translate
from webhook.translation.options import Options
from webhook.translation.pods import Pod
from webhook.translation.translate import Translation

PLATFORM_ONLY = {
    names.ANNOTATION_ALLOCATION: "only unigpu's scheduler writes it",
    names.ANNOTATION_LIMITS_APPLIED: "only unigpu's node agent writes it",
    names.ANNOTATION_LOWERED: "only unigpu's scheduler writes it",
}
"""Annotations that no new pod has when it is stored."""
PROTECTED = (names.ANNOTATION_REQUEST, *PLATFORM_ONLY)
"""Annotations of an existing pod that only the platform changes."""
REVIEWED = (*PROTECTED, names.ANNOTATION_LIMITS)
"""Annotations whose changes are reviewed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for a pod that is created."""

    outcome: str
    """`untouched`: nothing of ours · `translated` · `unchanged`: translated before, or stale annotations of a copy are
    dropped · `refused` · `forged`."""
    pod: Pod
    translation: Translation
    patch: mutate.Patch = field(default_factory=list)
    denied: str = ""
    """Why nobody may send such a pod; empty where the translation's problems, if any, say all."""


def decide(document: Mapping[str, Any], options: Options) -> Decision:
    """Translate a pod, or the template of one; check the translation that it brings along, if it does.

    What belongs to the running pod of which it is a copy is dropped, with warnings.
    Raises Malformed where it isn't a pod.
    """
    cleaned = copies.clean(pods.read(document))
    decision = _decide(document, cleaned.pod, options)
    if not cleaned.patch:
        return decision
    warnings = (*cleaned.warnings, *decision.translation.warnings)
    return dataclasses.replace(
        decision,
        outcome="unchanged" if decision.outcome == "untouched" else decision.outcome,
        translation=dataclasses.replace(decision.translation, warnings=warnings),
        patch=[] if decision.outcome == "refused" else [*cleaned.patch, *decision.patch],
    )


def verify(document: Mapping[str, Any], options: Options) -> Decision:
    """Decide about a pod after all mutations: where it still has an annotation of the platform's, it is forged.

    Raises Malformed where it isn't a pod.
    """
    pod = pods.read(document)
    for name, why in PLATFORM_ONLY.items():
        if name in pod.annotations:
            denied = str(Problem("", f"annotation {name}", pod.annotations[name], why, "no such annotation"))
            return Decision("forged", pod, Translation(), denied=denied)
    return _decide(document, pod, options)


def _decide(document: Mapping[str, Any], pod: Pod, options: Options) -> Decision:
    reading = pod_reading.read(pod, options)
    brought = pod.annotations.get(names.ANNOTATION_REQUEST)
    if brought is not None and not reading.own_words:
        translation = annotation_check.check(reading)
    elif brought is not None:
        translation = translate.translate(reading, annotation_check.agreeing(reading))
        if translation.request is not None:
            wrong = tuple(annotation_check.differences(reading, translation.request))
            translation = dataclasses.replace(translation, problems=wrong)
    else:
        translation = translate.translate(reading)
    translation = _with_limits(pod, translation)
    if translation.problems:
        return Decision("refused", pod, translation)
    if translation.request is None:
        return Decision("untouched", pod, translation)
    patch = mutate.patch(document, pod, translation.request, options, translation.void)
    return Decision("translated" if brought is None else "unchanged", pod, translation, patch)


def _with_limits(pod: Pod, translation: Translation) -> Translation:
    """The translation, with the problems of the limits that the pod brings along."""
    if names.ANNOTATION_LIMITS not in pod.annotations or translation.problems:
        return translation
    asked = translation.request.containers if translation.request else {}
    return dataclasses.replace(translation, problems=tuple(initial_limits.problems(pod.annotations, asked)))
