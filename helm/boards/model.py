"""Boards, panels and queries as this project writes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and the name of its series: a template of Grafana."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `unit` is Grafana's name of it; `alarming`: any value above 0 is shown in red."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses, from the values of a metric's label."""

    name: str
    label: str
    query: str


@dataclass(frozen=True, slots=True)
class Board:
    """One page; `name` is that of its file."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]


def stat(title: str, description: str, unit: str, expression: str, *, alarming: bool = False) -> Panel:
    """Return a panel with one number."""
    return Panel(title, description, unit, (Query(expression),), kind="stat", width=4, height=4, alarming=alarming)


NODE = Variable("node", "Node", "label_values(unigpu_gpu_shares, node)")
NAMESPACE = Variable("namespace", "Namespace", "label_values(unigpu_container_info, namespace)")
POD = Variable("pod", "Pod", 'label_values(unigpu_container_info{namespace="$namespace"}, pod)')
