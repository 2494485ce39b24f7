"""What a pod takes of its node's totals, as the kube-scheduler counts it, in thousandths of each resource's unit.

The kube-scheduler adds up a pod's main containers and sidecars, or takes the peak of its init containers where that is
more, and adds the pod's overhead.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from unigpu import names, quantities

Json = Mapping[str, Any]
Amounts = Mapping[str, int]
"""Thousandths of a unit, by the resource's name; no entry is 0."""

OWN = (names.RESOURCE_VGPU, names.RESOURCE_MEMORY, names.RESOURCE_CORES)
"""Resources that only pods of unigpu's scheduler take."""


def of_pod(spec: Json) -> dict[str, int]:
    """Return what a pod with this spec takes. Raises an error of `documents.INVALID` for what isn't a spec."""
    together: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(together, _requests(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            _add(together, own)
            _add(sidecars, own)
        else:
            _raise(peak, _sum(sidecars, own))
    _raise(together, peak)
    together.update(_requests(spec))  # the pod's own, which count in place of its containers'
    _add(together, amounts(spec.get("overhead")))
    return together


def amounts(resources: Json | None) -> dict[str, int]:
    """Return the amounts of a list of resources, rounded up. Raises ValueError for what isn't a quantity."""
    return {name: _amount(str(text)) for name, text in (resources or {}).items()}


def total(found: Iterable[Amounts]) -> dict[str, int]:
    """Return the sum."""
    result: dict[str, int] = {}
    for one in found:
        _add(result, one)
    return result


def _requests(container: Json) -> dict[str, int]:
    return amounts((container.get("resources") or {}).get("requests"))


@functools.lru_cache(maxsize=4096)
def _amount(text: str) -> int:
    return math.ceil(quantities.parse(text)[0] * 1000)


def _add(to: dict[str, int], more: Amounts) -> None:
    for name, amount in more.items():
        to[name] = to.get(name, 0) + amount


def _sum(one: Amounts, other: Amounts) -> dict[str, int]:
    return total((one, other))


def _raise(to: dict[str, int], at_least: Amounts) -> None:
    for name, amount in at_least.items():
        to[name] = max(to.get(name, 0), amount)
