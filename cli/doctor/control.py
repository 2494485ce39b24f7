"""Checks of the API server, the webhook and the scheduler. Pure."""

import base64
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cli import version
from cli.doctor.check import Finding, Unread, fail, ok, unread, warn
from cli.doctor.evidence import Evidence, Json, name, some
from unigpu import names

OLDEST = (1, 29)
"""As the chart's kubeVersion says."""
SOON = timedelta(days=7)
"""The webhook renews its own certificate long before."""
_UPGRADE = "`helm upgrade` with the release's values puts it back"


def checks(found: Evidence) -> Iterator[Finding]:
    """Yield the findings."""
    yield _server(found.version)
    yield _deployments(found)
    yield from _images(found.parts)
    for kind, configuration in (("mutating", found.mutating), ("validating", found.validating)):
        yield from _configuration(kind, configuration)
    yield _endpoints(found)
    yield from _certificates(found)


def _server(document: Json | Unread) -> Finding:
    check = "API server"
    if isinstance(document, Unread):
        return unread(check, document)
    text = str(document.get("gitVersion") or "unknown")
    numbers = re.match(r"v(\d+)\.(\d+)", text)
    if numbers is None:
        return warn(check, f"its version can't be read: {text}", "unigpu needs Kubernetes 1.29 or later")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        return fail(check, f"version {text}", "unigpu needs Kubernetes 1.29 or later")
    return ok(check, f"version {text}")


def _deployments(found: Evidence) -> Finding:
    check, parts = "control plane", found.deployments
    if isinstance(parts, Unread):
        return unread(check, parts)
    if not parts:
        return fail(
            check,
            f"namespace {found.namespace} has no webhook and no scheduler of unigpu",
            "install the chart, or name its namespace with --system-namespace",
        )
    down, few = [], []
    for one in parts:
        wanted = (one.get("spec") or {}).get("replicas", 1)
        there = (one.get("status") or {}).get("readyReplicas") or 0
        if wanted and not there:
            down.append(f"{name(one)} (0 of {wanted} ready)")
        elif there < wanted:
            few.append(f"{name(one)} ({there} of {wanted} ready)")
    if down:
        return fail(
            check, f"not ready: {some(down)}", f"`kubectl -n {found.namespace} get pods` and their logs say why"
        )
    if few:
        return warn(check, f"replicas missing: {some(few)}", f"`kubectl -n {found.namespace} get pods` says why")
    return ok(check, f"ready: {some([name(one) for one in parts])}")


def _images(parts: Sequence[Json] | Unread) -> Iterator[Finding]:
    check = "versions"
    if isinstance(parts, Unread):
        yield unread(check, parts)
        return
    # The kube-scheduler in the scheduler's pod follows the cluster's version.
    images = sorted({one["image"] for one in version.parts(parts) if one["container"] != "kube-scheduler"})
    if len(images) > 1:
        yield warn(
            check,
            f"unigpu's parts run {len(images)} images: {some(images)}",
            "wait for the rollout, or finish the upgrade",
        )
    elif images:
        yield ok(check, f"all parts run {images[0]}")


def _decides(hook: Json) -> bool:
    """Whether the webhook refuses or changes something, and doesn't only warn."""
    return hook.get("name") not in (names.WEBHOOK_ADVICE, names.WEBHOOK_NOTICE)


def _configuration(kind: str, document: Json | Unread | None) -> Iterator[Finding]:
    check = f"{kind} webhook"
    if isinstance(document, Unread):
        yield unread(check, document)
        return
    if document is None:
        effect = "pods of vendors aren't translated" if kind == "mutating" else "nothing protects unigpu's annotations"
        yield fail(check, f"{kind} configuration {names.WEBHOOK_CONFIGURATION} doesn't exist: {effect}", _UPGRADE)
        return
    hooks = document.get("webhooks") or ()
    without = [one.get("name", "?") for one in hooks if not (one.get("clientConfig") or {}).get("caBundle")]
    ignoring = [one.get("name", "?") for one in hooks if _decides(one) and one.get("failurePolicy") == "Ignore"]
    local = [one.get("name", "?") for one in hooks if (one.get("clientConfig") or {}).get("url")]
    if not hooks:
        yield fail(check, "the configuration has no webhooks", _UPGRADE)
    elif without and not local:
        yield fail(
            check,
            f"no caBundle in {some(without)}: the API server can't trust the webhook",
            "the webhook writes it when it starts: see its log; with cert-manager, see the cainjector's",
        )
    elif ignoring:
        yield warn(
            check,
            f"failurePolicy Ignore in {some(ignoring)}: while no webhook answers, pods are created untranslated",
            "set webhook.failurePolicy to Fail in the chart's values, if such pods must not start",
        )
    else:
        yield ok(check, f"{len(hooks)} rules, failurePolicy Fail, caBundle set")


def _endpoints(found: Evidence) -> Finding:
    check = "webhook service"
    if isinstance(found.slices, Unread):
        return unread(check, found.slices)
    ready = sum(
        len(endpoint.get("addresses") or ())
        for one in found.slices
        for endpoint in one.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    )
    if not ready:
        return fail(
            check,
            f"service {names.SERVICE_WEBHOOK} has no ready endpoint: pods with GPUs can't be created",
            f"`kubectl -n {found.namespace} get pods -l {names.LABEL_COMPONENT}=webhook` and their logs say why",
        )
    return ok(check, f"{ready} ready {'endpoint' if ready == 1 else 'endpoints'}")


def _certificates(found: Evidence) -> Iterator[Finding]:
    check = "certificate"
    if not isinstance(found.secret, Unread) and found.secret is not None:
        text = (found.secret.get("data") or {}).get("tls.crt") or ""
        yield _expiry(check, "the webhook's certificate", text, found.now)
    elif isinstance(found.secret, Unread):
        yield unread(check, found.secret)
    else:
        yield warn(
            check,
            f"Secret {found.namespace}/{names.SECRET_WEBHOOK_TLS} doesn't exist",
            "with a certificate of your own or of cert-manager, check its Secret; else see the webhook's log",
        )
    if isinstance(found.mutating, Unread) or found.mutating is None:
        return
    bundles = {(one.get("clientConfig") or {}).get("caBundle") or "" for one in found.mutating.get("webhooks") or ()}
    for bundle in sorted(bundles - {""}):
        yield _expiry("caBundle", "the newest authority in caBundle", bundle, found.now)


def _expiry(check: str, what: str, encoded: str, now: datetime) -> Finding:
    from cryptography import x509  # not at the top: it takes longer to load than a translation

    try:
        chain = x509.load_pem_x509_certificates(base64.b64decode(encoded))
        end = max(one.not_valid_after_utc for one in chain) if check == "caBundle" else chain[0].not_valid_after_utc
    except ValueError:
        return fail(check, f"{what} can't be read", "delete it: the webhook makes a new one within a minute")
    shown = end.strftime("%Y-%m-%d %H:%M UTC")
    mend = f"see docs/runbooks/UnigpuCertificateExpiresSoon.md; `kubectl delete pod -l {names.LABEL_COMPONENT}=webhook`"
    if end <= now:
        return fail(check, f"{what} expired on {shown}", mend)
    if end - now < SOON:
        return warn(check, f"{what} expires on {shown}", mend)
    return ok(check, f"{what} is valid until {shown}")
