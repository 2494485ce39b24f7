"""The migration guides, followed there and back on an API server: each command as printed, in the order of the pages.

The server has no controllers and no nodes that run anything: what a vendor's plugin does with a label isn't seen here,
and an installation that becomes ready is the matter of tests/cluster/test_package.py.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.rendering import HELM
from tests.unit.docs.pages import ROOT

PAGES = ROOT / "docs/migrate"
NODE = "gpu-node"
NOT_HERE = ("helm test", "kubectl unigpu doctor\n", "nvidia-smi")
"""Commands that need a pod that runs, or a GPU."""
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Vendor:
    """What is there before a move."""

    page: str
    limits: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    """Of the pods of the workload that moves."""
    label: str = ""
    """On the node; its plugin looks for it."""
    objects: tuple[str, ...] = ()
    """Of the vendor's, in kube-system: KIND/NAME."""
    release: tuple[str, str] = ("", "")
    """Or a release of Helm's, and its namespace."""


VENDORS = (
    Vendor("hami", {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3000"}, {}, "gpu=on", (), ("hami", "kube-system")),
    Vendor(
        "gpushare",
        {"aliyun.com/gpu-mem": "3"},
        label="gpushare=true",
        objects=(
            "daemonset/gpushare-device-plugin-ds",
            "deployment/gpushare-schd-extender",
            "service/gpushare-schd-extender",
        ),
    ),
    Vendor(
        "gpu-manager",
        {"tencent.com/vcuda-core": "50", "tencent.com/vcuda-memory": "30"},
        label="nvidia-device-enable=enable",
        objects=("daemonset/gpu-manager-daemonset", "deployment/gpu-admission"),
    ),
    Vendor("nvidia", {"nvidia.com/gpu": "1"}, label="nvidia.com/gpu.deploy.device-plugin=true"),
    Vendor(
        "volcano",
        {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "1000"},
        objects=("daemonset/volcano-device-plugin",),
    ),
    Vendor("kai", annotations={"gpu-fraction": "0.5"}, release=("kai-scheduler", "kai-scheduler")),
)


def sections(page: str) -> dict[str, list[str]]:
    """Return the blocks of commands in each section of a page, without what has no place here."""
    _, *parts = _SECTION.split((PAGES / f"{page}.md").read_text())
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    return {title: [runnable(block) for block in _BLOCK.findall(text)] for title, text in found.items()}


def runnable(block: str) -> str:
    """Return the commands of a block with the reader's own names in them."""
    lines = [line for line in block.splitlines(keepends=True) if not line.startswith(NOT_HERE)]
    text = "".join(lines).replace("NODE", NODE).replace("REGISTRY", "registry.example")
    # Nothing becomes ready, and no controller ends a namespace.
    return text.replace(" --wait", "").replace("kubectl delete namespace", "kubectl delete --wait=false namespace")


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with apiserver.running(tmp_path_factory.mktemp("apiserver")) as made:
        yield made


class Reader:
    """Somebody at a shell, with kubectl, its plugin and helm."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        path = f"{HELM.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path, "HOME": str(home)}

    def run(self, text: str) -> str:
        """Run commands, each of which must succeed; return what they print."""
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """Create objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        self.run(f"kubectl apply -f - <<'OBJECTS'\n{text}\nOBJECTS")

    def node(self) -> dict[str, Any]:
        """Return what the vendor's scheduler and plugin look at."""
        node = json.loads(self.run(f"kubectl get node {NODE} -o json"))
        return {"labels": node["metadata"]["labels"], "unschedulable": node["spec"].get("unschedulable", False)}


def pod(vendor: Vendor) -> dict[str, Any]:
    """A pod as the controller of team-a's StatefulSet, which isn't there, would make it."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "notebook", "uid": "1", "controller": True}
    metadata = {
        "name": "notebook-0",
        "namespace": "team-a",
        "annotations": vendor.annotations,
        "ownerReferences": [owner],
    }
    container = {"name": "main", "image": "x", "resources": {"limits": vendor.limits}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def workload(kind: str, name: str, namespace: str) -> dict[str, Any]:
    head = {"metadata": {"name": name, "namespace": namespace}}
    if kind == "service":
        return {"apiVersion": "v1", "kind": "Service", **head, "spec": {"ports": [{"port": 80}]}}
    container = {"name": "main", "image": "x", "args": ["--gpu-memory-factor=1"]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    kinds = {"daemonset": "DaemonSet", "deployment": "Deployment", "statefulset": "StatefulSet"}
    return {"apiVersion": "apps/v1", "kind": kinds[kind], **head, "spec": spec}


@pytest.fixture
def reader(kubeconfig: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Before the move: a node, the vendor's parts, and a workload in team-a."""
    vendor: Vendor = request.param
    made = Reader(kubeconfig, tmp_path)
    key, _, value = vendor.label.partition("=")
    labels = {"kubernetes.io/hostname": NODE} | ({key: value} if key else {})
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}}
    namespaces = ("team-a", "kai-resource-reservation", "kai-scheduler")
    made.apply(node, *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in namespaces))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "team-a"}}
    made.apply(account, workload("deployment", "server", "team-a"), workload("statefulset", "notebook", "team-a"))
    made.apply(pod(vendor))
    for one in vendor.objects:
        kind, _, name = one.partition("/")
        made.apply(workload(kind, name, "kube-system"))
    release, namespace = vendor.release
    if release:
        chart = tmp_path / "chart"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": release, "version": "1.0.0"}))
        plugin = workload("daemonset", f"{release}-device-plugin", namespace)
        (chart / "templates" / "plugin.yaml").write_text(yaml.safe_dump(plugin))
        made.run(f"helm install {release} {chart} --namespace {namespace}")
    yield made
    made.run(f"kubectl delete node {NODE}; kubectl -n team-a delete deployments,statefulsets,pods --all")
    made.run("helm uninstall unigpu --namespace unigpu-system --no-hooks --ignore-not-found")
    made.run("kubectl -n kube-system delete daemonsets,deployments --all")
    if release:
        made.run(f"helm uninstall {release} --namespace {namespace} --ignore-not-found")


def follow(reader: Reader, vendor: Vendor, block: str) -> None:
    """Run a block of the common steps. Only the first guide installs unigpu too, because that is the same each time."""
    if vendor == VENDORS[0] or "helm/unigpu" not in block:
        reader.run(block)


@pytest.mark.parametrize(
    ("vendor", "reader"), [(one, one) for one in VENDORS], indirect=["reader"], ids=lambda one: one.page
)
def test_a_guide_leads_there_and_back(vendor: Vendor, reader: Reader) -> None:
    common, own = sections("README"), sections(vendor.page)
    before = reader.node()
    there = [f"kubectl -n kube-system get {one} -o jsonpath='{{.spec}}'" for one in vendor.objects]
    specs = [reader.run(command) for command in there]

    (report,) = common["1. Write the report"]
    assert re.search(r"team-a +StatefulSet/notebook +1 .* translated", reader.run(report))
    empty, mine = common["2. Empty the first nodes"]
    reader.run(empty)
    for block in (
        *own["What your fields mean" if "What your fields mean" in own else "What `nvidia.com/gpu: 1` means"],
        *own["Nodes"],
    ):
        reader.run(block)
    reader.run(mine)
    moved = reader.node()["labels"]
    assert moved["unigpu"] == "on"
    key, _, value = vendor.label.partition("=")
    assert not key or moved.get(key) != value, "the vendor's plugin is still asked onto the node"
    for title in ("3. Install, for one namespace", "4. Move the namespace"):
        for block in common[title]:
            follow(reader, vendor, block)

    for block in (*common["The way back"], *own["Way back"], f"kubectl uncordon {NODE}"):
        follow(reader, vendor, block)
    assert reader.node() == before
    assert [reader.run(command) for command in there] == specs

    removal = [block for title, blocks in own.items() if title.startswith("Remove") for block in blocks]
    for block in removal:
        reader.run(block)
    assert removal or vendor.page == "nvidia", "NVIDIA's plugin stays on its own nodes"
    left = reader.run("kubectl get daemonsets,deployments,services -n kube-system -o name")
    assert [one for one in vendor.objects if one.split("/")[1] in left] == []
    assert set(reader.run("helm list --all-namespaces --short").split()) <= {"unigpu"}


def test_every_guide_is_followed() -> None:
    assert {vendor.page for vendor in VENDORS} | {"README"} == {path.stem for path in PAGES.glob("*.md")}
    for vendor in VENDORS:
        assert {"Nodes", "Way back"} <= set(sections(vendor.page)), vendor.page
