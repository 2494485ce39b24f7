"""Generate the chart's Grafana boards: `python helm/dashboards.py [--check]`.

Each board is a row of panels, which fill the page from left to right. Expressions use only metrics that unigpu itself
serves, and no recording rules, so that the boards work where the rules aren't installed.

With --check nothing is written; the exit status is 1 if a file isn't current.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helm import generated  # noqa: E402

FOLDER = ROOT / "helm" / "unigpu" / "dashboards"

_COLUMNS = 24
"""Of Grafana's grid."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


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


def _stat(title: str, description: str, unit: str, expression: str, *, alarming: bool = False) -> Panel:
    return Panel(title, description, unit, (Query(expression),), kind="stat", width=4, height=4, alarming=alarming)


NODE = Variable("node", "Node", "label_values(unigpu_gpu_shares, node)")
NAMESPACE = Variable("namespace", "Namespace", "label_values(unigpu_container_info, namespace)")
POD = Variable("pod", "Pod", 'label_values(unigpu_container_info{namespace="$namespace"}, pod)')

CLUSTER = Board(
    "cluster",
    "unigpu / Cluster",
    "GPUs of the cluster: what there is, who has it, who uses it, and whether unigpu itself is well.",
    (),
    (
        _stat("GPUs", "GPUs that the scheduler can place on.", "short", "max(unigpu_scheduler_gpus)"),
        _stat("GPU nodes", "Nodes with GPUs.", "short", "max(unigpu_scheduler_nodes)"),
        _stat("Pods with GPUs", "Pods that have a share or whole GPUs.", "short", "max(unigpu_scheduler_pods)"),
        _stat(
            "Unhealthy GPUs",
            "GPUs for which the driver no longer answers.",
            "short",
            "count(unigpu_gpu_healthy == 0) or vector(0)",
            alarming=True,
        ),
        _stat(
            "Skipped pods",
            "GPU pods that no webhook translated when they were created.",
            "short",
            "max(unigpu_webhook_skipped_pods)",
            alarming=True,
        ),
        _stat(
            "Certificate",
            "Time until the webhook's certificate expires. It is renewed with a month left.",
            "s",
            "min(unigpu_webhook_certificate_expiry_timestamp_seconds) - time()",
        ),
        Panel(
            "GPU memory",
            "Memory of all GPUs: in use as the driver says, granted to containers, and in all.",
            "bytes",
            (
                Query("sum(unigpu_gpu_memory_used_bytes)", "used"),
                Query("sum(unigpu_gpu_memory_granted_bytes)", "granted"),
                Query("sum(unigpu_gpu_memory_total_bytes)", "total"),
            ),
        ),
        Panel(
            "GPUs in use by namespace",
            "GPU time charged per second: 1.5 is one and a half GPUs.",
            "short",
            (
                Query(
                    "sum by (namespace) (rate(unigpu_container_gpu_seconds_total[$__rate_interval]))", "{{namespace}}"
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory reserved by namespace",
            "Memory that containers may have. A container without a limit reserves none.",
            "bytes",
            (Query("sum by (namespace) (unigpu_container_memory_limit_bytes)", "{{namespace}}"),),
            stacked=True,
        ),
        Panel(
            "Free memory by node",
            "Memory that no container has. A share fits only if one GPU has enough of it.",
            "bytes",
            (
                Query(
                    "sum by (node) (clamp_min(unigpu_gpu_memory_total_bytes"
                    " - on (node, uuid) unigpu_gpu_memory_granted_bytes, 0))",
                    "{{node}}",
                ),
            ),
        ),
        Panel(
            "Utilisation by node",
            "Part of the time in which a kernel ran, averaged over the node's GPUs.",
            "percentunit",
            (Query("avg by (node) (unigpu_gpu_utilisation_ratio)", "{{node}}"),),
        ),
        Panel(
            "Failed allocations by namespace",
            "Allocations per second that would have exceeded a container's memory limit.",
            "ops",
            (
                Query(
                    "sum by (namespace)"
                    " (rate(unigpu_container_memory_allocation_failures_total[$__rate_interval])) > 0",
                    "{{namespace}}",
                ),
            ),
        ),
        Panel(
            "Scheduler extender, p99",
            "99 of 100 requests of kube-scheduler are answered within this time.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (verb, le)"
                    " (rate(unigpu_scheduler_request_duration_seconds_bucket[$__rate_interval])))",
                    "{{verb}}",
                ),
            ),
        ),
        Panel(
            "Webhook, p99",
            "99 of 100 reviews are answered within this time.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (path, le)"
                    " (rate(unigpu_webhook_review_duration_seconds_bucket[$__rate_interval])))",
                    "{{path}}",
                ),
            ),
        ),
        Panel(
            "Reviews by outcome",
            "Reviews per second. Refused pods get a reason; forged ones bring annotations that only unigpu may write.",
            "ops",
            (
                Query(
                    'sum by (outcome) (rate(unigpu_webhook_reviews_total{outcome!="untouched"}[$__rate_interval]))',
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Extender requests by outcome",
            "Requests of kube-scheduler per second, by verb and outcome.",
            "ops",
            (
                Query(
                    "sum by (verb, outcome) (rate(unigpu_scheduler_request_duration_seconds_count[$__rate_interval]))",
                    "{{verb}} {{outcome}}",
                ),
            ),
        ),
    ),
)

_OF_NODE = '{node="$node"}'
NODE_BOARD = Board(
    "node",
    "unigpu / Node",
    "The GPUs of one node, and the containers on them.",
    (NODE,),
    (
        _stat("GPUs", "GPUs that the exporter knows.", "short", f"count(unigpu_gpu_shares{_OF_NODE})"),
        _stat("Shares", "Containers that have a share of a GPU.", "short", f"sum(unigpu_gpu_shares{_OF_NODE})"),
        _stat(
            "Unhealthy GPUs",
            "GPUs for which the driver no longer answers.",
            "short",
            f"count(unigpu_gpu_healthy{_OF_NODE} == 0) or vector(0)",
            alarming=True,
        ),
        _stat(
            "Unreadable files",
            "Files of containers that are torn or foreign.",
            "short",
            f"sum(unigpu_container_unreadable{_OF_NODE}) or vector(0)",
            alarming=True,
        ),
        _stat("Driver", "1: NVML answers; 0: it doesn't.", "short", f"min(unigpu_exporter_driver_up{_OF_NODE})"),
        _stat(
            "Scrape",
            "Time that the exporter needs for its page.",
            "s",
            f"max(unigpu_exporter_collect_duration_seconds{_OF_NODE})",
        ),
        Panel(
            "Memory used by GPU",
            "Part of each GPU's memory that is in use, as the driver says.",
            "percentunit",
            (
                Query(
                    f"unigpu_gpu_memory_used_bytes{_OF_NODE} / unigpu_gpu_memory_total_bytes{_OF_NODE}", "GPU {{gpu}}"
                ),
            ),
        ),
        Panel(
            "Memory granted by GPU",
            "Part of each GPU's memory that containers may have. More than 100 % never happens unless another program"
            " allocates.",
            "percentunit",
            (
                Query(
                    f"unigpu_gpu_memory_granted_bytes{_OF_NODE} / unigpu_gpu_memory_total_bytes{_OF_NODE}",
                    "GPU {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Utilisation by GPU",
            "Part of the time in which a kernel ran.",
            "percentunit",
            (Query(f"unigpu_gpu_utilisation_ratio{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Shares by GPU",
            "Containers that have a share of each GPU.",
            "short",
            (Query(f"unigpu_gpu_shares{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Compute by container",
            "GPU time charged per second: 100 % is a whole GPU.",
            "percentunit",
            (
                Query(
                    "sum by (namespace, pod, container, gpu)"
                    f" (rate(unigpu_container_gpu_seconds_total{_OF_NODE}[$__rate_interval]))",
                    "{{namespace}}/{{pod}} {{container}} on {{gpu}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory by container",
            "Memory that each container uses, its CUDA contexts included.",
            "bytes",
            (
                Query(
                    f"sum by (namespace, pod, container, gpu) (unigpu_container_memory_used_bytes{_OF_NODE})",
                    "{{namespace}}/{{pod}} {{container}} on {{gpu}}",
                ),
            ),
            stacked=True,
        ),
    ),
)

_OF_NAMESPACE = '{namespace="$namespace"}'
NAMESPACE_BOARD = Board(
    "namespace",
    "unigpu / Namespace",
    "What one namespace has of the cluster's GPUs, and what it uses.",
    (NAMESPACE,),
    (
        _stat(
            "GPUs in use",
            "GPU time charged per second in the last 5 minutes.",
            "short",
            f"sum(rate(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[5m]))",
        ),
        _stat(
            "GPU time",
            "GPU seconds charged in the range that is shown.",
            "s",
            f"sum(increase(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[$__range]))",
        ),
        _stat(
            "Memory reserved",
            "Memory that the containers may have.",
            "bytes",
            f"sum(unigpu_container_memory_limit_bytes{_OF_NAMESPACE})",
        ),
        _stat(
            "Memory used",
            "Memory that the containers use.",
            "bytes",
            f"sum(unigpu_container_memory_used_bytes{_OF_NAMESPACE})",
        ),
        _stat(
            "Pods",
            "Pods with GPUs.",
            "short",
            f"count(count by (pod) (unigpu_container_info{_OF_NAMESPACE}))",
        ),
        _stat(
            "Failed allocations",
            "Allocations beyond a memory limit, in the range that is shown.",
            "short",
            f"sum(increase(unigpu_container_memory_allocation_failures_total{_OF_NAMESPACE}[$__range]))",
            alarming=True,
        ),
        Panel(
            "Compute by pod",
            "GPU time charged per second: 1 is a whole GPU.",
            "short",
            (
                Query(
                    f"sum by (pod) (rate(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[$__rate_interval]))",
                    "{{pod}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory by pod",
            "Memory that each pod uses.",
            "bytes",
            (Query(f"sum by (pod) (unigpu_container_memory_used_bytes{_OF_NAMESPACE})", "{{pod}}"),),
            stacked=True,
        ),
        Panel(
            "How full the shares are",
            "Memory in use as part of the limit. Containers without a limit are left out.",
            "percentunit",
            (
                Query(
                    f"unigpu_container_memory_used_bytes{_OF_NAMESPACE}"
                    f" / (unigpu_container_memory_limit_bytes{_OF_NAMESPACE} > 0)",
                    "{{pod}} {{container}} on {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Waiting for compute by pod",
            "Seconds per second that kernel launches wait for the container's share, summed over launches.",
            "short",
            (
                Query(
                    f"sum by (pod) (rate(unigpu_container_throttled_seconds_total{_OF_NAMESPACE}[$__rate_interval]))",
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Shares by dialect",
            "Shares of GPUs, by the vendor's fields that the pods were written with.",
            "short",
            (Query(f"count by (dialect) (unigpu_container_info{_OF_NAMESPACE})", "{{dialect}}"),),
            stacked=True,
        ),
        Panel(
            "Compute reserved by pod",
            "Compute time that each pod reserves: 1 is a whole GPU. A container without a limit reserves none.",
            "short",
            (Query(f"sum by (pod) (unigpu_container_cores_limit_ratio{_OF_NAMESPACE})", "{{pod}}"),),
            stacked=True,
        ),
    ),
)

_OF_POD = '{namespace="$namespace", pod="$pod"}'
_SERIES = "{{container}} on {{gpu}}"
POD_BOARD = Board(
    "pod",
    "unigpu / Pod",
    "What one pod's containers have of each GPU, what they use, and what they wait for.",
    (NAMESPACE, POD),
    (
        Panel(
            "Memory",
            "Memory in use, and the limit, by container and GPU. A limit of 0 means that there is none.",
            "bytes",
            (
                Query(f"unigpu_container_memory_used_bytes{_OF_POD}", f"{_SERIES}: used"),
                Query(f"unigpu_container_memory_limit_bytes{_OF_POD}", f"{_SERIES}: limit"),
            ),
        ),
        Panel(
            "Compute",
            "Part of the GPU's time: charged, the share, and the ceiling of a soft share while others are idle.",
            "percentunit",
            (
                Query(f"rate(unigpu_container_gpu_seconds_total{_OF_POD}[$__rate_interval])", f"{_SERIES}: used"),
                Query(f"unigpu_container_cores_limit_ratio{_OF_POD}", f"{_SERIES}: share"),
                Query(f"unigpu_container_cores_ceiling_ratio{_OF_POD}", f"{_SERIES}: ceiling"),
            ),
        ),
        Panel(
            "Compute that it may use now",
            "The share, with what it was lent and without what it yields. Absent where compute isn't limited.",
            "percentunit",
            (Query(f"unigpu_container_cores_current_ratio{_OF_POD}", _SERIES),),
        ),
        Panel(
            "Waiting for compute",
            "Seconds per second that kernel launches wait for the share, summed over launches.",
            "short",
            (Query(f"rate(unigpu_container_throttled_seconds_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Launches that wait",
            "Kernel launches per second that waited for the share.",
            "ops",
            (Query(f"rate(unigpu_container_throttled_launches_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Failed allocations",
            "Allocations per second that would have exceeded the memory limit.",
            "ops",
            (Query(f"rate(unigpu_container_memory_allocation_failures_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Shares",
            "What each container has: its GPU, dialect, and what is enforced.",
            "short",
            (Query(f"unigpu_container_info{_OF_POD}"),),
            kind="table",
            width=24,
        ),
    ),
)

BOARDS = (CLUSTER, NODE_BOARD, NAMESPACE_BOARD, POD_BOARD)


def document(board: Board) -> dict[str, Any]:
    """Return the board as Grafana imports it."""
    return {
        "uid": f"unigpu-{board.name}",
        "title": board.title,
        "description": board.description,
        "tags": ["unigpu"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_SOURCES, *[_variable(variable) for variable in board.variables]]},
        "links": [_LINKS],
        "panels": list(_panels(board.panels)),
    }


_SOURCES = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
_LINKS = {"title": "unigpu", "type": "dashboards", "tags": ["unigpu"], "includeVars": True, "keepTime": True}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,  # when the time range changes: pods come and go
        "sort": 1,
    }


def _panels(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Place the panels from left to right, and begin a new row where the next doesn't fit."""
    placed = []
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return placed


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        if panel.stacked:
            defaults["custom"] = {"fillOpacity": 25, "stacking": {"mode": "normal"}}
    if panel.alarming:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    else:
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [_target(panel, index, query) for index, query in enumerate(panel.queries)],
    }


def _target(panel: Panel, index: int, query: Query) -> dict[str, Any]:
    target: dict[str, Any] = {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
    }
    if panel.kind != "timeseries":
        target |= {"instant": True, "range": False}
    if panel.kind == "table":
        target["format"] = "table"
    return target


def main() -> int:
    """Write the boards, or check them. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Generates the chart's Grafana boards.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file isn't current")
    check = parser.parse_args().check
    current = {FOLDER / f"{board.name}.json": json.dumps(document(board), indent=2) + "\n" for board in BOARDS}
    return generated.update(current, ROOT, check=check)


if __name__ == "__main__":
    raise SystemExit(main())
