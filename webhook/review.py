"""Reviews → answers. Pure: one function for each path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import findings, names
from webhook import mutate, pods, reapply, translate, wire, written
from webhook.options import Options
from webhook.translate import Translation

ALLOCATION_IS_OURS = "it is written by unigpu's scheduler; leave it out"
WRITTEN_BY_US = (names.ANNOTATION_REQUEST, names.ANNOTATION_ALLOCATION)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, and what the log and the metrics say of it."""

    answer: wire.Answer
    outcome: str
    """`untouched`: nothing of ours · `translated` · `unchanged`: translated before · `refused` · `forged`."""
    dialects: Sequence[str] = ()
    reason: str = ""
    """Of a refusal."""


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
    if names.ANNOTATION_ALLOCATION in pod.annotations:
        return Decision(
            "forged", Translation(), denied=f"annotation {names.ANNOTATION_ALLOCATION}: {ALLOCATION_IS_OURS}"
        )
    brought = names.ANNOTATION_REQUEST in pod.annotations
    translation = written.check(pod, options) if brought else translate.translate(pod, options)
    if translation.problems:
        return Decision("refused", translation)
    if translation.request is None:
        return Decision("untouched", translation)
    if brought:
        return Decision("unchanged", translation, mutate.scheduler(pod, options))
    return Decision("translated", translation, mutate.patch(document, pod, translation.request, options))


def review_mutation(review: wire.Review, options: Options) -> Verdict:
    """Translate a pod that is created, and know it again when its manifest is applied anew.

    Raises Malformed where the pod isn't one.
    """
    if (review.kind, review.operation, review.subresource) == ("Pod", "UPDATE", ""):
        again = reapply.restore(review.old, review.document, options)
        if again.problems:
            return _refused(review, Translation(problems=again.problems))
        return Verdict(wire.allow(review.uid, (), again.patch), "unchanged" if again.patch else "untouched")
    if review.kind != "Pod" or review.operation != "CREATE" or review.subresource:
        return Verdict(wire.allow(review.uid), "untouched")
    decision = decide(review.document, options)
    translation = decision.translation
    if decision.denied:
        return _forged(review, decision.denied)
    if translation.problems:
        return _refused(review, translation)
    answer = wire.allow(review.uid, translation.warnings, decision.patch)
    return Verdict(answer, decision.outcome, translation.dialects)


def review_validation(review: wire.Review, options: Options, writers: Sequence[str]) -> Verdict:
    """Check what a pod became, and who changes the platform's annotations of one that exists.

    Raises Malformed where the pod isn't one.
    """
    if review.kind == "Binding" and review.operation == "CREATE":
        return _binding(review, writers)
    if review.kind != "Pod" or review.operation not in ("CREATE", "UPDATE"):
        return Verdict(wire.allow(review.uid), "untouched")
    if review.operation == "UPDATE":
        return _update(review, writers)
    if review.subresource:
        return Verdict(wire.allow(review.uid), "untouched")
    pod = pods.read(review.document)
    if names.ANNOTATION_ALLOCATION in pod.annotations:
        return _forged(review, f"annotation {names.ANNOTATION_ALLOCATION}: {ALLOCATION_IS_OURS}")
    if names.ANNOTATION_REQUEST in pod.annotations:
        translation = written.check(pod, options)
        if translation.problems:
            return _refused(review, translation)
        if pod.scheduler != options.scheduler:
            why = f"spec.schedulerName is {pod.scheduler!r} after all webhooks, not {options.scheduler}"
            return _denied(review, why, translation.dialects)
        return Verdict(wire.allow(review.uid), "unchanged", translation.dialects)
    translation = translate.translate(pod, options)
    if translation.problems:
        return _refused(review, translation)
    if translation.request is not None:
        why = "the pod asks for GPUs and wasn't translated: another webhook changed it after ours, or ours was skipped"
        return _denied(review, why, translation.dialects)
    return Verdict(wire.allow(review.uid), "untouched")


def _update(review: wire.Review, writers: Sequence[str]) -> Verdict:
    if review.user in writers:
        return Verdict(wire.allow(review.uid), "untouched")
    before, after = _annotations(review.old), _annotations(review.document)
    for name in WRITTEN_BY_US:
        if before.get(name) != after.get(name):
            who = review.user or "an unknown user"
            return _forged(review, f"annotation {name}: only unigpu may change it, and not {who}")
    return Verdict(wire.allow(review.uid), "untouched")


def _binding(review: wire.Review, writers: Sequence[str]) -> Verdict:
    """A binding's annotations become the pod's."""
    brought = _annotations(review.document)
    for name in WRITTEN_BY_US:
        if name in brought and review.user not in writers:
            who = review.user or "an unknown user"
            return _forged(review, f"annotation {name}: only unigpu may bring it with a binding, and not {who}")
    return Verdict(wire.allow(review.uid), "untouched")


def _annotations(document: Mapping[str, Any]) -> Mapping[str, str]:
    return pods.read({"metadata": document.get("metadata")}).annotations


def _refused(review: wire.Review, translation: Translation) -> Verdict:
    reason = findings.message(translation.problems)
    status: wire.Status = {"code": 422, "reason": "Invalid", "message": reason}
    return Verdict(wire.refuse(review.uid, status, translation.warnings), "refused", translation.dialects, reason)


def _denied(review: wire.Review, reason: str, dialects: Sequence[str]) -> Verdict:
    status: wire.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(wire.refuse(review.uid, status), "refused", dialects, reason)


def _forged(review: wire.Review, reason: str) -> Verdict:
    status: wire.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(wire.refuse(review.uid, status), "forged", (), reason)
