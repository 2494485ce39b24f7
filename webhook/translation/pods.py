"""The parts of a pod that admission reads, checked for types: a request may hold anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import errors
from unigpu.requests import Role

PLACES = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Container:
    """One container of any kind."""

    name: str
    role: Role
    place: str
    """The list in the pod's spec that it is in, one of PLACES."""
    index: int
    """Position in that list."""
    limits: Mapping[str, str]
    requests: Mapping[str, str]
    env: Mapping[str, str | None]
    """None: the value comes from elsewhere (valueFrom), unknown at admission. The last of several namesakes counts."""
    paths: tuple[tuple[str, str], ...] = ()
    """Field and value of each path at which the kubelet puts something into the container."""

    def has(self, resource: str) -> bool:
        """Whether the resource is in its limits or requests."""
        return resource in self.limits or resource in self.requests

    def value(self, resource: str) -> str:
        """The resource's limit, else its request, as written; empty if absent."""
        return self.limits.get(resource, self.requests.get(resource, ""))

    @property
    def ephemeral(self) -> bool:
        """Whether it was attached to a running pod, and so can't have resources."""
        return self.place == "ephemeralContainers"


@dataclass(frozen=True, slots=True)
class Pod:
    """The parts of a pod that admission reads."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    scheduler: str
    node: str
    """spec.nodeName: set where the author has chosen the node."""
    containers: tuple[Container, ...]
    limits: Mapping[str, str]
    """Resources of the pod as a whole (spec.resources)."""


def read(document: object) -> Pod:
    """Read the pod in a parsed JSON or YAML document.

    Raises Malformed, naming the place, where a part isn't of the type that the API has for it.
    """
    pod = _object(document, "pod")
    metadata = _object(pod.get("metadata"), "metadata")
    spec = _object(pod.get("spec"), "spec")
    return Pod(
        name=_text(metadata.get("name") or metadata.get("generateName"), "metadata.name"),
        labels=_texts(metadata.get("labels"), "metadata.labels"),
        annotations=_texts(metadata.get("annotations"), "metadata.annotations"),
        scheduler=_text(spec.get("schedulerName"), "spec.schedulerName"),
        node=_text(spec.get("nodeName"), "spec.nodeName"),
        containers=tuple(_containers(spec)),
        limits=_quantities(_object(spec.get("resources"), "spec.resources").get("limits"), "spec.resources.limits"),
    )


def _containers(spec: Mapping[str, Any]) -> Iterator[Container]:
    for place in PLACES:
        for index, item in enumerate(_list(spec.get(place), f"spec.{place}")):
            where = f"spec.{place}[{index}]"
            container = _object(item, where)
            resources = _object(container.get("resources"), f"{where}.resources")
            role = Role.MAIN
            if place == "initContainers":
                role = Role.SIDECAR if container.get("restartPolicy") == "Always" else Role.INIT
            yield Container(
                name=_text(container.get("name"), f"{where}.name"),
                role=role,
                place=place,
                index=index,
                limits=_quantities(resources.get("limits"), f"{where}.resources.limits"),
                requests=_quantities(resources.get("requests"), f"{where}.resources.requests"),
                env=_env(container.get("env"), f"{where}.env"),
                paths=tuple(_paths(container, where)),
            )


def _paths(container: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for field, key in (("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
        for index, item in enumerate(_list(container.get(field), f"{where}.{field}")):
            place = f"{field}[{index}].{key}"
            yield place, _text(_object(item, f"{where}.{field}[{index}]").get(key), f"{where}.{place}")
    message = _text(container.get("terminationMessagePath"), f"{where}.terminationMessagePath")
    if message:
        yield "terminationMessagePath", message


def _env(value: object, where: str) -> dict[str, str | None]:
    variables: dict[str, str | None] = {}
    for index, item in enumerate(_list(value, where)):
        variable = _object(item, f"{where}[{index}]")
        name = _text(variable.get("name"), f"{where}[{index}].name")
        known = variable.get("valueFrom") is None
        variables[name] = _text(variable.get("value"), f"{where}[{index}].value") if known else None
    return variables


def _object(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.Malformed(f"{where} is {_kind(value)}, not an object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise errors.Malformed(f"{where} is {_kind(value)}, not a list")
    return value


def _text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.Malformed(f"{where} is {_kind(value)}, not a string; quote it")
    return value


def _texts(value: object, where: str) -> dict[str, str]:
    return {str(key): _text(item, f"{where}[{key}]") for key, item in _object(value, where).items()}


def _quantities(value: object, where: str) -> dict[str, str]:
    quantities = {}
    for key, item in _object(value, where).items():
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise errors.Malformed(f"{where}[{key}] is {_kind(item)}, not a quantity")
        quantities[str(key)] = str(item)
    return quantities


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "empty"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
