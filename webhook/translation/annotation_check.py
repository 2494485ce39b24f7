"""Whether a pod that brings the annotation `unigpu.dev/request` with it could have got it from us.

Such a pod is one that was translated before: offline, or by us and then seen again. Its annotation is taken over only
if it says exactly what the pod's limits, variables and annotations say, so that nobody gains by writing it himself.
"""

from unigpu import errors, names, quantities, requests
from unigpu.findings import Problem
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MAX_MEMORY
from webhook.translation import dialects, isolation, mutate, namespaces, preferences, translate
from webhook.translation.container_reader import MAX_GPUS
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod
from webhook.translation.translate import Translation

ACCEPTED = "no such annotation: unigpu writes it from the container's limits"


def check(pod: Pod, options: Options) -> Translation:
    """The translation that the pod carries, or the problems with it."""
    text = pod.annotations[names.ANNOTATION_REQUEST]
    try:
        request = requests.load(text)
    except errors.Malformed as error:
        return Translation(problems=(_forged(text, str(error)),))
    if requests.dump(request) != text:
        return Translation(problems=(_forged(text, "not as unigpu writes it"),))
    problems = translate.pod_level(pod) + translate.placing(pod, options)
    by_name = {container.name: container for container in pod.containers}
    problems += [
        _forged(text, f"names container {name}, which the pod doesn't have")
        for name in request.containers
        if name not in by_name
    ]
    if not request.containers:
        problems.append(_forged(text, "names no container"))
    for container in pod.containers:
        problems += _container(pod, container, request.containers.get(container.name), options)
    if not problems and preferences.read(pod, request.containers.values()).preferences != request.preferences:
        problems.append(_forged(text, "its preferences aren't those of the pod's other annotations"))
    dialect_names = tuple(sorted({wish.dialect for wish in request.containers.values()}))
    if problems:
        return Translation(problems=tuple(problems), dialects=dialect_names)
    return Translation(request, dialects=dialect_names)


def _container(pod: Pod, container: Container, wish: Request | None, options: Options) -> list[Problem]:
    matching = translate.matching_dialects(pod, container, options)
    if wish is None:
        return [
            _problem(container, resource, "not in the annotation that the pod brings", ACCEPTED)
            for dialect in matching
            for resource in dialect.resources
            if resource in container.limits or resource in container.requests
        ]
    problems = [
        _problem(container, resource, "still there beside the translation that the pod brings", ACCEPTED)
        for dialect in matching
        if dialect.name != "unigpu"
        for resource in dialect.resources
        if resource in container.limits or resource in container.requests
    ]
    if (odd := _odd(wish)) is not None:
        return [*problems, _untrue(container, odd)]
    problems += namespaces.problems(container.name, wish, options.rules)
    switches = isolation.decide(container, opting_out=options.opting_out)
    problems += switches.problems
    if wish.isolated != switches.isolated:
        problems.append(_untrue(container, "isolated isn't what the container's variables say"))
    if wish.role is not container.role or container.ephemeral:
        problems.append(_untrue(container, f"role is {wish.role}, and the container's is {container.role}"))
    wanted = mutate.unified(wish)
    for kind, present in (("limits", container.limits), ("requests", container.requests)):
        if kind == "requests" and not any(name in present for name in names.UNIFIED_RESOURCES):
            continue
        for name in names.UNIFIED_RESOURCES:
            if not quantities.same(present.get(name, "0"), wanted.get(name, "0")):
                problems.append(_problem(container, name, f"the annotation says {wanted.get(name, '0')}", ACCEPTED))
    return problems


def _odd(wish: Request) -> str | None:
    """What no dialect would have made."""
    if wish.dialect not in dialects.BY_NAME:
        return f"there is no dialect {wish.dialect!r}"
    if bool(wish.memory) + bool(wish.memory_percent) + wish.whole > 1 or (wish.whole and (wish.cores or wish.ceiling)):
        return "the share is said in more than one way"
    if not (wish.memory or wish.memory_percent or wish.whole or wish.cores):
        return "it limits nothing"
    if wish.gpus > MAX_GPUS or wish.memory > MAX_MEMORY or max(wish.memory_percent, wish.cores, wish.ceiling) > 100:
        return "a number is larger than any GPU has"
    if wish.priority > 1:
        return "priority is neither 0 nor 1"
    if (wish.policy is ComputePolicy.SOFT) != (wish.ceiling > wish.cores):
        return "policy soft, and a ceiling above the core share, go together"
    return None


def _forged(value: str, why: str) -> Problem:
    return Problem("", f"annotation {names.ANNOTATION_REQUEST}", value, why, ACCEPTED)


def _untrue(container: Container, why: str) -> Problem:
    return Problem(container.name, f"annotation {names.ANNOTATION_REQUEST}", "its entry", why, ACCEPTED)


def _problem(container: Container, resource: str, why: str, accepted: str) -> Problem:
    value = container.limits.get(resource, container.requests.get(resource, ""))
    return Problem(container.name, resource, value, why, accepted)
