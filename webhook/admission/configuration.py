"""The two webhook configurations as the chart must render them: which requests the API server sends to the webhook.

Under failure policy Fail, a webhook that doesn't answer blocks every request that matches. So the conditions leave out
every pod that mentions no GPU, and every update that doesn't change the platform's annotations.
"""

from collections.abc import Iterable
from typing import Any

from unigpu import names
from webhook.limits import update_warnings
from webhook.settings import Settings
from webhook.translation import decision, dialects, reapply, unsupported

_LISTS = ("containers", "initContainers")


def mentions_gpu() -> str:
    """Return the CEL condition: a pod asks for GPUs in any dialect, or brings one of the platform's annotations."""
    known = _list(sorted(dialects.OF_RESOURCE))
    domains = _list(f"{domain}/" for domain in unsupported.DOMAINS)
    stems = " || ".join(f"k.contains('{stem}')" for stem in unsupported.STEMS)
    misspelt = f"({stems}) && {domains}.exists(d, k.startsWith(d))"
    asks = f"has(c.resources) && has(c.resources.limits) && c.resources.limits.exists(k, k in {known} || {misspelt})"
    places = [f"(has(object.spec.{place}) && object.spec.{place}.exists(c, {asks}))" for place in _LISTS]
    annotations = [*decision.REVIEWED]
    annotations += [annotation for dialect in dialects.ALL for annotation in dialect.annotations]
    misplaced = sorted(dialects.OF_RESOURCE)
    listed = _list([*annotations, *misplaced])
    families = f"{_list(unsupported.FAMILIES)}.exists(f, k.startsWith(f))"
    mentioned = f"object.metadata.annotations.exists(k, k in {listed} || {families})"
    by_annotation = f"(has(object.metadata.annotations) && {mentioned})"
    return " || ".join([*places, by_annotation])


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
    """Return the CEL condition: an update of a translated pod restores fields that the translation replaced."""
    listed = _list(sorted(reapply.VENDORS))
    asks = f"has(c.resources) && has(c.resources.limits) && c.resources.limits.exists(k, k in {listed})"
    returns = [f"(has(object.spec.{place}) && object.spec.{place}.exists(c, {asks}))" for place in _LISTS]
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
    mutating = _webhook(settings, "translate", "/mutate", ["CREATE"], ["pods"], "asks-for-gpus", mentions_gpu())
    again = _webhook(settings, "reapply", "/mutate", ["UPDATE"], ["pods"], "is-applied-again", applied_again())
    for webhook in (mutating, again):
        webhook["reinvocationPolicy"] = "Never"
    validating = [
        _webhook(settings, "validate", "/validate", ["CREATE"], ["pods"], "asks-for-gpus", mentions_gpu()),
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
        # It only warns, so that an update never waits for a webhook that is down.
        | {"failurePolicy": "Ignore"},
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
        _configuration("MutatingWebhookConfiguration", settings, [mutating, again]),
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
        "sideEffects": "None",
        "timeoutSeconds": 5,
    }


def _translated() -> str:
    return f"has(oldObject.metadata.annotations) && '{names.ANNOTATION_REQUEST}' in oldObject.metadata.annotations"


def _list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


def _value(of: str, annotation: str) -> str:
    annotations = f"{of}.metadata.annotations"
    return f"has({annotations}) && '{annotation}' in {annotations} ? '=' + {annotations}['{annotation}'] : ''"
