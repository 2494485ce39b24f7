"""What the kubeconfig says apart from the API server's address: contexts, the namespace, and as whom its user acts."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from unigpu import errors
from unigpu_kube.library import config, kube_config

_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_UNREADABLE = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError)


def check(kubeconfig: str, context: str) -> None:
    """Raise Unavailable that names what is wrong with these options."""
    if kubeconfig and not Path(kubeconfig).is_file():
        raise errors.Unavailable(
            f"no cluster to ask: --kubeconfig = {kubeconfig}: no such file; accepted: the path of a kubeconfig"
        )
    known = [str(one.get("name")) for one in _list(_read(kubeconfig), "contexts")]
    if context and known and context not in known:
        accepted = ", ".join(known)
        raise errors.Unavailable(
            f"no cluster to ask: --context = {context}: the kubeconfig doesn't have it; accepted: {accepted}"
        )


def namespace(kubeconfig: str, context: str) -> str:
    """Return the namespace that is meant where none is named: the kubeconfig's, or the pod's own."""
    document = _read(kubeconfig)
    if not document:
        with contextlib.suppress(OSError):
            return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    return str(_context(document, context).get("namespace") or "default")


def impersonation(kubeconfig: str, context: str) -> dict[str, str]:
    """Return the headers by which the kubeconfig's user acts as another one, which the client library doesn't send.

    Source: "User impersonation" in the Kubernetes documentation of authentication. Raises Unavailable for several
    groups: they need a header that appears several times.
    """
    if not kubeconfig and not context and "KUBERNETES_SERVICE_HOST" in os.environ:
        return {}  # the connection is by the pod's service account
    document = _read(kubeconfig)
    user = _named(document, "users", "user", str(_context(document, context).get("user") or ""))
    groups = user.get("as-groups") or ()
    if len(groups) > 1:
        raise errors.Unavailable(
            f"no cluster to ask: as-groups = {', '.join(groups)}: only one group can be sent; accepted: one group"
        )
    headers = {"Impersonate-User": user.get("as"), "Impersonate-Uid": user.get("as-uid")}
    headers["Impersonate-Group"] = groups[0] if groups else None
    return {name: str(value) for name, value in headers.items() if value}


def _read(kubeconfig: str) -> Mapping[str, Any]:
    """Return the merged kubeconfig; empty where it can't be read."""
    paths = kubeconfig or os.environ.get("KUBECONFIG") or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    try:
        merged = kube_config.KubeConfigMerger(paths).config
        found: Mapping[str, Any] = merged.value if merged is not None else {}
        return found
    except _UNREADABLE:
        return {}


def _context(document: Mapping[str, Any], context: str) -> Mapping[str, Any]:
    return _named(document, "contexts", "context", context or str(document.get("current-context") or ""))


def _named(document: Mapping[str, Any], kind: str, key: str, name: str) -> Mapping[str, Any]:
    found = next((one for one in _list(document, kind) if one.get("name") == name), {})
    inner = found.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _list(document: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a kind; the library wraps each in a node that knows its file."""
    entries = (getattr(one, "value", one) for one in document.get(kind) or ())
    return [one for one in entries if isinstance(one, Mapping)]
