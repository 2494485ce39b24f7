"""Pods that start on one node at once: with shares of GPUs, next to the same pods without.

A cluster with four simulated GPUs and the chart is started for it here, and removed afterwards. Pods of mixed dialects
and their counterparts without GPUs take turns, so that whatever else the machine does bears on both alike.
Each pod with GPUs must run, and every container must have been granted what its pod's allocation says.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster import images, project_images, settings, state, store
from demo import install
from demo.kube import Kube, wait_for
from unigpu import allocations, names

NAME = "burst"
NAMESPACE = "burst"
PATIENCE = 600.0
GOAL = 5.0
"""Seconds that the pods with GPUs may take longer."""
Json = dict[str, Any]


def wish(source: random.Random) -> dict[str, str]:
    """Limits of a container, in one of the vendors' languages; a hundred of the largest fit four GPUs of 24 GiB."""
    return source.choice(
        [
            {"aliyun.com/gpu-mem": "1"},
            {"tencent.com/vcuda-core": "2", "tencent.com/vcuda-memory": "3"},
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem": str(source.randint(400, 900))},
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem": str(source.randint(400, 900)), "nvidia.com/gpucores": "2"},
            {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(source.randint(400, 900))},
        ]
    )


def pod(name: str, image: str, limits: dict[str, str]) -> Json:
    """A pod that sleeps; without limits it asks for no GPU."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sleep", "100000"],
        "resources": {"limits": limits} if limits else {},
    }
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextmanager
def cluster(shares_per_gpu: int) -> Iterator[tuple[Kube, str]]:
    """A cluster of one node with the chart, and the name of an image that its pods can run."""

    def run(verb: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "cluster", verb, "--name", NAME, *arguments]
        subprocess.run(command, cwd=settings.ROOT, check=True, timeout=PATIENCE)

    made = project_images.make_all()
    store.fill(made.values())
    run("down")
    try:
        run("up", "--gpus", "4")
        layout = settings.Layout(NAME)
        known = state.load(layout)
        assert known is not None, "the cluster has no state"
        for node in known.nodes:
            images.load(layout, node, made.values())
        kube = Kube(layout.kubeconfig, str(settings.BIN / "kubectl"), str(settings.BIN / "helm"))
        by_role = {role: image.name for role, image in made.items()}
        install.install(kube, by_role, simulated=True, more=[f"placement.sharesPerGpu={shares_per_gpu}"])
        kube.namespace(NAMESPACE)
        yield kube, made["probe"].name
    finally:
        run("down")


def start(kube: Kube, pods: Sequence[Json], *, with_gpus: bool) -> float:
    """Create the pods at once; return the seconds until all run, and remove them."""
    began = time.monotonic()
    kube.apply(pods, NAMESPACE)

    def all_run() -> list[Json] | None:
        found = kube.items("pods", NAMESPACE)
        failed = [one["metadata"]["name"] for one in found if one["status"].get("phase") == "Failed"]
        assert not failed, f"the kubelet refused, or a container ended: {', '.join(failed)}"
        running = [one for one in found if one["status"].get("phase") == "Running"]
        return running if len(running) == len(pods) else None

    found = wait_for(f"{len(pods)} pods run", all_run, PATIENCE, lambda: kube.run("get", "pods", "-n", NAMESPACE))
    took = time.monotonic() - began
    if with_gpus:
        on_their_gpus(kube, found)
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)
    return took


def on_their_gpus(kube: Kube, pods: Sequence[Json]) -> None:
    """Check that each container was granted what its pod's allocation says, by the event about it."""

    def said() -> dict[str, str] | None:
        events = kube.items("events", NAMESPACE)
        found = {
            one["involvedObject"]["uid"]: one["message"] for one in events if one["reason"] == names.EVENT_GPU_ASSIGNED
        }
        return found if all(one["metadata"]["uid"] in found for one in pods) else None

    words = wait_for("an event about each pod", said, PATIENCE)
    for one in pods:
        (share,) = allocations.load(one["metadata"]["annotations"][names.ANNOTATION_ALLOCATION]).containers["main"]
        granted = words[one["metadata"]["uid"]]
        assert str(share.gpu) in granted, f"{one['metadata']['name']}: allocated {share.gpu}, and granted: {granted}"


def main() -> int:
    """Print the seconds of each round, and their medians; exit status 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=100, help="pods at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    given = parser.parse_args()
    source = random.Random(1)
    times: dict[str, list[float]] = {"without GPUs": [], "with GPUs": []}
    with cluster(shares_per_gpu=max(16, -(-given.pods // 3))) as (kube, image):
        for turn in range(given.rounds):
            for kind, found in times.items():
                limits = [wish(source) if kind == "with GPUs" else {} for _ in range(given.pods)]
                pods = [pod(f"round-{turn}-{number}", image, one) for number, one in enumerate(limits)]
                found.append(start(kube, pods, with_gpus=kind == "with GPUs"))
                print(f"round {turn + 1}: {given.pods} pods {kind} run after {found[-1]:.1f} s", flush=True)
    without, with_gpus = (statistics.median(found) for found in times.values())
    print(
        f"medians: {without:.1f} s without GPUs, {with_gpus:.1f} s with; {with_gpus - without:+.1f} s (goal {GOAL:.0f})"
    )
    return 0 if with_gpus - without <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
