"""Read back what each pod requested, got, saw and could allocate, and its metrics; draw all of it as a table."""

import io
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table
from prometheus_client.parser import text_string_to_metric_families

from cluster import settings
from demo.kube import CommandFailed, Kube
from unigpu import allocations, names, requests
from unigpu.units import BYTES_PER_MIB

OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"
LEGEND = (
    f"* {OUT_OF_MEMORY}. The program can allocate slightly less than its share because its CUDA context uses part"
    " of it."
)
DEMO_NAMESPACE = "unigpu-demo"
"""Namespace of the demo's pods."""
WIDTH = 160
"""Columns of the table; longer lines are wrapped."""
PLUGINS = Path(sys.executable).parent
"""Folder of `kubectl-unigpu`, which kubectl runs as `kubectl unigpu`."""

Metrics = dict[tuple[str, str, str], dict[str, float]]
"""(pod, container, GPU UUID) → metric name → value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One container of the table."""

    pod: str
    dialect: str
    request: str
    gpus: str
    sees: str
    allocated: str
    metrics: str


def probe_output(kube: Kube, namespace: str, pod: str, container: str = "") -> dict[str, Any] | None:
    """Return the newest complete JSON line that the pod's program printed, or None."""
    try:
        log = kube.run("logs", "-n", namespace, pod, "--tail=50", *(("-c", container) if container else ()))
    except CommandFailed:
        return None  # the container has just ended or hasn't started; the caller retries
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                output: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # an incomplete line
            return output
    return None


def pages(kube: Kube) -> dict[str, str]:
    """Fetch /metrics of each node's exporter through the API server; by pod name."""
    agents = kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=node-agent")
    found = [str(agent["metadata"]["name"]) for agent in agents]
    folder = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
    return {name: kube.raw(f"{folder}/{name}:{names.PORT_EXPORTER}/proxy/metrics") for name in found}


def metrics(kube: Kube) -> Metrics:
    """Return the metrics of all containers, from the exporters of all nodes."""
    found: Metrics = {}
    for text in pages(kube).values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if "pod" in labels and "uuid" in labels:
                    key = (labels["pod"], labels["container"], labels["uuid"])
                    found.setdefault(key, {})[sample.name] = sample.value
    return found


def metrics_of_all(kube: Kube, pods: Mapping[str, Any]) -> Metrics | None:
    """Return the metrics once they show memory in use by every one of these pods, else None."""
    try:
        seen = metrics(kube)
    except CommandFailed:
        return None
    using = {pod for (pod, _, _), values in seen.items() if values.get(names.METRIC_MEMORY_USED, 0) > 0}
    return seen if using >= set(pods) else None


def row(pod: Mapping[str, Any], output: Mapping[str, Any], seen: Metrics) -> Row:
    """Build the row of a pod with one GPU container; `output` is its program's."""
    notes = pod["metadata"]["annotations"]
    ((container, request),) = requests.load(notes[names.ANNOTATION_REQUEST]).containers.items()
    shares = allocations.load(notes[names.ANNOTATION_ALLOCATION]).containers[container]
    name = pod["metadata"]["name"]
    gpus = {gpu["uuid"]: gpu for gpu in output["gpus"]}
    values = [seen.get((name, container, share.gpu), {}) for share in shares]
    return Row(
        pod=name,
        dialect=request.dialect,
        request="\n".join(f"{field}: {value}" for field, value in request.original_fields.items()),
        gpus="\n".join(share.gpu[:12] + "…" for share in shares),
        sees="\n".join(
            _whole(gpus[share.gpu]["total_bytes"]) if share.gpu in gpus else "not this GPU!" for share in shares
        ),
        allocated="\n".join(_allocated(gpus[share.gpu]) if share.gpu in gpus else "" for share in shares),
        metrics="\n".join(
            f"{_whole(value.get(names.METRIC_MEMORY_USED, 0))} of {_whole(value.get(names.METRIC_MEMORY_LIMIT, 0))}"
            for value in values
        ),
    )


def _allocated(gpu: Mapping[str, Any]) -> str:
    refusal = "" if gpu["error"] == OUT_OF_MEMORY else f"\n{gpu['error']}"
    return f"{gpu['taken_mib']:,}{refusal}"


def _whole(amount: float) -> str:
    return f"{int(amount) // BYTES_PER_MIB:,}"


def render(rows: Sequence[Row], refusal: str, status: str, steps: Sequence[str], *, existing: bool) -> str:
    """Render the demo's result: the table, a refusal, the output of `kubectl unigpu status`, and the next steps."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, leading=1, padding=(0, 1, 0, 0))
    for head in ("Pod", "Dialect", "Asked for", "GPU assigned"):
        table.add_column(head, no_wrap=True)
    for head in ("Program sees,\nMiB", "Allocated until\nrefused*, MiB", "/metrics: used,\nof limit, MiB"):
        table.add_column(head, no_wrap=True, justify="right")
    for one in rows:
        table.add_row(one.pod, one.dialect, one.request, one.gpus, one.sees, one.allocated, one.metrics)
    text = io.StringIO()
    console = rich.console.Console(file=text, width=WIDTH, highlight=False)
    console.print()
    console.print(table)
    console.print(f"{LEGEND}\n")
    _section(console, "Admission refused one pod. Its author sees:", refusal)
    _section(console, "Who has which GPU, as `kubectl unigpu status` shows it:", status)
    head = "unigpu stays installed on your cluster, and the pods keep running" if existing else "The cluster stays up"
    _section(console, f"{head}. Next steps:", "\n".join(steps))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _section(console: rich.console.Console, head: str, text: str) -> None:
    console.print(f"{head}\n")
    for line in text.rstrip("\n").split("\n"):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print()


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def next_steps(kube: Kube, *, existing: bool) -> list[str]:
    """Return command lines to continue with; they work in any folder."""
    tools = {"kubectl": kube.kubectl, "helm": kube.helm}
    # Folders of tools that the user's PATH doesn't lead to. The plugin's comes last: it also has a python of its own.
    first = dict.fromkeys(_quoted(Path(path).parent) for name, path in tools.items() if shutil.which(name) != path)
    make = f"make -C {_quoted(settings.ROOT)}"
    steps = [
        (f"export KUBECONFIG={_quoted(kube.kubeconfig)} PATH={':'.join((*first, '$PATH', _quoted(PLUGINS)))}", ""),
        (f"kubectl get pods -n {DEMO_NAMESPACE} -o wide", ""),
        ("kubectl unigpu status", "who has which GPU"),
        (f"{make} metrics", "what Prometheus would scrape"),
    ]
    if existing:
        steps += [
            (f"kubectl delete namespace {DEMO_NAMESPACE}", "remove the demo's pods"),
            (f"helm uninstall unigpu -n {names.SYSTEM_NAMESPACE}", "remove unigpu"),
        ]
    else:
        steps.append((f"{make} down", "stop the cluster and remove every trace of it"))
    width = max(len(command) for command, why in steps if why)
    return [f"{command:{width}}  # {why}" if why else command for command, why in steps]
