"""Reviews → answers. Pure: one function for each path."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import findings, limits, names
from unigpu.ledger import CapacityLedger
from webhook.admission import admission_review
from webhook.limits import limit_change
from webhook.translation import annotation_check, mutate, pods, reapply, translate
from webhook.translation.options import Options
from webhook.translation.translate import Translation

OURS_ALONE = {
    names.ANNOTATION_ALLOCATION: "it is written by unigpu's scheduler; leave it out",
    names.ANNOTATION_LIMITS_APPLIED: "it is written by unigpu's node agent; leave it out",
}
"""Annotations that no new pod can have."""
WRITTEN_BY_US = (names.ANNOTATION_REQUEST, *OURS_ALONE)
CHECKED = (*WRITTEN_BY_US, names.ANNOTATION_LIMITS)
"""Annotations whose changes are looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, and what the log and the metrics say of it."""

    answer: admission_review.Answer
    outcome: str
    """`untouched`: nothing of ours · `translated` · `unchanged`: translated before · `limited`: its limits change ·
    `refused` · `forged`."""
    dialects: Sequence[str] = ()
    reason: str = ""
    """Of a refusal; of `limited`, what changed."""
    needs_node: str = ""
    """Node whose GPUs the answer depends on. It is a refusal until the review is made again with its books."""
    accepted: limit_change.AcceptedChange | None = None
    """The change of limits that it lets pass."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a pod that is created."""

    outcome: str
    """As in Verdict."""
    translation: Translation
    patch: mutate.Patch = field(default_factory=list)
    denied: str = ""
    """Why nobody may send such a pod; empty where the translation's problems, if any, say all."""


def decide(document: Mapping[str, Any], options: Options) -> Decision:
    """Translate a pod, or the template of one. The same at admission and offline.

    Raises Malformed where it isn't a pod.
    """
    pod = pods.read(document)
    if (denied := _not_theirs(pod.annotations)) is not None:
        return Decision("forged", Translation(), denied=denied)
    brought = names.ANNOTATION_REQUEST in pod.annotations
    translation = annotation_check.check(pod, options) if brought else translate.translate(pod, options)
    translation = _with_limits(pod, translation)
    if translation.problems:
        return Decision("refused", translation)
    if translation.request is None:
        return Decision("untouched", translation)
    if brought:
        return Decision("unchanged", translation, mutate.scheduler(pod, options))
    return Decision("translated", translation, mutate.patch(document, pod, translation.request, options))


def review_mutation(review: admission_review.Review, options: Options) -> Verdict:
    """Translate a pod that is created, and know it again when its manifest is applied anew.

    Raises Malformed where the pod isn't one.
    """
    if (review.kind, review.operation, review.subresource) == ("Pod", "UPDATE", ""):
        again = reapply.restore(review.old, review.document, options)
        if again.problems:
            return _refused(review, Translation(problems=again.problems))
        return Verdict(admission_review.allow(review.uid, (), again.patch), "unchanged" if again.patch else "untouched")
    if review.kind != "Pod" or review.operation != "CREATE" or review.subresource:
        return Verdict(admission_review.allow(review.uid), "untouched")
    decision = decide(review.document, options)
    translation = decision.translation
    if decision.denied:
        return _forged(review, decision.denied)
    if translation.problems:
        return _refused(review, translation)
    answer = admission_review.allow(review.uid, translation.warnings, decision.patch)
    return Verdict(answer, decision.outcome, translation.dialects)


def review_validation(
    review: admission_review.Review,
    options: Options,
    trusted_writers: Sequence[str],
    node: CapacityLedger | None = None,
) -> Verdict:
    """Check what a pod became, who changes the platform's annotations of one that exists, and changes of its limits.

    `node` are the books of the node that an earlier verdict on the same review names in `needs_node`.
    Raises Malformed where the pod isn't one.
    """
    if review.kind == "Binding" and review.operation == "CREATE":
        return _binding(review, trusted_writers)
    if review.kind != "Pod" or review.operation not in ("CREATE", "UPDATE"):
        return Verdict(admission_review.allow(review.uid), "untouched")
    if review.operation == "UPDATE":
        return _update(review, options, trusted_writers, node)
    if review.subresource:
        return Verdict(admission_review.allow(review.uid), "untouched")
    pod = pods.read(review.document)
    if (denied := _not_theirs(pod.annotations)) is not None:
        return _forged(review, denied)
    if names.ANNOTATION_REQUEST in pod.annotations:
        translation = _with_limits(pod, annotation_check.check(pod, options))
        if translation.problems:
            return _refused(review, translation)
        if pod.scheduler != options.scheduler:
            why = f"spec.schedulerName is {pod.scheduler!r} after all webhooks, not {options.scheduler}"
            return _denied(review, why, translation.dialects)
        return Verdict(admission_review.allow(review.uid), "unchanged", translation.dialects)
    translation = _with_limits(pod, translate.translate(pod, options))
    if translation.problems:
        return _refused(review, translation)
    if translation.request is not None:
        why = "the pod asks for GPUs and wasn't translated: another webhook changed it after ours, or ours was skipped"
        return _denied(review, why, translation.dialects)
    return Verdict(admission_review.allow(review.uid), "untouched")


def unanswered(review: admission_review.Review, why: str) -> Verdict:
    """The verdict where what it depends on can't be looked at now."""
    reason = f"{limits.FIELD}: a raise can't be checked against what the node's GPUs have free, try again: {why}"
    status: admission_review.Status = {"code": 503, "reason": "ServiceUnavailable", "message": reason}
    return Verdict(admission_review.refuse(review.uid, status), "refused", (), reason)


def _not_theirs(annotations: Mapping[str, str]) -> str | None:
    """Why a new pod can't have these annotations; None: it can."""
    return next((f"annotation {name}: {why}" for name, why in OURS_ALONE.items() if name in annotations), None)


def _with_limits(pod: pods.Pod, translation: Translation) -> Translation:
    """The translation, with the problems of the limits that the pod brings along."""
    if names.ANNOTATION_LIMITS not in pod.annotations or translation.problems:
        return translation
    wishes = translation.request.containers if translation.request else {}
    return dataclasses.replace(translation, problems=tuple(limit_change.at_creation(pod.annotations, wishes)))


def _update(
    review: admission_review.Review, options: Options, trusted_writers: Sequence[str], node: CapacityLedger | None
) -> Verdict:
    if review.user in trusted_writers:
        return Verdict(admission_review.allow(review.uid), "untouched")
    before, after = _annotations(review.old), _annotations(review.document)
    for name in WRITTEN_BY_US:
        if before.get(name) != after.get(name):
            who = review.user or "an unknown user"
            return _forged(review, f"annotation {name}: only unigpu may change it, and not {who}")
    if before.get(names.ANNOTATION_LIMITS) == after.get(names.ANNOTATION_LIMITS):
        return Verdict(admission_review.allow(review.uid), "untouched")
    return _limits(review, before, after, options, node)


def _limits(
    review: admission_review.Review,
    before: Mapping[str, str],
    after: Mapping[str, str],
    options: Options,
    node: CapacityLedger | None,
) -> Verdict:
    change = limit_change.evaluate(review.old, before, after, options.rules)
    problems = change.problems
    if not problems and change.node:
        if node is None:
            unknown = unanswered(review, f"nobody looked at node {change.node}")
            return dataclasses.replace(unknown, needs_node=change.node)
        problems = tuple(limit_change.check_capacity(change, node))
    if problems:
        return _refused(review, Translation(problems=problems))
    was, becomes = (said.get(names.ANNOTATION_LIMITS, "as requested") for said in (before, after))
    return Verdict(
        admission_review.allow(review.uid, change.warnings),
        "limited",
        reason=f"{was} → {becomes}",
        accepted=limit_change.accepted(change),
    )


def _binding(review: admission_review.Review, trusted_writers: Sequence[str]) -> Verdict:
    """A binding's annotations become the pod's."""
    brought = _annotations(review.document)
    for name in CHECKED:
        if name in brought and review.user not in trusted_writers:
            who = review.user or "an unknown user"
            return _forged(review, f"annotation {name}: only unigpu may bring it with a binding, and not {who}")
    return Verdict(admission_review.allow(review.uid), "untouched")


def _annotations(document: Mapping[str, Any]) -> Mapping[str, str]:
    return pods.read({"metadata": document.get("metadata")}).annotations


def _refused(review: admission_review.Review, translation: Translation) -> Verdict:
    reason = findings.message(translation.problems)
    status: admission_review.Status = {"code": 422, "reason": "Invalid", "message": reason}
    return Verdict(
        admission_review.refuse(review.uid, status, translation.warnings), "refused", translation.dialects, reason
    )


def _denied(review: admission_review.Review, reason: str, dialects: Sequence[str]) -> Verdict:
    status: admission_review.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(admission_review.refuse(review.uid, status), "refused", dialects, reason)


def _forged(review: admission_review.Review, reason: str) -> Verdict:
    status: admission_review.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(admission_review.refuse(review.uid, status), "forged", (), reason)
