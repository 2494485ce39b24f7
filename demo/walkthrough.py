"""Walk through a running cluster: install the chart, run vendors' pods, record what each of them got."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import yaml

from cluster import images, project_images, settings, state
from demo import install, report
from demo.kube import CommandFailed, Kube, TimedOut, wait_for

NAMESPACE = report.DEMO_NAMESPACE
MANIFESTS = settings.ROOT / "examples" / "manifests"
PLUGIN = report.PLUGINS / "kubectl-unigpu"
FIRST = ("01", "06", "10", "11", "17", "19")
"""Manifests of pods that stay within their share, whatever their program tries."""
OPEN = ("05",)
"""Manifests of pods that opted out of isolation. Their program allocates all free memory of the GPU, so they start only
after the others have measured their shares."""
REFUSED = "15"
"""Manifest that admission refuses."""
HELD = 48
"""MiB that each program keeps allocated; with its context, this fits the smallest share of the manifests, 200 MiB."""
PATIENCE = 120.0
"""Seconds until a pod's program must have printed what it saw."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m demo.walkthrough PLAN install`, `… metrics`, or `… pods TABLE`; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.walkthrough", description=__doc__)
    parser.add_argument("plan", type=Path, help="JSON file with the plan that `make demo` made at its start")
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("install", help="install or upgrade the chart")
    commands.add_parser("metrics", help="print the pages that Prometheus would scrape")
    pods = commands.add_parser("pods", help="run the vendors' pods and write the demo's result")
    pods.add_argument("table", type=Path, help="text file for the result")
    chosen = parser.parse_args(arguments)
    if not chosen.plan.exists():
        print("No demo has run in this checkout yet: run `make demo` first.", file=sys.stderr)
        return 1
    plan = json.loads(chosen.plan.read_text())
    kube = Kube(Path(plan["kubeconfig"]), plan["kubectl"], plan["helm"])
    try:
        if chosen.command == "install":
            made = plan["images"] if plan["existing"] else _load()
            install.install(kube, made, simulated=plan["driver"] == "simulated", alone=not plan["existing"])
        elif chosen.command == "metrics":
            print("\n".join(report.pages(kube).values()), end="")
        else:
            probe = plan["images"]["probe"] if plan["existing"] else project_images.make_all()["probe"].name
            chosen.table.write_text(_pods(kube, probe, existing=plan["existing"]))
    except (CommandFailed, TimedOut) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _load() -> dict[str, str]:
    """Build the images, load them into every node of the local cluster, and return their names by role."""
    made = project_images.make_all()
    layout = settings.Layout(settings.DEFAULT_NAME)
    known = state.load(layout)
    for node in known.nodes if known else ():
        images.load(layout, node, made.values())
    return {role: image.name for role, image in made.items()}


def _pods(kube: Kube, probe: str, *, existing: bool) -> str:
    """Run the pods; return the text that the demo prints at its end."""
    kube.namespace(NAMESPACE)
    kube.apply([document for number in FIRST for document in _busy(manifest(number, probe))], NAMESPACE)
    outputs = _wait_for_outputs(kube, expected(FIRST, probe), {})
    if not existing:  # on the user's cluster, other workloads may share the GPU
        kube.apply([document for number in OPEN for document in _busy(manifest(number, probe))], NAMESPACE)
        outputs = _wait_for_outputs(kube, expected((*FIRST, *OPEN), probe), outputs)
    refusal = _refusal(kube, probe)
    seen = wait_for("the exporter reports every container", lambda: report.metrics_of_all(kube, outputs), PATIENCE)
    rows = [report.row(pod, outputs[pod["metadata"]["name"]], seen) for pod in _pods_of(kube, outputs)]
    return report.render(rows, refusal, _status(kube), report.next_steps(kube, existing=existing), existing=existing)


def _status(kube: Kube) -> str:
    """Return the output of `kubectl unigpu status`, by the program that kubectl would find as its plugin."""
    return kube.run("status", program=str(PLUGIN))


def manifest(number: str, probe: str) -> list[dict[str, Any]]:
    """Load a vendor's manifest by its number, with the image that this cluster has."""
    (path,) = MANIFESTS.glob(f"{number}-*.yaml")
    documents: list[dict[str, Any]] = [document for document in yaml.safe_load_all(path.read_text()) if document]
    for document in documents:
        for container in _pod_spec(document).get("containers", []):
            container["image"] = probe
    return documents


def _busy(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make the programs keep some memory allocated, so that there is something to measure."""
    for document in documents:
        for container in _pod_spec(document).get("containers", []):
            container["args"] = ["--hold", str(HELD)]
    return documents


def _pod_spec(document: Mapping[str, Any]) -> dict[str, Any]:
    if document["kind"] == "Pod":
        spec: dict[str, Any] = document["spec"]
        return spec
    if "template" in document.get("spec", {}):
        inner: dict[str, Any] = document["spec"]["template"]["spec"]
        return inner
    return {}


def expected(numbers: Sequence[str], probe: str) -> int:
    """Return the number of pods that these manifests create."""
    return sum(
        document["spec"].get("replicas", 1)
        for number in numbers
        for document in manifest(number, probe)
        if _pod_spec(document)
    )


def _pods_of(kube: Kube, outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    pods = [pod for pod in kube.items("pods", NAMESPACE) if pod["metadata"]["name"] in outputs]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))


def _wait_for_outputs(kube: Kube, number: int, known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the output of each pod's program by pod, once `number` pods have one; `known` was read before."""
    outputs = dict(known)

    def read_new() -> dict[str, dict[str, Any]] | None:
        pods = [pod for pod in kube.items("pods", NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
        running = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        new = [name for name in running if name not in outputs]
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            answers = pool.map(lambda name: report.probe_output(kube, NAMESPACE, name), new)
            outputs.update((name, output) for name, output in zip(new, answers, strict=True) if output)
        alive = {pod["metadata"]["name"] for pod in pods}
        current = {name: output for name, output in outputs.items() if name in alive}
        return current if len(current) >= number else None

    def last() -> str:
        return (
            f"{len(outputs)} of {number} pods have printed their result.\n"
            + kube.run("get", "pods", "-n", NAMESPACE, "-o", "wide")
            + kube.run("get", "events", "-n", NAMESPACE, "--field-selector", "type=Warning", "--sort-by=.lastTimestamp")
        )

    return wait_for("every pod runs and its program has measured its share", read_new, PATIENCE, last)


def _refusal(kube: Kube, probe: str) -> str:
    """Apply the manifest that admission must refuse; return kubectl's message."""
    try:
        answer = kube.apply(manifest(REFUSED, probe), NAMESPACE)
    except CommandFailed as refused:
        return refused.stderr
    raise TimedOut(f"admission should have refused manifest {REFUSED}, but kubectl printed: {answer}")


if __name__ == "__main__":
    sys.exit(main())
