"""Limits of running programs, changed by annotation: in force without a restart, or refused, and reported.

A numba-cuda program keeps its GPU busy all the time, and prints what the driver gives it. `UNIGPU_ROUNDS` says how
often its limits go down, up and back.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.kube import CommandFailed, Kube, wait_for
from unigpu import names
from unigpu.units import BYTES_PER_MIB

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).with_name("programs")
PACKAGES = ROOT / "build" / "clients" / "python" / "lib" / "python3.11" / "site-packages"
PLACES = {PACKAGES: "/usr/local/lib/python3.11/dist-packages", PROGRAMS: "/programs"}
"""Where the container has these folders: its own Python, which is Debian's, finds packages in the first."""
NAMESPACE = "live-limits"
PATIENCE = 120.0
ROUNDS = int(os.environ.get("UNIGPU_ROUNDS", "5"))
WINDOW = 0.4
"""Seconds over which a share is measured."""
NEAR = 6.0
"""Points by which a share may be off and still be told from the others here: 10, 50 and 80 %."""
PROBE = "/usr/local/bin/probe"


@pytest.fixture(scope="module")
def clients() -> None:
    """Other people's GPU programs, fetched once."""
    subprocess.run(["make", "clients"], cwd=ROOT, check=True, capture_output=True, timeout=600)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def pod(name: str, image: str, command: list[str], memory: int, cores: int) -> dict[str, Any]:
    """One container with a share of a GPU, and the programs of this test."""
    limits = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(memory), names.RESOURCE_CORES: str(cores)}
    container = {
        "name": "main",
        "image": image,
        "command": command,
        "env": [{"name": "NUMBA_CACHE_DIR", "value": "/tmp"}],
        "resources": {"limits": limits},
        "volumeMounts": [
            {"name": f"folder-{number}", "mountPath": place, "readOnly": True}
            for number, place in enumerate(PLACES.values())
        ],
    }
    spec = {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            {"name": f"folder-{number}", "hostPath": {"path": str(folder.resolve()), "type": "Directory"}}
            for number, folder in enumerate(PLACES)
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


class Listener:
    """What a pod's program prints, as it prints it."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [kube.kubectl, "logs", "-f", "-n", NAMESPACE, name],
            env={**os.environ, "KUBECONFIG": str(kube.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line) if line.startswith("{") else {"said": line})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def since(self, moment: float) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("at", 0) >= moment]


@pytest.fixture
def listen(kube: Kube) -> Iterator[Callable[[str], Listener]]:
    opened: list[Listener] = []

    def start(name: str) -> Listener:
        opened.append(Listener(kube, name))
        return opened[-1]

    yield start
    for listener in opened:
        listener.close()


def annotate(kube: Kube, name: str, text: str, *options: str) -> None:
    kube.run("annotate", "pod", "-n", NAMESPACE, name, f"{names.ANNOTATION_LIMITS}={text}", "--overwrite", *options)


def events(kube: Kube, name: str, reason: str) -> list[str]:
    found = kube.items("events", NAMESPACE)
    return [one["message"] for one in found if one["reason"] == reason and one["involvedObject"]["name"] == name]


def memory_in_force(lines: list[dict[str, Any]], mib: int) -> float | None:
    """When the driver told the program that it has so much."""
    return next((line["at"] for line in lines if line["total"] == mib * BYTES_PER_MIB), None)


def share_in_force(lines: list[dict[str, Any]], percent: int) -> float | None:
    """The beginning of the first window in which the program had that share."""
    last = 0
    for first, begin in enumerate(lines):
        last = max(last, first)
        while last < len(lines) and lines[last]["at"] - begin["at"] < WINDOW:
            last += 1
        if last == len(lines):
            return None
        end = lines[last]
        share = (end["charged"] - begin["charged"]) / (end["at"] - begin["at"]) / 1e7
        if abs(share - percent) < NEAR:
            return float(begin["at"])
    return None


@pytest.mark.usefixtures("clients")
def test_a_running_program_gets_what_its_annotation_says(
    kube: Kube, probe_image: str, namespace: str, listen: Callable[[str], Listener], tell: Callable[[str], None]
) -> None:
    command = ["/usr/bin/python3", "-W", "ignore", f"{PLACES[PROGRAMS]}/saturating.py"]
    kube.apply([pod("busy", probe_image, command, 4096, 50)], namespace)
    wait_for(
        "the program runs",
        lambda: report.probe_output(kube, namespace, "busy"),
        PATIENCE,
        lambda: kube.run("describe", "pod", "-n", namespace, "busy") + kube.run("logs", "-n", namespace, "busy"),
    )
    listener = listen("busy")
    worst_memory, worst_share = 0.0, {10: 0.0, 80: 0.0, 50: 0.0}
    for _ in range(ROUNDS):
        for mib, cores in ((1024, 10), (8192, 80), (4096, 50)):
            annotate(kube, "busy", f"memory={mib}Mi,cores={cores}")
            begun = time.time()
            memory: Callable[[], float | None] = lambda: memory_in_force(listener.since(begun), mib)  # noqa: B023, E731
            share: Callable[[], float | None] = lambda: share_in_force(listener.since(begun), cores)  # noqa: B023, E731
            seen = lambda: str(listener.lines[-3:])  # noqa: E731
            took_memory = wait_for(f"{mib} MiB are in force", memory, PATIENCE, seen) - begun
            took_share = wait_for(f"{cores} % are in force", share, PATIENCE, seen) - begun
            worst_memory, worst_share[cores] = max(worst_memory, took_memory), max(worst_share[cores], took_share)
    shares = ", ".join(f"{percent} % {seconds:.2f} s" for percent, seconds in worst_share.items())
    tell(f"{ROUNDS} times down, up and back, in force after at most: memory {worst_memory:.2f} s; share {shares}")
    changes = [line for line in listener.lines if "some" in line]
    assert len(changes) == 3 * ROUNDS + 1
    tried = max(line["seconds"] for line in changes)
    tell(f"between its launches the program tried allocations for {tried:.2f} s at most")
    for line in changes:
        assert line["some"] == "given"
        assert "CUDA_ERROR_OUT_OF_MEMORY" in line["more"]
    (refused,) = [line["said"] for line in listener.lines if "at" not in line]
    assert "MiB are refused; of the limit of" in refused, "the first refusal is said, and nothing else"
    told = events(kube, "busy", names.EVENT_LIMITS_CHANGED)
    assert len(told) == 3 * ROUNDS
    assert told.count("main: memory 1024 -> 8192 MiB, cores 10 -> 80 %") == ROUNDS
    status = kube.json("get", "pod", "-n", namespace, "busy")["status"]
    assert [one["restartCount"] for one in status["containerStatuses"]] == [0]
    assert status["phase"] == "Running"


def test_what_is_refused_changes_nothing(kube: Kube, probe_image: str, namespace: str, gpu_mib: int) -> None:
    kube.apply([pod("still", probe_image, [PROBE, "--no-take", "--stay"], 4096, 50)], namespace)
    wait_for(
        "the pod runs",
        lambda: kube.json("get", "pod", "-n", namespace, "still")["status"].get("phase") == "Running",
        PATIENCE,
        lambda: kube.run("describe", "pod", "-n", namespace, "still"),
    )
    annotate(kube, "still", "memory=2Gi")

    def applied() -> str | None:
        notes: dict[str, str] = kube.json("get", "pod", "-n", namespace, "still")["metadata"]["annotations"]
        return notes.get(names.ANNOTATION_LIMITS_APPLIED)

    said = '{"main":{"memory":2048}}'
    wait_for("it is in force", lambda: applied() == said, PATIENCE)
    nobody = f"--as=system:serviceaccount:{namespace}:default"
    for text, options, says in (
        (f"memory={gpu_mib // 1024 + 6}Gi", (), f"has {gpu_mib} MiB"),
        ("cores=101", (), "cores = 101"),
        ("memory=lots", (), "memory = lots"),
        ('{"main": {"memory": ', (), "not JSON"),
        ("memory=1Gi", (nobody,), "forbidden"),
    ):
        with pytest.raises(CommandFailed) as refused:
            annotate(kube, "still", text, *options)
        assert says in refused.value.stderr, text
    with pytest.raises(CommandFailed, match="only unigpu"):
        forged = f"{names.ANNOTATION_LIMITS_APPLIED}={{}}"
        kube.run("annotate", "pod", "-n", namespace, "still", forged, "--overwrite")
    annotations = kube.json("get", "pod", "-n", namespace, "still")["metadata"]["annotations"]
    assert annotations[names.ANNOTATION_LIMITS] == "memory=2Gi"
    assert applied() == said
    assert events(kube, "still", names.EVENT_LIMITS_CHANGED) == ["main: memory 4096 -> 2048 MiB"]
    assert events(kube, "still", names.EVENT_LIMITS_REFUSED) == []
