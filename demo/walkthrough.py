"""The demo's way through a cluster that runs: install the chart, run vendors' pods, write down what each got."""

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
FIRST = ("01", "06", "10", "11", "16", "19")
"""Pods that stay within their share, whatever their program tries."""
OPEN = ("05",)
"""Pods that opted out of isolation: their program takes all that the GPU has left, so they come when the others have
taken their measure."""
REFUSED = "15"
HELD = 48
"""MiB that each program keeps; with its context it fits the smallest share of the manifests, 200 MiB."""
PATIENCE = 120.0
"""Seconds until a pod's program has told what it saw."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m demo.walkthrough PLAN install`, `… metrics`, and `… pods TABLE`."""
    parser = argparse.ArgumentParser(prog="python -m demo.walkthrough", description=__doc__)
    parser.add_argument("plan", type=Path, help="what the demo decided at its start, JSON")
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("install")
    commands.add_parser("metrics")
    commands.add_parser("pods").add_argument("table", type=Path)
    chosen = parser.parse_args(arguments)
    if not chosen.plan.exists():
        print("There was no demo in this checkout yet: run `make demo`.", file=sys.stderr)
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
    """The images' names by role, made and known to every node of the local cluster."""
    made = project_images.make_all()
    layout = settings.Layout(settings.DEFAULT_NAME)
    known = state.load(layout)
    for node in known.nodes if known else ():
        images.load(layout, node, made.values())
    return {role: image.name for role, image in made.items()}


def _pods(kube: Kube, probe: str, *, existing: bool) -> str:
    """Run the pods; the text that the demo prints at its end."""
    kube.namespace(NAMESPACE)
    kube.apply([document for number in FIRST for document in _busy(manifest(number, probe))], NAMESPACE)
    told = _wait_told(kube, expected(FIRST, probe), {})
    if not existing:  # on somebody's cluster there may be neighbours on the GPU
        kube.apply([document for number in OPEN for document in _busy(manifest(number, probe))], NAMESPACE)
        told = _wait_told(kube, expected((*FIRST, *OPEN), probe), told)
    refusal = _refusal(kube, probe)
    seen = wait_for(
        "the exporter tells of every container",
        lambda: report.metrics_of_all(kube, told, NAMESPACE),
        PATIENCE,
    )
    rows = [report.row(pod, told[pod["metadata"]["name"]], seen) for pod in _ours(kube, told)]
    return report.render(rows, refusal, kube.kubeconfig, existing=existing)


def manifest(number: str, probe: str) -> list[dict[str, Any]]:
    """A vendor's manifest by its number, with the image that this cluster has."""
    (path,) = MANIFESTS.glob(f"{number}-*.yaml")
    documents: list[dict[str, Any]] = [document for document in yaml.safe_load_all(path.read_text()) if document]
    for document in documents:
        for container in _pod_spec(document).get("containers", []):
            container["image"] = probe
    return documents


def _busy(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, with programs that go on using memory, so that there is something to measure."""
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
    """Pods that these manifests make."""
    return sum(
        document["spec"].get("replicas", 1)
        for number in numbers
        for document in manifest(number, probe)
        if _pod_spec(document)
    )


def _ours(kube: Kube, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    pods = [pod for pod in kube.items("pods", NAMESPACE) if pod["metadata"]["name"] in told]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))


def _wait_told(kube: Kube, number: int, known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each pod's program printed, by pod, once `number` pods have; `known` is what was read before."""
    told = dict(known)

    def look() -> dict[str, dict[str, Any]] | None:
        pods = [pod for pod in kube.items("pods", NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
        running = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        asked = [name for name in running if name not in told]
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            answers = pool.map(lambda name: report.told(kube, NAMESPACE, name), asked)
            told.update((name, words) for name, words in zip(asked, answers, strict=True) if words)
        alive = {pod["metadata"]["name"] for pod in pods}
        current = {name: words for name, words in told.items() if name in alive}
        return current if len(current) >= number else None

    def last() -> str:
        return (
            f"{len(told)} of {number} pods have told what they saw.\n"
            + kube.run("get", "pods", "-n", NAMESPACE, "-o", "wide")
            + kube.run("get", "events", "-n", NAMESPACE, "--field-selector", "type=Warning", "--sort-by=.lastTimestamp")
        )

    return wait_for("every pod runs and its program has measured its share", look, PATIENCE, last)


def _refusal(kube: Kube, probe: str) -> str:
    """What kubectl says when the first manifest that admission must refuse is applied."""
    try:
        said = kube.apply(manifest(REFUSED, probe), NAMESPACE)
    except CommandFailed as refused:
        return refused.told
    raise TimedOut(f"manifest {REFUSED} should have been refused at admission, but kubectl said: {said}")


if __name__ == "__main__":
    sys.exit(main())
