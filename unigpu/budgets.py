"""Pod disruption budgets: which pods each protects, and how many of them may be evicted now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import documents

Json = Mapping[str, Any]
Labels = Mapping[str, str]
PATH = "/apis/policy/v1/poddisruptionbudgets"
"""Of the API server's list."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One condition of a label selector."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        """Return whether labels satisfy it. An operator that Kubernetes doesn't have matches nothing."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    conditions: tuple[Expression, ...]
    """All of them select the pods that are protected; none selects all pods of the namespace, None none."""
    selects: bool
    """Whether it has a selector."""
    allowed: int
    """Evictions that it allows now."""
    disrupted: frozenset[str] = frozenset()
    """Names of pods whose eviction is counted already."""

    def protects(self, namespace: str, name: str, labels: Labels) -> bool:
        """Return whether an eviction of this pod would count."""
        return (
            self.selects
            and namespace == self.namespace
            and name not in self.disrupted
            and all(condition.holds(labels) for condition in self.conditions)
        )

    @property
    def title(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


def load(document: Json) -> Budget:
    """Return the facts of a PodDisruptionBudget. Raises an error of `documents.INVALID` for what isn't one."""
    metadata, status = document["metadata"], document.get("status") or {}
    selector = document["spec"].get("selector")
    return Budget(
        documents.text(metadata["namespace"]),
        documents.text(metadata["name"]),
        tuple(_conditions(selector or {})),
        selector is not None,
        int(status.get("disruptionsAllowed") or 0),
        frozenset(status.get("disruptedPods") or {}),
    )


def _conditions(selector: Json) -> Iterable[Expression]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield Expression(key, "In", frozenset((documents.text(value),)))
    for one in selector.get("matchExpressions") or ():
        yield Expression(one["key"], one["operator"], frozenset(one.get("values") or ()))
