"""What each pod asked for, got, saw, could take, and what the exporter says of it: read back, and drawn as a table."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table
from prometheus_client.parser import text_string_to_metric_families

from demo.kube import CommandFailed, Kube
from unigpu import allocations, names, requests
from unigpu.units import BYTES_PER_MIB

OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"
DEMO_NAMESPACE = "unigpu-demo"
"""Where the demo's pods are."""
WIDTH = 160
"""Columns of the table; wider lines break."""

Metrics = dict[tuple[str, str, str], dict[str, float]]
"""By pod, container and GPU: the values of the metrics' names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One container of the table."""

    pod: str
    dialect: str
    asked: str
    given: str
    sees: str
    took: str
    metrics: str


def told(kube: Kube, namespace: str, pod: str, container: str = "") -> dict[str, Any] | None:
    """What the pod's program printed: its newest whole line of JSON, or None."""
    try:
        log = kube.run("logs", "-n", namespace, pod, "--tail=50", *(("-c", container) if container else ()))
    except CommandFailed:
        return None  # its container has just ended or isn't there yet; the caller looks again
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                words: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # half a line
            return words
    return None


def pages(kube: Kube) -> dict[str, str]:
    """/metrics of each node's exporter, by the name of its pod, through the API server."""
    agents = kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=node-agent")
    found = [str(agent["metadata"]["name"]) for agent in agents]
    folder = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
    return {name: kube.raw(f"{folder}/{name}:{names.PORT_EXPORTER}/proxy/metrics") for name in found}


def metrics(kube: Kube) -> Metrics:
    """What the exporters of all nodes say of containers."""
    found: Metrics = {}
    for text in pages(kube).values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if "pod" in labels and "gpu" in labels:
                    key = (labels["pod"], labels["container"], labels["gpu"])
                    found.setdefault(key, {})[sample.name] = sample.value
    return found


def metrics_of_all(kube: Kube, pods: Mapping[str, Any], namespace: str) -> Metrics | None:
    """The exporters' answer once it tells of every one of these pods, and that it uses memory."""
    try:
        seen = metrics(kube)
    except CommandFailed:
        return None
    using = {pod for (pod, _, _), values in seen.items() if values.get(names.METRIC_MEMORY_USED, 0) > 0}
    return seen if using >= set(pods) else None


def row(pod: Mapping[str, Any], words: Mapping[str, Any], seen: Metrics) -> Row:
    """The row of a pod with one GPU container."""
    notes = pod["metadata"]["annotations"]
    ((container, request),) = requests.load(notes[names.ANNOTATION_REQUEST]).containers.items()
    shares = allocations.load(notes[names.ANNOTATION_ALLOCATION]).containers[container]
    name = pod["metadata"]["name"]
    gpus = {gpu["uuid"]: gpu for gpu in words["gpus"]}
    values = [seen.get((name, container, share.gpu), {}) for share in shares]
    return Row(
        pod=name,
        dialect=request.dialect,
        asked="\n".join(f"{field}: {value}" for field, value in request.original_fields.items()),
        given="\n".join(share.gpu[:12] + "…" for share in shares),
        sees="\n".join(
            _whole(gpus[share.gpu]["total_bytes"]) if share.gpu in gpus else "not this GPU!" for share in shares
        ),
        took="\n".join(_took(gpus[share.gpu]) if share.gpu in gpus else "" for share in shares),
        metrics="\n".join(
            f"{_whole(value.get(names.METRIC_MEMORY_USED, 0))} of {_whole(value.get(names.METRIC_MEMORY_LIMIT, 0))}"
            for value in values
        ),
    )


def _took(gpu: Mapping[str, Any]) -> str:
    refusal = "" if gpu["error"] == OUT_OF_MEMORY else f"\n{gpu['error']}"
    return f"{gpu['taken_mib']:,}{refusal}"


def _whole(amount: float) -> str:
    return f"{int(amount) // BYTES_PER_MIB:,}"


def render(rows: Sequence[Row], refusal: str, kubeconfig: Path, *, existing: bool) -> str:
    """The table, the refusal, and how to go on, as text."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, leading=1, padding=(0, 1, 0, 0))
    for head in ("Pod", "Dialect", "Asked for", "GPU given"):
        table.add_column(head, no_wrap=True)
    for head in ("Program sees,\nMiB", "It took, until\nrefused*, MiB", "/metrics: used,\nof limit, MiB"):
        table.add_column(head, no_wrap=True, justify="right")
    for one in rows:
        table.add_row(one.pod, one.dialect, one.asked, one.given, one.sees, one.took, one.metrics)
    text = io.StringIO()
    console = rich.console.Console(file=text, width=WIDTH, highlight=False)
    console.print()
    console.print(table)
    console.print(f"* {OUT_OF_MEMORY}. What lacks to the share is the cost of the program's context.\n")
    console.print("A pod that admission refused, as its author sees it:\n")
    console.print("  " + refusal.replace("\n", "\n  "), markup=False, soft_wrap=True)
    head = "What was installed stays, on your cluster" if existing else "The cluster stays up"
    console.print(f"\n{head}:\n")
    lines = _theirs(kubeconfig) if existing else _ours(kubeconfig)
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print()
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _ours(kubeconfig: Path) -> list[str]:
    return [
        f"export KUBECONFIG={kubeconfig} PATH=$PWD/build/bin:$PATH",
        "kubectl get pods -A; kubectl describe node",
        "make metrics       # what Prometheus would read",
        "make down          # ends it, and leaves nothing behind",
    ]


def _theirs(kubeconfig: Path) -> list[str]:
    return [
        f"export KUBECONFIG={kubeconfig}",
        f"kubectl get pods -n {DEMO_NAMESPACE}; kubectl describe node",
        "make metrics                                  # what Prometheus would read",
        f"kubectl delete namespace {DEMO_NAMESPACE}          # removes the demo's pods",
        f"helm uninstall unigpu -n {names.SYSTEM_NAMESPACE}        # removes unigpu",
    ]
