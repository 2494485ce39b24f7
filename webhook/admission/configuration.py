"""The two webhook configurations as the chart must render them: which requests the API server sends to the webhook.

Under failure policy Fail, a webhook that doesn't answer blocks every request that matches. So the conditions leave out
every pod that mentions no GPU, and every update that doesn't change the platform's annotations.
"""

from collections.abc import Iterable
from typing import Any

from unigpu import configured_dialects, names
from unigpu.configured_dialects import Words
from webhook.limits import update_warnings
from webhook.settings import Settings
from webhook.translation import decision, dialects, near_misses, unsupported

_ADVICE = {"failurePolicy": "Ignore"}
"""Of webhooks that only warn, so that nothing is refused when they are down."""
_Frame = tuple[str, str]
_LISTS = ("containers", "initContainers")


def mentions_gpu(more: str = "") -> str:
    """Return the CEL condition: a pod asks for GPUs in any dialect, or brings one of the platform's annotations.

    `more` are the resource names that the cluster adds, as `resource_names` writes them.
    """
    known = _list(sorted(dialects.OF_RESOURCE), more)
    domains = _list(f"{domain}/" for domain in unsupported.domains(dialects.OF_RESOURCE))
    stems = " || ".join(f"k.contains('{stem}')" for stem in unsupported.STEMS)
    misspelt = f"({stems}) && {domains}.exists(d, k.startsWith(d))"
    asks = f"has(c.resources) && has(c.resources.limits) && c.resources.limits.exists(k, k in {known} || {misspelt})"
    places = [f"(has(object.spec.{place}) && object.spec.{place}.exists(c, {asks}))" for place in _LISTS]
    annotations = [*decision.REVIEWED]
    annotations += [annotation for dialect in dialects.ALL for annotation in dialect.annotations]
    misplaced = sorted(dialects.OF_RESOURCE)
    listed = _list([*annotations, *misplaced], more)
    families = f"{_list(unsupported.FAMILIES)}.exists(f, k.startsWith(f))"
    mentioned = f"object.metadata.annotations.exists(k, k in {listed} || {families})"
    by_annotation = f"(has(object.metadata.annotations) && {mentioned})"
    return " || ".join([*places, by_annotation])


def seems_to_ask(more: str = "") -> str:
    """Return the CEL condition: a pod asks for no GPU in any known way, and has names that look as if it should.

    `more`: as for `mentions_gpu`.
    """
    like = " || ".join(f"k.contains('{stem}')" for stem in unsupported.STEMS)
    read = sorted({*unsupported.LABELS, *near_misses.READ, *near_misses.PLATFORM})
    exact = f"k in {_list(read)} || k.startsWith('{names.DOMAIN}/')"
    near = _nearly([*read, *sorted(unsupported.ANNOTATIONS), *sorted(dialects.OF_RESOURCE)])
    notes = f"!k.startsWith('nvidia.com/gpu.') && ({exact} || {like} || {near})"
    on_pod = [
        f"(has(object.metadata.{kind}) && object.metadata.{kind}.exists(k, {notes}))"
        for kind in ("annotations", "labels")
    ]
    known = _list(sorted(near_misses.SWITCHES))
    of_variables = [pair for one in near_misses.VARIABLES for pair in near_misses.frames(one)]
    misspelt = _framed("e.name", of_variables, follows=len("_15"))  # the index of a GPU
    switched = f"has(c.env) && c.env.exists(e, e.name in {known} || {misspelt})"
    limits = f"{like} || {_nearly(sorted(dialects.OF_RESOURCE))}"
    asks = f"has(c.resources) && has(c.resources.limits) && c.resources.limits.exists(k, {limits})"
    inside = [f"(has(object.spec.{place}) && object.spec.{place}.exists(c, {switched} || {asks}))" for place in _LISTS]
    return f"!({mentions_gpu(more)}) && ({' || '.join([*inside, *on_pod])})"


def changes_ours() -> str:
    """Return the CEL condition: an update changes one of the platform's annotations."""
    return " || ".join(
        f"({_value('object', annotation)}) != ({_value('oldObject', annotation)})" for annotation in decision.REVIEWED
    )


def mounts_for_debugging() -> str:
    """Return the CEL condition: a translated pod gets an ephemeral container that has something mounted."""
    default = "'/dev/termination-log'"
    message = f"has(c.terminationMessagePath) && c.terminationMessagePath != {default}"
    mounted = f"has(c.volumeMounts) || has(c.volumeDevices) || {message}"
    now, before = "object.spec.ephemeralContainers", "oldObject.spec.ephemeralContainers"
    added = f"has({now}) && (!has({before}) || size({now}) != size({before}))"
    return f"{_translated()} && {added} && {now}.exists(c, {mounted})"


def protected() -> str:
    """Return the CEL condition of the updates that the webhook checks."""
    return f"{changes_ours()} || ({mounts_for_debugging()})"


def bound_by_others(namespace: str) -> str:
    """Return the CEL condition: a binding, not the scheduler's, brings one of the platform's annotations, which the API
    server copies to the pod. `namespace` is unigpu's own."""
    known = _list(decision.REVIEWED)
    scheduler = f"system:serviceaccount:{namespace}:{names.ACCOUNT_SCHEDULER}"
    brings = f"has(object.metadata.annotations) && object.metadata.annotations.exists(k, k in {known})"
    return f"{brings} && request.userInfo.username != '{scheduler}'"


def applied_again() -> str:
    """Return the CEL condition: an update of a translated pod has resources that the pod didn't have, or others, or
    another scheduler."""
    limits, before = "c.resources.limits", "o.resources.limits"
    translated = f"o.name == c.name && has(o.resources) && has({before}) && '{names.RESOURCE_VGPU}' in {before}"
    other = f"has(c.resources) && has({limits}) && {limits}.exists(k, !(k in {before}) || {limits}[k] != {before}[k])"
    returns = [
        f"(has(object.spec.{place}) && has(oldObject.spec.{place}) && object.spec.{place}.exists(c, "
        f"oldObject.spec.{place}.exists(o, {translated} && {other})))"
        for place in _LISTS
    ]
    scheduler = "object.spec.schedulerName != oldObject.spec.schedulerName"
    return f"{_translated()} && ({' || '.join([*returns, scheduler])})"


def changes_without_effect() -> str:
    """Return the CEL condition: an update of a translated pod changes vendors' annotations or labels, and nothing of
    the platform's, of which the webhook is asked anyway."""
    translated = (
        f"has(oldObject.metadata.annotations) && '{names.ANNOTATION_REQUEST}' in oldObject.metadata.annotations"
    )
    parts = []
    for kind, known in (("annotations", update_warnings.ANNOTATIONS), ("labels", update_warnings.LABELS)):
        now, before = (
            f"(has({of}.metadata.{kind}) && k in {of}.metadata.{kind} ? '=' + {of}.metadata.{kind}[k] : '')"
            for of in ("object", "oldObject")
        )
        parts.append(f"{_list(known)}.exists(k, {now} != {before})")
    return f"{translated} && !({protected()}) && ({' || '.join(parts)})"


def documents(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration, without caBundle."""
    asks = mentions_gpu(resource_names(settings.options.words))
    mutating = _webhook(settings, "translate", "/mutate", ["CREATE"], ["pods"], "asks-for-gpus", asks)
    again = _webhook(settings, "reapply", "/mutate", ["UPDATE"], ["pods"], "is-applied-again", applied_again())
    like = seems_to_ask(resource_names(settings.options.words))
    seems = _webhook(settings, "notice", "/mutate", ["CREATE"], ["pods"], "seems-to-ask-for-gpus", like)
    seems |= _ADVICE
    for webhook in (mutating, again, seems):
        webhook["reinvocationPolicy"] = "Never"
    validating = [
        _webhook(settings, "validate", "/validate", ["CREATE"], ["pods"], "asks-for-gpus", asks),
        _webhook(
            settings,
            "protect",
            "/validate",
            ["UPDATE"],
            ["pods", "pods/status", "pods/ephemeralcontainers"],
            "changes-unigpus-annotations",
            protected(),
        ),
        _webhook(
            settings,
            "advise",
            "/validate",
            ["UPDATE"],
            ["pods"],
            "changes-what-has-no-effect",
            changes_without_effect(),
        )
        | _ADVICE,
        _webhook(
            settings,
            "bind",
            "/validate",
            ["CREATE"],
            ["pods/binding", "bindings"],
            "brings-unigpus-annotations",
            bound_by_others(settings.namespace),
        ),
    ]
    return (
        _configuration("MutatingWebhookConfiguration", settings, [mutating, again, seems]),
        _configuration("ValidatingWebhookConfiguration", settings, validating),
    )


def _configuration(kind: str, settings: Settings, webhooks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": settings.configuration},
        "webhooks": webhooks,
    }


def _webhook(
    settings: Settings,
    name: str,
    path: str,
    operations: list[str],
    resources: list[str],
    condition: str,
    expression: str,
) -> dict[str, Any]:
    selector = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [*settings.excluded]}
    return {
        "name": f"{name}.{names.DOMAIN}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {"name": settings.service, "namespace": settings.namespace, "path": path, "port": 443}
        },
        "rules": [
            {
                "operations": operations,
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": resources,
                "scope": "Namespaced",
            }
        ],
        "namespaceSelector": {"matchExpressions": [selector]},
        "matchConditions": [{"name": condition, "expression": expression}],
        "matchPolicy": "Equivalent",
        "failurePolicy": "Fail",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 5,
    }


def _translated() -> str:
    return f"has(oldObject.metadata.annotations) && '{names.ANNOTATION_REQUEST}' in oldObject.metadata.annotations"


def resource_names(words: Words) -> str:
    """Return the resource names that the cluster adds, as they continue a list in a condition."""
    return "".join(f", '{name}'" for name in configured_dialects.more(words))


def _list(texts: Iterable[str], more: str = "") -> str:
    return "[" + ", ".join(f"'{text}'" for text in texts) + more + "]"


def _nearly(known: Iterable[str]) -> str:
    """Return the CEL condition: the name `k`, without a stem in it, is one letter away from a known one."""
    of_stems: list[_Frame] = []
    others: list[_Frame] = []
    of_families = [pair for family in unsupported.FAMILIES for pair in near_misses.frames(family, unsupported.STEMS)]
    for one in known:
        if any(stem in one for stem in unsupported.STEMS):
            of_stems += near_misses.frames(one, unsupported.STEMS)
        elif not one.startswith(unsupported.FAMILIES):
            others += near_misses.frames(one)
    parts = [
        f"k.matches('{unsupported.MISSPELT_STEMS}') && {_framed('k', of_stems)}",
        *([_framed("k", others)] if others else []),
        _framed("k", of_families, follows=None),
    ]
    return " || ".join(parts)


def _framed(name: str, frames: Iterable[_Frame], follows: int | None = 0) -> str:
    """Return the CEL condition: a name has one of these frames, and so many letters may follow it; None: any number."""
    pairs = "[" + ", ".join(_list(pair) for pair in dict.fromkeys(frames)) + "]"
    end = "contains" if follows is None or follows else "endsWith"
    gap = f" && size({name}) <= size(f[0]) + size(f[1]) + {near_misses.GAP + (follows or 0)}"
    return f"{pairs}.exists(f, {name}.startsWith(f[0]) && {name}.{end}(f[1]){'' if follows is None else gap})"


def _value(of: str, annotation: str) -> str:
    annotations = f"{of}.metadata.annotations"
    return f"has({annotations}) && '{annotation}' in {annotations} ? '=' + {annotations}['{annotation}'] : ''"
