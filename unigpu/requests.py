"""A pod's request in the unified form, and the annotation that carries it (`unigpu.dev/request`)."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import documents, errors
from unigpu.documents import MAX_INDEX, MAX_NUMBER, whole
from unigpu.remembered import remembered
from unigpu.units import FULL, MAX_MEMORY, MiB, Percent

VERSION = 1
MOST_KNOWN = 512
"""Annotations that are remembered as they were read. Each is read several times in each service, and pods of one
template have the same."""


class ComputePolicy(enum.StrEnum):
    """How the share of compute time limits a container, on a busy GPU and on an idle one."""

    HARD = "hard"
    """The share is the ceiling, on an idle GPU too."""
    SOFT = "soft"
    """The share is guaranteed; the ceiling may be higher."""
    UNLIMITED = "unlimited"
    """Not throttled."""


class Role(enum.StrEnum):
    """When a container runs. It decides whether the container's share adds to the pod's or overlaps with it."""

    MAIN = "main"
    INIT = "init"
    """Ends before the main containers start."""
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always; it runs along with the main containers."""


class PlacementPolicy(enum.StrEnum):
    """How to choose among GPUs, or nodes, that fit."""

    BINPACK = "binpack"
    SPREAD = "spread"
    TOPOLOGY = "topology-aware"


@dataclass(frozen=True, slots=True)
class Request:
    """One container's request.

    At most one of `memory`, `memory_percent` and `whole` is set. If none is, memory isn't limited: the container shares
    compute time alone.
    """

    gpus: int
    """Number of different GPUs; at least 1."""
    memory: MiB = MiB(0)
    """MiB on each GPU."""
    memory_percent: Percent = Percent(0)
    """Percent of each GPU's memory; resolved to MiB when the GPU is chosen."""
    cores: Percent = Percent(0)
    """Guaranteed percent of each GPU's compute time; 0: not limited."""
    ceiling: Percent = Percent(0)
    """Most percent that it may use while others are idle; 0: as `cores`."""
    policy: ComputePolicy = ComputePolicy.HARD
    whole: bool = False
    """All of each GPU, shared with no other pod."""
    isolated: bool = True
    """False: counted in scheduling, but not limited at run time (CGPU_DISABLE)."""
    priority: int = 0
    """0 is the highest; 1 yields to 0."""
    role: Role = Role.MAIN
    dialect: str = "unigpu"
    original_fields: Mapping[str, str] = field(default_factory=dict)
    """The vendor's fields as the author wrote them, for people and for the vendor's environment variables."""

    @property
    def total_memory(self) -> MiB:
        """Value of `unigpu.dev/memory`: MiB over all GPUs; 0 if it depends on the GPU chosen."""
        return MiB(self.gpus * self.memory)

    @property
    def total_cores(self) -> int:
        """Value of `unigpu.dev/cores`: percent of one GPU, over all GPUs; a whole GPU is 100."""
        return self.gpus * (100 if self.whole else self.cores)


@dataclass(frozen=True, slots=True)
class Preferences:
    """A pod's preferences about nodes and GPUs. An empty tuple is no preference."""

    gpu_policy: PlacementPolicy | None = None
    """None: as the node's label or else the chart says."""
    node_policy: PlacementPolicy | None = None
    use_types: tuple[str, ...] = ()
    """Parts of model names, in any case; the GPU's model must contain one of them."""
    avoid_types: tuple[str, ...] = ()
    use_uuids: tuple[str, ...] = ()
    avoid_uuids: tuple[str, ...] = ()
    numa: bool = False
    """Whether a container's GPUs should hang on one NUMA node, where that is possible."""

    @property
    def selective(self) -> bool:
        """Whether the pod excludes any GPUs."""
        return bool(self.use_types or self.avoid_types or self.use_uuids or self.avoid_uuids)


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod's GPU containers by name, in the order in which they start, and its preferences."""

    containers: Mapping[str, Request]
    preferences: Preferences = Preferences()


_DEFAULTS = {key: getattr(Request(gpus=0), key) for key in Request.__slots__}
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def dump(pod: PodRequest) -> str:
    """Return the annotation's text: JSON with sorted keys, without fields that have their default."""
    containers = {name: _fields(request) for name, request in pod.containers.items()}
    document: dict[str, Any] = {"version": VERSION, "containers": containers}
    preferences = {
        key: list(value) if isinstance(value, tuple) else value
        for key in Preferences.__slots__
        if (value := getattr(pod.preferences, key))
    }
    if preferences:
        document["preferences"] = preferences
    return _JSON.encode(document)


def _fields(request: Request) -> dict[str, Any]:
    fields = {}
    for key, default in _DEFAULTS.items():
        value = getattr(request, key)
        if value != default or key == "dialect":
            fields[key] = dict(value) if key == "original_fields" else value
    return fields


@remembered(MOST_KNOWN)
def load(text: str) -> PodRequest:
    """Return the request that `dump` wrote. It may be the same object as of an earlier call: don't change it.

    Raises Malformed that says what is wrong.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"request annotation has version {document['version']}, not {VERSION}")
        return PodRequest(
            containers={name: _request(value) for name, value in document["containers"].items()},
            preferences=_preferences(document.get("preferences", {})),
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"request annotation can't be read: {documents.brief(error)}") from error


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
        raise ValueError("dialect or original_fields is not text")
    request = Request(**fields)
    if request.gpus < 1:
        raise ValueError(f"gpus is {request.gpus}, not 1 or more")
    return request


def _preferences(value: Mapping[str, Any]) -> Preferences:
    fields: dict[str, Any] = {}
    for key, item in value.items():
        if key in ("gpu_policy", "node_policy"):
            fields[key] = PlacementPolicy(item)
        elif key == "numa":
            fields[key] = documents.flag(item)
        elif isinstance(item, list) and all(isinstance(word, str) for word in item):
            fields[key] = tuple(item)
        else:
            raise ValueError(f"{key} is {item!r}, not a list of strings")
    return Preferences(**fields)
