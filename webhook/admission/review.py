"""Reviews → answers. Pure: one function for each path."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unigpu import errors, findings, limits, lowering, names, requests
from unigpu.ledger import CapacityLedger
from webhook.admission import admission_review
from webhook.admission.admission_review import Review
from webhook.limits import limit_change, update_warnings
from webhook.translation import decision, mounts, pods, reapply
from webhook.translation.options import Options
from webhook.translation.translate import Translation


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, and what the log and the metrics say of it."""

    answer: admission_review.Answer
    outcome: str
    """`untouched`: nothing of ours · `translated` · `unchanged`: translated before, or a copy of a running pod ·
    `limited`: its limits change · `refused` · `forged`."""
    dialects: Sequence[str] = ()
    reason: str = ""
    """Of a refusal; of `limited`, the change."""
    needs_node: str = ""
    """The node whose GPUs the answer depends on. The answer is a refusal until the review is made again with that
    node's ledger."""
    accepted: limit_change.AcceptedChange | None = None
    """The change of limits that it allows."""


def review_mutation(review: Review, options: Options) -> Verdict:
    """Translate a pod that is created, and recognize one whose manifest is applied again.

    Raises Malformed where the pod isn't one.
    """
    if (review.kind, review.operation, review.subresource) == ("Pod", "UPDATE", ""):
        again = reapply.restore(review.old, review.document, options)
        if again.problems:
            return _refused(review, Translation(problems=again.problems))
        answer = admission_review.allow(review.uid, (), again.patch)
        return Verdict(answer, "unchanged" if again.patch else "untouched")
    if review.kind != "Pod" or review.operation != "CREATE" or review.subresource:
        return _untouched(review)
    decided = decision.decide(review.document, options)
    translation = decided.translation
    if translation.problems:
        return _refused(review, translation)
    answer = admission_review.allow(review.uid, translation.warnings, decided.patch)
    return Verdict(answer, decided.outcome, translation.dialects)


def review_validation(
    review: Review, options: Options, trusted_writers: Sequence[str], node: CapacityLedger | None = None
) -> Verdict:
    """Check a pod after all mutations, changes of the platform's annotations, and changes of limits.

    `node` is the ledger of the node that an earlier verdict on the same review names in `needs_node`.
    Raises Malformed where the pod isn't one.
    """
    if review.kind == "Binding" and review.operation == "CREATE":
        return _binding(review, trusted_writers)
    if review.kind != "Pod" or review.operation not in ("CREATE", "UPDATE"):
        return _untouched(review)
    if review.operation == "UPDATE":
        return _update(review, options, trusted_writers, node)
    return _untouched(review) if review.subresource else _created(review, options)


def unanswered(review: Review, why: str) -> Verdict:
    """Return the verdict where the state that it depends on can't be read now."""
    after = _annotations(review.document).get(names.ANNOTATION_LIMITS, "")
    problem = findings.Problem(
        "",
        limits.FIELD,
        after,
        f"a raise can't be checked against the node's GPUs now ({why})",
        "lower limits now, or the same later",
    )
    status: admission_review.Status = {"code": 503, "reason": "ServiceUnavailable", "message": str(problem)}
    return Verdict(admission_review.refuse(review.uid, status), "refused", (), str(problem))


def unconfirmed(review: Review) -> Verdict:
    """Return the verdict where the API server doesn't show the pod as the review describes it.

    The API server itself tries an update with this status again, with the pod as it is by then.
    """
    after = _annotations(review.document).get(names.ANNOTATION_LIMITS, "")
    why = "the pod has changed since, or the review isn't the API server's"
    problem = findings.Problem("", limits.FIELD, after, why, "the same change of the pod as it is now")
    status: admission_review.Status = {"code": 409, "reason": "Conflict", "message": str(problem)}
    return Verdict(admission_review.refuse(review.uid, status), "refused", (), str(problem))


def _created(review: Review, options: Options) -> Verdict:
    decided = decision.verify(review.document, options)
    translation = decided.translation
    if decided.denied:
        return _forged(review, decided.denied)
    if translation.problems:
        return _refused(review, translation)
    if decided.outcome == "translated":
        why = "the pod asks for GPUs and wasn't translated, because another webhook changed it after unigpu's"
        accepted = "the pod as unigpu's webhook returned it"
        return _denied(review, _annotation_problem(names.ANNOTATION_REQUEST, None, why, accepted), translation.dialects)
    if decided.outcome == "unchanged" and decided.pod.scheduler != options.scheduler:
        why = "another webhook changed it after unigpu's"
        problem = findings.Problem("", "spec.schedulerName", decided.pod.scheduler, why, options.scheduler)
        return _denied(review, str(problem), translation.dialects)
    return Verdict(admission_review.allow(review.uid), decided.outcome, translation.dialects)


def _update(review: Review, options: Options, trusted_writers: Sequence[str], node: CapacityLedger | None) -> Verdict:
    before, after = _annotations(review.old), _annotations(review.document)
    relimited = before.get(names.ANNOTATION_LIMITS) != after.get(names.ANNOTATION_LIMITS)
    trusted = review.user in trusted_writers
    # The node agent changes limits too, for programs that ask for it: they are checked as everybody's.
    if trusted and not relimited:
        return _untouched(review)
    for name in decision.PROTECTED:
        if before.get(name) != after.get(name) and not trusted:
            why = f"only unigpu changes it, not {review.user or 'an unknown user'}"
            return _forged(review, _annotation_problem(name, after.get(name), why, "its present value"))
    hiding = _hiding(review, before)
    if hiding:
        return _refused(review, Translation(problems=hiding))
    if not relimited:
        return Verdict(admission_review.allow(review.uid, _without_effect(review)), "untouched")
    given_back = trusted and lowering.gives_back(before, after)
    return _limits(review, before, after, options, node, given_back=given_back)


def _hiding(review: Review, annotations: Mapping[str, str]) -> tuple[findings.Problem, ...]:
    """Return the problems of new ephemeral containers in a pod in which something is limited."""
    if review.subresource != "ephemeralcontainers" or not _is_limited(annotations):
        return ()
    known = {container.name for container in pods.read(review.old).containers}
    return tuple(
        problem
        for container in pods.read(review.document).containers
        if container.ephemeral and container.name not in known
        for problem in mounts.problems(container)
    )


def _is_limited(annotations: Mapping[str, str]) -> bool:
    try:
        found = requests.load(annotations[names.ANNOTATION_REQUEST]).containers
    except (KeyError, errors.Malformed):
        return False
    return any(limits.limitable(request) for request in found.values())


def _limits(
    review: Review,
    before: Mapping[str, str],
    after: Mapping[str, str],
    options: Options,
    node: CapacityLedger | None,
    *,
    given_back: bool,
) -> Verdict:
    change = limit_change.evaluate(review.old, before, after, options.rules, given_back=given_back)
    problems = change.problems
    if not problems and change.node:
        if node is None:
            unknown = unanswered(review, f"node {change.node} wasn't read")
            return dataclasses.replace(unknown, needs_node=change.node)
        problems = tuple(limit_change.check_capacity(change, node))
    if problems:
        return _refused(review, Translation(problems=problems))
    was, becomes = (said.get(names.ANNOTATION_LIMITS, "as requested") for said in (before, after))
    warnings = [*change.warnings, *_without_effect(review)]
    if not change.warnings:  # which say that the pod has ended
        warnings += update_warnings.ends_with_pod(review.old, after.get(names.ANNOTATION_LIMITS, ""))
    return Verdict(
        admission_review.allow(review.uid, warnings),
        "limited",
        reason=f"{was} → {becomes}",
        accepted=limit_change.accepted(change),
    )


def _without_effect(review: Review) -> tuple[str, ...]:
    """Return warnings about the rest of an update."""
    if review.subresource:
        return ()
    old, new = (pods.read({"metadata": document.get("metadata")}) for document in (review.old, review.document))
    return tuple(update_warnings.without_effect(old, new))


def _binding(review: Review, trusted_writers: Sequence[str]) -> Verdict:
    """A binding's annotations become the pod's."""
    brought = _annotations(review.document)
    for name in decision.REVIEWED:
        if name in brought and review.user not in trusted_writers:
            why = f"only unigpu's scheduler sets it with a binding, not {review.user or 'an unknown user'}"
            return _forged(review, _annotation_problem(name, brought[name], why, "no such annotation"))
    return _untouched(review)


def _annotations(document: Mapping[str, Any]) -> Mapping[str, str]:
    return pods.read({"metadata": document.get("metadata")}).annotations


def _annotation_problem(name: str, value: str | None, why: str, accepted: str) -> str:
    return str(findings.Problem("", f"annotation {name}", "absent" if value is None else value, why, accepted))


def _untouched(review: Review) -> Verdict:
    return Verdict(admission_review.allow(review.uid), "untouched")


def _refused(review: Review, translation: Translation) -> Verdict:
    reason = findings.message(translation.problems)
    status: admission_review.Status = {"code": 422, "reason": "Invalid", "message": reason}
    answer = admission_review.refuse(review.uid, status, translation.warnings)
    return Verdict(answer, "refused", translation.dialects, reason)


def _denied(review: Review, reason: str, dialects: Sequence[str]) -> Verdict:
    status: admission_review.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(admission_review.refuse(review.uid, status), "refused", dialects, reason)


def _forged(review: Review, reason: str) -> Verdict:
    status: admission_review.Status = {"code": 403, "reason": "Forbidden", "message": reason}
    return Verdict(admission_review.refuse(review.uid, status), "forged", (), reason)
