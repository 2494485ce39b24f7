"""What a pod asks for, in the unified form, and the annotation that carries it (`unigpu.dev/request`)."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import documents, errors
from unigpu.documents import MAX_INDEX, MAX_NUMBER, whole
from unigpu.units import FULL, MAX_MEMORY, MiB, Percent

VERSION = 1


class ComputePolicy(enum.StrEnum):
    """What the core share means while the GPU is busy, and while it is idle."""

    HARD = "hard"
    """The share is also the ceiling, on an idle GPU too."""
    SOFT = "soft"
    """The share is guaranteed; the ceiling may be higher."""
    UNLIMITED = "unlimited"
    """Not throttled."""


class Role(enum.StrEnum):
    """When a container runs, which decides whether its share adds to the pod's or overlaps with it."""

    MAIN = "main"
    INIT = "init"
    """Ends before the main containers start."""
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always: runs beside the main containers."""


class PlacementPolicy(enum.StrEnum):
    """How to choose among GPUs, or nodes, that fit."""

    BINPACK = "binpack"
    SPREAD = "spread"
    TOPOLOGY = "topology-aware"


@dataclass(frozen=True, slots=True)
class Request:
    """One container's wish.

    Exactly one of these says how much memory: `memory` above 0, `memory_percent` above 0, or `whole`; all absent means
    that memory isn't limited (a share of compute alone).
    """

    gpus: int
    """Number of different GPUs; at least 1."""
    memory: MiB = MiB(0)
    """MiB on each GPU."""
    memory_percent: Percent = Percent(0)
    """Percent of each GPU's memory; resolved when the GPU is known."""
    cores: Percent = Percent(0)
    """Guaranteed percent of each GPU; 0 is not limited."""
    ceiling: Percent = Percent(0)
    """Upper bound in percent while others idle; 0 means: as `cores`."""
    policy: ComputePolicy = ComputePolicy.HARD
    whole: bool = False
    """Otherwise empty GPUs, all of each."""
    isolated: bool = True
    """False: counted in scheduling, not limited at run time (CGPU_DISABLE)."""
    priority: int = 0
    """0 is high; 1 yields to 0."""
    role: Role = Role.MAIN
    dialect: str = "unigpu"
    original_fields: Mapping[str, str] = field(default_factory=dict)
    """The vendor's fields as the author wrote them: for people, and for the vendor's environment variables."""

    @property
    def total_memory(self) -> MiB:
        """Value of `unigpu.dev/memory`: MiB over all GPUs; 0 where it depends on the GPU."""
        return MiB(self.gpus * self.memory)

    @property
    def total_cores(self) -> int:
        """Value of `unigpu.dev/cores`: percent of one GPU, over all GPUs; a whole GPU is 100."""
        return self.gpus * (100 if self.whole else self.cores)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a pod says about the choice of GPUs. Empty tuples mean: no wish."""

    gpu_policy: PlacementPolicy | None = None
    """None: the node's label, else the chart's default."""
    node_policy: PlacementPolicy | None = None
    use_types: tuple[str, ...] = ()
    """Case-insensitive parts of the model's name, any of which must be in it."""
    avoid_types: tuple[str, ...] = ()
    use_uuids: tuple[str, ...] = ()
    avoid_uuids: tuple[str, ...] = ()

    @property
    def selective(self) -> bool:
        """Whether some GPUs are out of the question."""
        return bool(self.use_types or self.avoid_types or self.use_uuids or self.avoid_uuids)


@dataclass(frozen=True, slots=True)
class PodRequest:
    """All GPU containers of a pod by name, and the pod's preferences."""

    containers: Mapping[str, Request]
    preferences: Preferences = Preferences()


_DEFAULTS = {key: getattr(Request(gpus=0), key) for key in Request.__slots__}
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def dump(pod: PodRequest) -> str:
    """The annotation's text: JSON with sorted keys, defaults left out."""
    containers = {name: _fields(request) for name, request in pod.containers.items()}
    document: dict[str, Any] = {"version": VERSION, "containers": containers}
    wishes = {
        key: list(value) if isinstance(value, tuple) else value
        for key in Preferences.__slots__
        if (value := getattr(pod.preferences, key))
    }
    if wishes:
        document["preferences"] = wishes
    return _JSON.encode(document)


def _fields(request: Request) -> dict[str, Any]:
    fields = {}
    for key, default in _DEFAULTS.items():
        value = getattr(request, key)
        if value != default or key == "dialect":
            fields[key] = dict(value) if key == "original_fields" else value
    return fields


def load(text: str) -> PodRequest:
    """The reverse of `dump`.

    Raises Malformed with the place in the document.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"request annotation has version {document['version']}; this is for {VERSION}")
        return PodRequest(
            containers={name: _request(value) for name, value in document["containers"].items()},
            preferences=_preferences(document.get("preferences", {})),
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"request annotation is not of the unified form: {documents.brief(error)}") from error


_HIGHEST = {
    "gpus": MAX_INDEX,
    "memory": MAX_MEMORY,
    "memory_percent": FULL,
    "cores": FULL,
    "ceiling": FULL,
    "priority": MAX_NUMBER,
}
"""Highest value of each number in a container's request."""


def _request(value: Mapping[str, Any]) -> Request:
    fields = dict(value)
    if "policy" in fields:
        fields["policy"] = ComputePolicy(fields["policy"])
    if "role" in fields:
        fields["role"] = Role(fields["role"])
    for key, high in _HIGHEST.items():
        try:
            whole(fields.get(key, 0), high)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    for key in ("whole", "isolated"):
        if not isinstance(fields.get(key, False), bool):
            raise ValueError(f"{key} is {fields[key]!r}, not true or false")
    original = fields.get("original_fields", {})
    texts = [fields.get("dialect", ""), *original.keys(), *original.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("dialect and original_fields are not texts")
    request = Request(**fields)
    if request.gpus < 1:
        raise ValueError(f"gpus is {request.gpus}, not 1 or more")
    return request


def _preferences(value: Mapping[str, Any]) -> Preferences:
    fields: dict[str, Any] = {}
    for key, item in value.items():
        if key in ("gpu_policy", "node_policy"):
            fields[key] = PlacementPolicy(item)
        elif isinstance(item, list) and all(isinstance(word, str) for word in item):
            fields[key] = tuple(item)
        else:
            raise ValueError(f"{key} is {item!r}, not a list of texts")
    return Preferences(**fields)
