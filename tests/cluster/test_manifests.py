"""The manifests of examples/ through the API server and offline: their outcomes, and both ways the same."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cluster import images, settings
from demo import install, report, walkthrough
from demo.kube import CommandFailed, Kube, wait_for
from simulator import machine
from unigpu import allocations, gpus, names, quantities
from unigpu.allocations import Share
from unigpu.units import BYTES_PER_MIB, GpuUuid

FOLDER = Path(__file__).parents[2] / "examples" / "manifests"
NAMESPACE = "manifests"
JOBS = "manifests-job"
PATIENCE = 180.0
SELECTED = "aliyun.accelerator/nvidia_name"
Tell = Callable[[str], None]
Of = tuple[int, int]
"""MiB and percent of one GPU."""
WHOLE: Of = (0, 100)
"""In place of the MiB of a whole GPU."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a manifest whose pods run."""

    shares: dict[str, tuple[Of, ...]]
    """By container, what it has of each of its GPUs."""
    gpus: int
    """Different GPUs that all pods have together."""
    pods: int = 1
    isolated: bool = True
    runs: bool = True
    """False: a context takes more than the share, so that the program ends."""
    environment: dict[str, str] = field(default_factory=dict)


def one(memory: int, cores: int = 0) -> dict[str, tuple[Of, ...]]:
    return {"probe": ((memory, cores),)}


OUTCOMES = {
    "01": Outcome(one(3072), 1, pods=3, environment={names.ENV_ALIYUN_CONTAINER: "3"}),
    "02": Outcome(one(2048), 1, pods=3),
    "05": Outcome(one(3072), 1, isolated=False),
    "06": Outcome(one(3072), 1),
    "07": Outcome({"probe": ((2048, 0),) * 4}, 4),
    "08": Outcome(one(2048, 30), 1),
    "09": Outcome({"probe": (WHOLE, WHOLE)}, 2),
    "10": Outcome(one(7680, 50), 1),
    "11": Outcome(one(2560, 30), 1),
    "12": Outcome({"probe": (WHOLE, WHOLE)}, 2),
    "13": Outcome(one(2560, 25), 1, pods=4),
    "16": Outcome(one(200), 1, runs=False),
    "17": Outcome({"probe": ((3000, 30), (3000, 30))}, 2),
    "18": Outcome({"first": ((2000, 0),) * 2, "second": (WHOLE, WHOLE), "third": ((3000, 0),) * 2}, 4),
    "19": Outcome({"probe": (WHOLE,)}, 1),
    "20": Outcome({"probe": (WHOLE,)}, 1),
}
REFUSED = {"14": "a share of a GPU needs tencent.com/vcuda-memory", "15": "tencent.com/vcuda-core = 150"}
LINKED = ("09", "12")
"""Whose GPUs are the pair with the best link."""


def offline(number: str, *options: str) -> tuple[list[dict[str, Any]], str]:
    """The documents that `kubectl unigpu translate` makes of a manifest, and what it says about them."""
    (path,) = FOLDER.glob(f"{number}-*.yaml")
    (row,) = (each for each in machine.profile_table() if each["key"] == settings.Settings().profile)
    memory = f"--gpu-memory={row['memory_mib'] - row['reserved_mib']}"
    command = [sys.executable, "-m", "cli", "translate", "-o", "json", memory, "-f", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == (1 if number in REFUSED else 0), done.stderr
    document = json.loads(done.stdout)
    return document["items"] if document["kind"] == "List" else [document], done.stderr


def templates(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods, or their templates, of documents."""
    return [document if document["kind"] == "Pod" else document["spec"]["template"] for document in documents]


def meaning(pod: dict[str, Any]) -> dict[str, Any]:
    """What admission decides of a pod; the rest is its author's, or the controller's."""
    spec = pod["spec"]
    return {
        "request": pod["metadata"]["annotations"][names.ANNOTATION_REQUEST],
        "schedulerName": spec["schedulerName"],
        "nodeSelector": spec.get("nodeSelector"),
        "resources": {container["name"]: amounts(container["resources"]) for container in spec["containers"]},
    }


def amounts(resources: dict[str, dict[str, str]]) -> dict[str, dict[str, Fraction]]:
    """The API server writes 6000 as 6k."""
    return {
        kind: {name: quantities.parse(str(text))[0] for name, text in given.items()}
        for kind, given in resources.items()
    }


def same(pods: list[dict[str, Any]], documents: list[dict[str, Any]]) -> bool:
    """Whether the cluster's pods and the offline documents mean the same; in a manifest all pods do."""
    meanings = [meaning(pod) for pod in (*pods, *templates(documents))]
    assert all(other == meanings[0] for other in meanings), meanings
    return True


@pytest.fixture(scope="module", autouse=True)
def heading(tell: Tell) -> None:
    tell(f"{'manifest':28} {'both the same':14} outcome")


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "all", "--all", "-n", NAMESPACE, "--wait=true", "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)
    kube.run("delete", "events", "--all", "-n", NAMESPACE)


@pytest.fixture(scope="module")
def job(kube: Kube, probe_image: str) -> None:
    """Start manifest 04 with the first test, so that its 30 s pass while the other tests run."""
    kube.namespace(JOBS)
    kube.apply(walkthrough.manifest("04", probe_image), JOBS)


@pytest.fixture
def selected(kube: Kube) -> Iterator[None]:
    """The node has the label that manifest 20 selects."""
    kube.run("label", "nodes", "--all", f"{SELECTED}=Tesla-T4")
    yield
    kube.run("label", "nodes", "--all", f"{SELECTED}-")


def title(number: str) -> str:
    (path,) = FOLDER.glob(f"{number}-*.yaml")
    return path.stem


def allocated(kube: Kube, namespace: str, pods: int) -> list[dict[str, Any]] | None:
    """The namespace's pods, once there are so many and each has its GPUs."""
    found = kube.items("pods", namespace)
    ready = [pod for pod in found if names.ANNOTATION_ALLOCATION in pod["metadata"].get("annotations", {})]
    return ready if len(ready) == pods else None


def granted(pod: dict[str, Any]) -> dict[str, tuple[Share, ...]]:
    """What the allocation says, by container."""
    allocation = allocations.load(pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION])
    return {name: tuple(shares) for name, shares in allocation.containers.items()}


def output(kube: Kube, namespace: str, pod: dict[str, Any], container: str) -> dict[str, Any]:
    """What the container's program says of its GPUs."""
    name = pod["metadata"]["name"]
    return wait_for(
        f"{name} reports what it sees",
        lambda: report.probe_output(kube, namespace, name, container),
        PATIENCE,
        lambda: kube.run("describe", "pod", name, "-n", namespace),
    )


def best_link(kube: Kube, pair: set[GpuUuid]) -> bool:
    """Whether no two free GPUs are nearer to each other; the Job of manifest 04 has one of them at most."""
    (node,) = kube.json("get", "nodes")["items"]
    node_gpus = gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    taken = {share.gpu for pod in kube.items("pods", JOBS) for shares in granted(pod).values() for share in shares}
    links = {
        frozenset((gpu.uuid, other)): quality
        for gpu in node_gpus
        for other, quality in gpu.links.items()
        if not {gpu.uuid, other} & (taken - pair)
    }
    return links[frozenset(pair)] == max(links.values())


@pytest.mark.parametrize("number", OUTCOMES, ids=title)
def test_pods_get_what_the_manifest_says(
    kube: Kube,
    probe_image: str,
    namespace: str,
    gpu_mib: int,
    job: None,
    selected: None,
    tell: Tell,
    number: str,
) -> None:
    outcome = OUTCOMES[number]
    kube.apply(walkthrough.manifest(number, probe_image), namespace)
    pods = wait_for(
        f"{outcome.pods} pods have their GPUs",
        lambda: allocated(kube, namespace, outcome.pods),
        PATIENCE,
        lambda: kube.run("describe", "pods", "-n", namespace),
    )
    documents, _ = offline(number)
    assert same(pods, documents)
    used: set[GpuUuid] = set()
    for pod in pods:
        shares = granted(pod)
        got = {name: tuple((share.memory, share.cores) for share in each) for name, each in shares.items()}
        whole = (gpu_mib, 100)
        assert got == {
            name: tuple(whole if share == WHOLE else share for share in each) for name, each in outcome.shares.items()
        }
        used |= {share.gpu for each in shares.values() for share in each}
        for name, each in shares.items() if outcome.runs else ():
            words = output(kube, namespace, pod, name)
            seen = [(gpu["uuid"], gpu["total_bytes"] // BYTES_PER_MIB) for gpu in words["gpus"]]
            limit = None if outcome.isolated else gpu_mib
            assert seen == [(share.gpu, limit or share.memory) for share in each]
            assert words["environment"].items() >= outcome.environment.items()
    assert len(used) == outcome.gpus
    if number in LINKED:
        assert best_link(kube, used)
    tell(f"{title(number):28} {'yes':14} {described(outcome)}")


def described(outcome: Outcome) -> str:
    containers = {
        name: "two whole GPUs" if shares == (WHOLE, WHOLE) else " + ".join(map(_share, shares))
        for name, shares in outcome.shares.items()
    }
    each = "; ".join(f"{name}: {text}" if len(containers) > 1 else text for name, text in containers.items())
    pods = f"{outcome.pods} pods, each " if outcome.pods > 1 else ""
    node_gpus = f", on {outcome.gpus} GPU{'s' * (outcome.gpus > 1)} in all"
    return f"{pods}{each}{node_gpus}{'' if outcome.isolated else '; sees the whole gpu'}"


def _share(share: Of) -> str:
    memory, cores = share
    return "a whole GPU" if share == WHOLE else f"{memory} MiB" + (f" and {cores} %" if cores else "")


@pytest.mark.parametrize("number", REFUSED, ids=title)
def test_what_means_nothing_is_refused(kube: Kube, probe_image: str, namespace: str, tell: Tell, number: str) -> None:
    (path,) = FOLDER.glob(f"{number}-*.yaml")
    command = [sys.executable, "-m", "cli", "translate", "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == 1
    reason = done.stderr.strip().partition(": ")[2].partition(": ")[2]
    assert REFUSED[number] in reason
    try:
        kube.apply(walkthrough.manifest(number, probe_image), namespace)
    except CommandFailed as refused:
        said = refused.stderr
    else:  # a controller is let in; its pods aren't
        said = wait_for("the controller's event says why", lambda: why(kube, "FailedCreate"), PATIENCE)
    assert reason in said
    assert not kube.items("pods", namespace)
    tell(f"{title(number):28} {'yes':14} refused: {reason}")


def why(kube: Kube, reason: str) -> str | None:
    """The newest event of this reason in the namespace."""
    found = kube.json("get", "events", "-n", NAMESPACE, "--field-selector", f"reason={reason}")["items"]
    return str(found[-1]["message"]) if found else None


def test_more_than_any_gpu_has_stays_pending_and_says_why(
    kube: Kube, probe_image: str, namespace: str, tell: Tell
) -> None:
    kube.apply(walkthrough.manifest("03", probe_image), namespace)
    said = wait_for("an event says why", lambda: why(kube, "FailedScheduling"), PATIENCE)
    assert names.RESOURCE_MEMORY in said
    documents, _ = offline("03")
    pods = kube.items("pods", namespace)
    assert same(pods, documents) and [pod["status"]["phase"] for pod in pods] == ["Pending"]
    tell(f"{title('03') + ' (GiB)':28} {'yes':14} pending: {said[:90]}")


def test_the_share_of_a_job_is_free_when_it_has_ended(kube: Kube, job: None, tell: Tell) -> None:
    (pod,) = wait_for("the Job's pod has its GPU", lambda: allocated(kube, JOBS, 1), PATIENCE)
    assert granted(pod)["probe"][0].memory == 2048
    documents, _ = offline("04")
    assert same([pod], documents)

    def listed() -> bool:
        command = [sys.executable, "-m", "cli", "status", "--kubeconfig", str(kube.kubeconfig)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
        assert done.returncode == 0, done.stderr
        return pod["metadata"]["name"] in done.stdout

    wait_for(
        "the Job has ended",
        lambda: kube.json("get", "job", "aliyun-job", "-n", JOBS)["status"].get("succeeded"),
        PATIENCE,
    )
    wait_for("its share is free", lambda: not listed(), PATIENCE)
    kube.run("delete", "namespace", JOBS, "--wait=false")
    tell(f"{title('04'):28} {'yes':14} 2048 MiB for 30 s, then free again")


def test_units_of_mib_are_the_platforms_choice(
    kube: Kube, probe_image: str, namespace: str, project: dict[str, images.Image], tell: Tell
) -> None:
    by_role = {role: image.name for role, image in project.items()}
    selector = f"{names.LABEL_COMPONENT}=webhook"
    before = {pod["metadata"]["name"] for pod in kube.items("pods", names.SYSTEM_NAMESPACE, selector)}
    install.install(kube, by_role, simulated=True, more=["dialects.aliyunMemoryUnit=MiB"])
    try:
        wait_for(
            "no replica is left that reads GiB",
            lambda: (
                not before & {pod["metadata"]["name"] for pod in kube.items("pods", names.SYSTEM_NAMESPACE, selector)}
            ),
            PATIENCE,
        )
        kube.apply(walkthrough.manifest("03", probe_image), namespace)
        (pod,) = wait_for("the pod has its GPU", lambda: allocated(kube, namespace, 1), PATIENCE)
        assert [(share.memory, share.cores) for share in granted(pod)["probe"]] == [(16276, 0)]
        documents, _ = offline("03", "--aliyun-unit=MiB")
        assert same([pod], documents)
        (gpu,) = output(kube, namespace, pod, "probe")["gpus"]
        assert gpu["total_bytes"] == 16276 * BYTES_PER_MIB
    finally:
        install.install(kube, by_role, simulated=True)
    tell(f"{title('03') + ' (MiB)':28} {'yes':14} 16276 MiB, on 1 GPU in all")
