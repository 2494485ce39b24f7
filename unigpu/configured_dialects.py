"""Dialects by configuration: resource names that a cluster adds to those of the known vendors, or has in their place.

The chart's values `dialects.additional` and `dialects.hamiResourceNames`, as one JSON text that every part is given.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unigpu import documents, errors, names, vendor_resources
from unigpu.documents import whole
from unigpu.requests import ComputePolicy
from unigpu.units import BYTES_PER_MIB, MAX_MEMORY, MiB
from unigpu.vendor_resources import Counts, VendorResource

_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
"""As in https://kubernetes.io/docs/reference/using-api/ for a qualified name."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


class Shape(enum.StrEnum):
    """How a dialect's resources go together."""

    PER_GPU = "perGpu"
    """A number of GPUs, and memory and cores for each of them, as HAMi has it."""
    BY_CORE = "byCore"
    """Cores where 100 are a GPU, and memory over all GPUs, as Tencent has it."""


@dataclass(frozen=True, slots=True)
class ConfiguredDialect:
    """One dialect that the cluster adds. A resource with an empty name doesn't exist in it."""

    name: str
    shape: Shape
    count: str = ""
    """Number of GPUs; only with `perGpu`."""
    memory: str = ""
    memory_percent: str = ""
    """Percent of each GPU's memory; only with `perGpu`."""
    cores: str = ""
    """Percent of each GPU's time; with `byCore` 100 are a GPU."""
    priority: str = ""
    memory_unit: MiB = MiB(1)
    """MiB in one of `memory`."""
    policy: ComputePolicy = ComputePolicy.HARD
    """Whether a share of cores is the ceiling too; soft: up to the whole GPU while others are idle."""


@dataclass(frozen=True, slots=True)
class HamiNames:
    """HAMi's resource names, as its chart may rename them."""

    count: str = vendor_resources.NVIDIA_GPU
    memory: str = "nvidia.com/gpumem"
    memory_percent: str = "nvidia.com/gpumem-percentage"
    cores: str = "nvidia.com/gpucores"
    priority: str = "nvidia.com/priority"


@dataclass(frozen=True, slots=True)
class Words:
    """What a cluster's configuration says about dialects."""

    additional: tuple[ConfiguredDialect, ...] = ()
    hami: HamiNames = field(default_factory=HamiNames)


STANDARD = Words()
_KEYS: Mapping[str, str] = {"memoryPercent": "memory_percent", "memoryUnit": "memory_unit"}
_COUNTS = {
    "count": Counts.SLOTS,
    "memory_percent": Counts.PERCENT,
    "cores": Counts.PERCENT,
    "priority": Counts.NOTHING,
}


def load(text: str) -> Words:
    """Return what the text says; empty: nothing is added or renamed.

    Raises Malformed that names the field.
    """
    if not text.strip():
        return STANDARD
    try:
        document = documents.decode(text)
        unknown = document.keys() - {"additional", "hamiResourceNames"}
        if unknown:
            raise ValueError(f"unknown field {min(unknown)}; accepted: additional, hamiResourceNames")
        additional = tuple(_dialect(item) for item in document.get("additional") or ())
        hami = HamiNames(**_names(document.get("hamiResourceNames") or {}, HamiNames))
        words = Words(additional, hami)
        _check(words)
    except documents.INVALID as error:
        raise errors.Malformed(f"dialects can't be read: {documents.brief(error)}") from error
    return words


def dump(additional: object, hami: object) -> str:
    """Return the text that `load` reads, of two values of the chart."""
    return json.dumps({"additional": additional or [], "hamiResourceNames": hami or {}})


def resources(words: Words) -> Mapping[str, VendorResource]:
    """Return every vendor's resource by name, with what is renamed and added."""
    if words == STANDARD:
        return vendor_resources.RESOURCES
    standard = HamiNames()
    renamed = {
        getattr(standard, each.name): getattr(words.hami, each.name)
        for each in fields(HamiNames)
        if getattr(standard, each.name) != getattr(words.hami, each.name)
    }
    found = {renamed.get(name, name): kind for name, kind in vendor_resources.RESOURCES.items()}
    for dialect in words.additional:
        found |= {getattr(dialect, key): VendorResource(kind) for key, kind in _COUNTS.items() if getattr(dialect, key)}
        if dialect.memory:
            found[dialect.memory] = VendorResource(Counts.MEMORY, dialect.memory_unit * BYTES_PER_MIB)
    return found


def more(words: Words) -> tuple[str, ...]:
    """Return the resource names that no vendor has, sorted."""
    return tuple(sorted(resources(words).keys() - vendor_resources.RESOURCES.keys()))


def _dialect(item: Mapping[str, Any]) -> ConfiguredDialect:
    if not isinstance(item, dict):
        raise ValueError(f"{item!r} is not a dialect; accepted: an object with name, shape and resource names")
    given: dict[str, Any] = {_KEYS.get(key, key): value for key, value in item.items()}
    name, shape = str(given.pop("name", "")), Shape(given.pop("shape", ""))
    if not _NAME.fullmatch(name):
        raise ValueError(f"name = {name!r}: not a name; accepted: lower-case letters, digits and -")
    unit = MiB(whole(given.pop("memory_unit", 1), MAX_MEMORY, 1))
    policy = ComputePolicy(given.pop("policy", ComputePolicy.HARD))
    if policy is ComputePolicy.UNLIMITED:
        raise ValueError(f"policy of {name} = {policy}: cores would have no effect; accepted: hard or soft")
    found = ConfiguredDialect(name, shape, memory_unit=unit, policy=policy, **_names(given, ConfiguredDialect))
    needed = {"count"} if shape is Shape.PER_GPU else {"cores", "memory"}
    missing = sorted(key for key in needed if not getattr(found, key))
    if missing:
        raise ValueError(f"{missing[0]} of {name} is missing; shape {shape} needs {' and '.join(sorted(needed))}")
    foreign = {"count", "memory_percent", "priority"} if shape is Shape.BY_CORE else set()
    if any(getattr(found, key) for key in foreign):
        raise ValueError(f"{name} has a field that shape {shape} doesn't have; accepted: cores, memory")
    return found


def _names(given: Mapping[str, Any], of: type) -> dict[str, str]:
    """Return the resource names among the fields, in the dataclass's own words."""
    known = {each.name for each in fields(of)} & {"count", "memory", "memory_percent", "cores", "priority"}
    found = {_KEYS.get(key, key): value for key, value in given.items() if value != ""}
    for key, value in found.items():
        if key not in known:
            raise ValueError(f"unknown field {key}; accepted: {', '.join(sorted(known))}")
        if not isinstance(value, str) or not _RESOURCE.fullmatch(value):
            raise ValueError(f"{key} = {value!r}: not a resource name with a domain, such as example.com/gpu")
    return found


def _check(words: Words) -> None:
    """Raise ValueError where two dialects would have the same name or resource."""
    every = [*resources(Words(hami=words.hami)), *names.UNIFIED_RESOURCES]
    for dialect in words.additional:
        keys = ("count", "memory", "memory_percent", "cores", "priority")
        every += [getattr(dialect, key) for key in keys if getattr(dialect, key)]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice or len(resources(Words(hami=words.hami))) != len(vendor_resources.RESOURCES):
        raise ValueError(f"{twice[0] if twice else 'a name'} has two meanings; accepted: names that no dialect has yet")
    titles = [dialect.name for dialect in words.additional]
    again = sorted({title for title in titles if titles.count(title) > 1})
    if again:
        raise ValueError(f"name = {again[0]}: there are two of it")
