"""What `helm test` and `helm uninstall` run: with the rights that the chart gives it, on a real API server."""

import base64
import datetime
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.apiserver import kubectl
from tests.chart.rendering import CHART, HOOK, NAMESPACE, Document, Rendered, helm, helm_program
from unigpu import names

SCRIPT = CHART / "files" / "jobs.py"
LEASE = "apis/coordination.k8s.io/v1"


@pytest.fixture(scope="module")
def jobs() -> ModuleType:
    """The script, which isn't part of a package."""
    spec = importlib.util.spec_from_file_location("unigpu_chart_jobs", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hooks(rendered: Rendered, hook: str) -> list[Document]:
    return [item for item in rendered.hooks if item["metadata"]["annotations"][HOOK] == hook]


def pod_of(rendered: Rendered, hook: str) -> Document:
    """The spec of the pod that a hook runs."""
    (item,) = (item for item in hooks(rendered, hook) if item["kind"] in ("Job", "Pod"))
    spec: Document = item["spec"]["template"]["spec"] if item["kind"] == "Job" else item["spec"]
    return spec


@pytest.mark.parametrize("hook", ["test", "post-delete"])
def test_the_pod_runs_the_script_with_an_account_and_no_privileges(defaults: Rendered, hook: str) -> None:
    spec = pod_of(defaults, hook)
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = spec["volumes"]
    assert container["command"] == ["python", f"{mount['mountPath']}/jobs.py"]
    (config,) = (item for item in hooks(defaults, hook) if item["kind"] == "ConfigMap")
    assert config["metadata"]["name"] == volume["configMap"]["name"]
    assert config["data"]["jobs.py"].rstrip() == SCRIPT.read_text().rstrip()
    assert spec["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["image"] == defaults.containers()["webhook"]["image"]
    accounts = [item["metadata"]["name"] for item in hooks(defaults, hook) if item["kind"] == "ServiceAccount"]
    assert accounts == [spec["serviceAccountName"]]


def test_accounts_and_roles_come_before_the_pod(defaults: Rendered) -> None:
    for item in defaults.hooks:
        annotations = item["metadata"]["annotations"]
        weight = int(annotations.get("helm.sh/hook-weight", "0"))
        assert weight == (0 if item["kind"] in ("Job", "Pod") else -1)
        assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]


def test_without_the_cleanup_only_the_test_is_left(every_option: Rendered) -> None:
    assert {item["metadata"]["annotations"][HOOK] for item in every_option.hooks} == {"test"}
    (role,) = (item for item in every_option.hooks if item["kind"] == "Role")
    assert role["metadata"]["namespace"] == "gpu-tests"
    assert pod_of(every_option, "test")["containers"][0]["args"] == ["check", "--namespace=gpu-tests"]


def test_names_are_the_projects(jobs: ModuleType, defaults: Rendered) -> None:
    assert (jobs.INVENTORY, jobs.REQUEST) == (names.ANNOTATION_INVENTORY, names.ANNOTATION_REQUEST)
    assert (jobs.PUBLISHED, jobs.WALLS) == (names.ANNOTATION_PUBLISHED, names.ANNOTATION_WALLS)
    assert jobs.LOWERABLE == names.ANNOTATION_LOWERABLE
    assert (jobs.ALLOCATION, jobs.SCHEDULER) == (names.ANNOTATION_ALLOCATION, names.SCHEDULER_NAME)
    assert jobs.SLOTS == names.RESOURCE_VGPU
    assert {jobs.SLOTS, *jobs.WRITTEN_BY_AGENTS} == set(names.UNIFIED_RESOURCES)
    arguments = pod_of(defaults, "post-delete")["containers"][0]["args"]
    assert f"--delete=/api/v1/namespaces/{NAMESPACE}/secrets/{names.SECRET_WEBHOOK_TLS}" in arguments


# On a real API server.


@pytest.fixture
def account(kubeconfig: Path, defaults: Rendered, tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Arguments of a hook's script, under its account, which has the rights that the chart gives it."""
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)

    def rights(hook: str) -> str:
        return yaml.safe_dump_all(item for item in hooks(defaults, hook) if item["kind"] not in ("Job", "Pod"))

    def arguments(hook: str) -> list[str]:
        done = kubectl(kubeconfig, "apply", "-f", "-", text=rights(hook))
        assert done.returncode == 0, done.stderr
        pod = pod_of(defaults, hook)
        return [*reach(kubeconfig, pod["serviceAccountName"], tmp_path), *pod["containers"][0]["args"]]

    yield arguments
    for hook in ("test", "post-delete"):
        kubectl(kubeconfig, "delete", "--ignore-not-found", "-f", "-", text=rights(hook))


def reach(kubeconfig: Path, account: str, folder: Path) -> list[str]:
    """Arguments by which the script reaches the server under an account that exists."""
    token = kubectl(kubeconfig, "create", "token", account, "--namespace", NAMESPACE)
    assert token.returncode == 0, token.stderr
    (folder / "token").write_text(token.stdout)
    server = ("--server", apiserver.address(kubeconfig), "--token", str(folder / "token"))
    return [*server, "--authority", str(apiserver.authority(kubeconfig))]


@pytest.mark.parametrize("hook", ["test", "post-delete"])
def test_the_server_takes_the_pod(
    kubeconfig: Path, account: Callable[[str], list[str]], defaults: Rendered, hook: str
) -> None:
    account(hook)
    text = yaml.safe_dump_all(hooks(defaults, hook))
    done = kubectl(kubeconfig, "apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
    assert done.returncode == 0, done.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=120)


AGENTS = {
    names.ANNOTATION_INVENTORY: "{}",
    names.ANNOTATION_PUBLISHED: "aliyun.com/gpu-mem",
    names.ANNOTATION_WALLS: "{}",
    names.ANNOTATION_LOWERABLE: "{}",
}
"""Annotations that a node agent writes."""


@pytest.fixture
def nodes(kubeconfig: Path) -> Iterator[Callable[[str], Document]]:
    """Two nodes: one that a node agent has written, and one that it hasn't; by name, as they are now."""
    written = {"cpu": "8", names.RESOURCE_VGPU: "16", names.RESOURCE_MEMORY: "24576", names.RESOURCE_CORES: "100"}
    written |= {"aliyun.com/gpu-mem": "24", "nvidia.com/gpu": "1"}
    for name, annotations, capacity in (
        ("gpu-node", {**AGENTS, "owner": "somebody"}, written),
        ("plain-node", {}, {"cpu": "4"}),
    ):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations}}
        assert kubectl(kubeconfig, "create", "-f", "-", text=json.dumps(node)).returncode == 0
        status = json.dumps({"status": {"capacity": capacity, "allocatable": capacity}})
        done = kubectl(kubeconfig, "patch", "node", name, "--subresource=status", "--type=merge", "--patch", status)
        assert done.returncode == 0, done.stderr

    def read(name: str) -> Document:
        found: Document = json.loads(kubectl(kubeconfig, "get", "node", name, "-o", "json").stdout)
        return found

    yield read
    kubectl(kubeconfig, "delete", "node", "gpu-node", "plain-node")


def make(kubeconfig: Path, *documents: Document) -> None:
    done = kubectl(kubeconfig, "create", "--namespace", NAMESPACE, "-f", "-", text=yaml.safe_dump_all(documents))
    assert done.returncode == 0, done.stderr


def secret(name: str) -> Document:
    data = {"key": base64.b64encode(b"x").decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def test_the_cleanup_removes_what_unigpu_wrote_and_nothing_else(
    kubeconfig: Path, account: Callable[[str], list[str]], nodes: Callable[[str], Document]
) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "unigpu-scheduler"}}
    make(kubeconfig, secret(names.SECRET_WEBHOOK_TLS), secret("other"), lease)
    arguments = account("post-delete")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "node gpu-node: cleaned",
        f"deleted /api/v1/namespaces/{NAMESPACE}/secrets/{names.SECRET_WEBHOOK_TLS}",
        f"deleted /{LEASE}/namespaces/{NAMESPACE}/leases/unigpu-scheduler",
    ]
    node = nodes("gpu-node")
    assert node["metadata"]["annotations"] == {"owner": "somebody"}
    assert node["status"]["capacity"] == {"cpu": "8", names.RESOURCE_VGPU: "16", "nvidia.com/gpu": "1"}
    left = kubectl(kubeconfig, "get", "secrets,leases", "--namespace", NAMESPACE, "-o", "name")
    assert left.stdout.split() == ["secret/other"]
    again = run(*arguments)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_running_pods_with_gpus_are_told_and_no_others(
    kubeconfig: Path, account: Callable[[str], list[str]], nodes: Callable[[str], Document]
) -> None:
    kubectl(kubeconfig, "create", "serviceaccount", "default", "--namespace", NAMESPACE)
    spec = {"containers": [{"name": "main", "image": "x"}]}
    allocated = {names.ANNOTATION_ALLOCATION: "{}"}
    for name, annotations in (("gpu", allocated), ("ended", allocated), ("plain", {})):
        metadata = {"name": name, "annotations": annotations}
        make(kubeconfig, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        phase = json.dumps({"status": {"phase": "Succeeded" if name == "ended" else "Running"}})
        what = (
            "patch",
            "pod",
            name,
            "--namespace",
            NAMESPACE,
            "--subresource=status",
            "--type=merge",
            "--patch",
            phase,
        )
        assert kubectl(kubeconfig, *what).returncode == 0
    try:
        done = run(*account("post-delete"))
        assert done.returncode == 0, done.stderr
        assert "told by an event: 1 running pod with GPUs" in done.stdout
        found = json.loads(kubectl(kubeconfig, "get", "events", "--namespace", NAMESPACE, "-o", "json").stdout)["items"]
        told = [one for one in found if one["reason"] == "UnigpuRemoved"]
        assert [one["involvedObject"]["name"] for one in told] == ["gpu"]
        assert "This pod keeps its GPUs and its limits" in told[0]["message"]
    finally:
        kubectl(kubeconfig, "delete", "pod", "--all", "--namespace", NAMESPACE, "--force", "--grace-period=0")


def test_the_cleanup_names_agents_that_do_not_end(
    kubeconfig: Path, account: Callable[[str], list[str]], nodes: Callable[[str], Document]
) -> None:
    kubectl(kubeconfig, "create", "serviceaccount", "default", "--namespace", NAMESPACE)
    labels = {"app.kubernetes.io/instance": "release", names.LABEL_COMPONENT: "node-agent"}
    spec = {"containers": [{"name": "main", "image": "x"}]}
    make(kubeconfig, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "labels": labels}, "spec": spec})
    try:
        done = run(*account("post-delete"), "--patience", "0")
    finally:
        kubectl(kubeconfig, "delete", "pod", "agent", "--namespace", NAMESPACE, "--force", "--grace-period=0")
    assert done.returncode == 0, done.stderr
    assert "these node agents haven't ended, and may write their nodes again: agent" in done.stdout
    assert nodes("gpu-node")["metadata"]["annotations"] == {"owner": "somebody"}


def test_the_cleanup_says_what_it_may_not_do(
    kubeconfig: Path, account: Callable[[str], list[str]], nodes: Callable[[str], Document]
) -> None:
    make(kubeconfig, secret("somebody-elses"))
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/somebody-elses"
    done = run(*account("post-delete"), f"--delete={path}")
    assert done.returncode == 1
    assert f"error: {path}: " in done.stderr and "forbidden" in done.stderr


def test_an_uninstall_with_its_job_leaves_nothing(
    kubeconfig: Path, nodes: Callable[[str], Document], tmp_path: Path
) -> None:
    place = ("--kubeconfig", kubeconfig, "--namespace", NAMESPACE)
    installed = helm("install", "release", CHART, *place, "--create-namespace")
    assert installed.returncode == 0, installed.stderr
    command = [helm_program(), "uninstall", "release", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as uninstall:
        job = wait_for_job(kubeconfig, uninstall)
        # The chart's other objects are gone before the job starts: node agents can't write their nodes again.
        assert kubectl(kubeconfig, "get", "daemonsets", "--namespace", NAMESPACE, "-o", "name").stdout == ""
        spec = job["spec"]["template"]["spec"]
        cleaned = run(*reach(kubeconfig, spec["serviceAccountName"], tmp_path), *spec["containers"][0]["args"])
        assert (cleaned.returncode, cleaned.stdout) == (0, "node gpu-node: cleaned\n"), cleaned.stderr
        finish(kubeconfig, job["metadata"]["name"])
        output, _ = uninstall.communicate(timeout=60)
        assert uninstall.returncode == 0, output
    kinds = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
    for everything in ((kinds,), ("all,configmaps,secrets,serviceaccounts,roles,leases", "--namespace", NAMESPACE)):
        left = kubectl(kubeconfig, "get", *everything, "-o", "name").stdout.splitlines()
        assert [name for name in left if "unigpu" in name or "release" in name] == []


def wait_for_job(kubeconfig: Path, uninstall: subprocess.Popen[str]) -> Document:
    """Return the job once Helm has created it."""
    while uninstall.poll() is None:
        found = kubectl(kubeconfig, "get", "job", "unigpu-cleanup", "--namespace", NAMESPACE, "-o", "json")
        if found.returncode == 0:
            job: Document = json.loads(found.stdout)
            return job
    raise AssertionError(uninstall.communicate()[0])


def finish(kubeconfig: Path, job: str) -> None:
    """Do what the job controller, which isn't there, would do."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
    patch = json.dumps({"status": status})
    what = ("patch", "job", job, "--namespace", NAMESPACE, "--subresource=status", "--type=merge", "--patch", patch)
    done = kubectl(kubeconfig, *what)
    assert done.returncode == 0, done.stderr


def test_the_check_finds_that_no_webhook_is_there(
    kubeconfig: Path, account: Callable[[str], list[str]], nodes: Callable[[str], Document]
) -> None:
    kubectl(kubeconfig, "create", "serviceaccount", "default", "--namespace", "default")
    done = run(*account("test"))
    assert done.returncode == 1
    assert "node gpu-node: GPUs for up to 16 shares" in done.stdout
    problems = done.stderr.splitlines()
    assert problems == [
        "error: a pod in the unified form: the webhook doesn't translate it: does it see this namespace?",
        "error: a pod of a vendor's: the webhook doesn't translate it: does it see this namespace?",
        f"error: a pod with a forged annotation {names.ANNOTATION_ALLOCATION}: the webhook doesn't drop it:"
        " the pod would claim a GPU",
    ]
    assert kubectl(kubeconfig, "get", "pods", "--namespace", "default", "-o", "name").stdout == ""
