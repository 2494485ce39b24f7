"""Bound the work that a pod can cause: hints compare each name with every known one, and a pod may have 30,000 names.

Other work is done for each container and each annotation, and a pod may have thousands of both.
"""

import dataclasses
from collections.abc import Mapping
from itertools import islice
from typing import TypeVar

from unigpu.findings import Problem, Remark
from webhook.translation.pods import Container, Pod

MOST_NAMES = 256
"""Annotations, labels and resources of a pod that are looked at for mistakes."""
MOST_VARIABLES = 4096
"""Environment variables that are; they are compared with a few names only."""
MOST_CONTAINERS = 256
"""Of a pod that asks for GPUs."""
_V = TypeVar("_V")


class _Budget:
    def __init__(self, most: int) -> None:
        self.left = most
        self.over = 0

    def take(self, names: Mapping[str, _V]) -> Mapping[str, _V]:
        """Return the first of these that are still within the budget."""
        if len(names) <= self.left:
            self.left -= len(names)
            return names
        kept = dict(islice(names.items(), self.left))
        self.over += len(names) - len(kept)
        self.left = 0
        return kept


def cut(pod: Pod) -> tuple[Pod, tuple[str, ...]]:
    """Return the pod with so many names that each can be looked at for mistakes, and a warning if that isn't all."""
    if _is_small(pod):
        return pod, ()
    names, variables = _Budget(MOST_NAMES), _Budget(MOST_VARIABLES)

    def of_container(container: Container) -> Container:
        limits, requests = names.take(container.limits), names.take(container.requests)
        return dataclasses.replace(container, limits=limits, requests=requests, env=variables.take(container.env))

    annotations, labels = names.take(pod.annotations), names.take(pod.labels)
    containers = tuple(of_container(container) for container in pod.containers)
    if not names.over and not variables.over:
        return pod, ()
    short = dataclasses.replace(pod, annotations=annotations, labels=labels, containers=containers)
    why = f"not looked at for mistakes; accepted: at most {MOST_NAMES} names, and {MOST_VARIABLES} variables"
    return short, (str(Remark("pod", "names beyond the first", str(names.over + variables.over), why)),)


def _is_small(pod: Pod) -> bool:
    """Return whether nothing has to be cut; nearly every pod is so."""
    names, variables = len(pod.annotations) + len(pod.labels), 0
    for container in pod.containers:
        names += len(container.limits) + len(container.requests)
        variables += len(container.env)
    return names <= MOST_NAMES and variables <= MOST_VARIABLES


def problem(pod: Pod) -> Problem | None:
    """Return why a pod that asks for GPUs has too many containers to be read; None where it hasn't."""
    count = len(pod.containers)
    if count <= MOST_CONTAINERS:
        return None
    return Problem("", "containers of all kinds", str(count), "too many", f"up to {MOST_CONTAINERS} in a pod with GPUs")
