"""Paths of the objects that unigpu reads and writes, and how an object is named in logs and events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
NAMESPACES = "/api/v1/namespaces"
RUNNING = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of pods that haven't ended."""


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Return whether Kubernetes takes the text as the name of a namespace or pod; anything else would change a path."""
    return _NAME.fullmatch(text) is not None


def node(name: str) -> str:
    """Return the path of a node."""
    return f"{NODES}/{name}"


def pod(namespace: str, name: str) -> str:
    """Return the path of a pod."""
    return f"{NAMESPACES}/{namespace}/pods/{name}"


def events(namespace: str) -> str:
    """Return the path of a namespace's events."""
    return f"{NAMESPACES}/{namespace}/events"


@dataclass(frozen=True, slots=True)
class Ref:
    """Which object. Parts that the object doesn't say are empty."""

    namespace: str
    """Empty for nodes and other objects of the cluster."""
    name: str
    uid: str = ""

    @property
    def title(self) -> str:
        """`namespace/name`, or the name alone."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller of an object, as the object names it."""

    api_version: str
    kind: str
    name: str
    uid: str

    @property
    def title(self) -> str:
        """`ReplicaSet web-5d9f`."""
        return f"{self.kind} {self.name}"


def controller(document: object) -> Owner | None:
    """Return the controller of an object, whatever the object's form; None where it has none."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    owners = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("controller") is True:
            found = Owner(*(_text(owner.get(key)) for key in ("apiVersion", "kind", "name", "uid")))
            return found if all((found.api_version, found.kind, found.name, found.uid)) else None
    return None


def log_fields(path: str, about: Ref) -> dict[str, str]:
    """Return the fields by which log lines name an object of the list at this path."""
    match path.rpartition("/")[2]:
        case "pods":
            return {"pod": about.title, "pod_uid": about.uid}
        case "nodes":
            return {"node": about.name}
        case _:
            return {"object": about.title, "uid": about.uid}


def ref(document: object) -> Ref:
    """Return which object a document is, whatever its form."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    if not isinstance(metadata, Mapping):
        return Ref("", "")
    return Ref(*(_text(metadata.get(key)) for key in ("namespace", "name", "uid")))


def version(document: object) -> str:
    """Return an object's resourceVersion; empty where it has none."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    return _text(metadata.get("resourceVersion")) if isinstance(metadata, Mapping) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
