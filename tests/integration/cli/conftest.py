"""A real API server with unigpu's webhook, asked with kubectl and with `kubectl unigpu`. The rest is played."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as cli
from tests.chart import apiserver
from unigpu import allocations, gpus, names
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB, Percent
from webhook import settings
from webhook.admission import configuration

GPU = Gpu(GpuUuid("GPU-a"), 0, 0, "X", MiB(16384))
SYSTEM = names.SYSTEM_NAMESPACE
ADMINS = "--as-group=system:masters"
SCHEDULER = (f"--as=system:serviceaccount:{SYSTEM}:{names.ACCOUNT_SCHEDULER}", ADMINS)
AGENT = (f"--as=system:serviceaccount:{SYSTEM}:{names.ACCOUNT_NODE_AGENT}", ADMINS)
Json = dict[str, Any]


class Cluster:
    """An API server, asked with kubectl and with `kubectl unigpu`."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def kubectl(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [apiserver.BIN / "kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)

    def must(self, *arguments: str, text: str | None = None) -> str:
        done = self.kubectl(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def unigpu(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*arguments, "--kubeconfig", str(self.kubeconfig)]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = cli.main(command)
        return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())

    def apply(self, *documents: Json) -> None:
        self.must("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def annotations(self, pod: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.must("get", "pod", pod, "-o", "json"))["metadata"]["annotations"]
        return found

    def limits(self, pod: str) -> str | None:
        return self.annotations(pod).get(names.ANNOTATION_LIMITS)

    def annotate(self, pod: str, text: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.kubectl("annotate", "--overwrite", "pod", pod, f"{names.ANNOTATION_LIMITS}={text}", *more)

    def applied(self, pod: str, text: str) -> None:
        """What the node agent writes."""
        self.must("annotate", "--overwrite", "pod", pod, f"{names.ANNOTATION_LIMITS_APPLIED}={text}", *AGENT)

    def event(self, pod: str, reason: str, message: str) -> None:
        """What the node agent tells of a pod."""
        uid = json.loads(self.must("get", "pod", pod, "-o", "json"))["metadata"]["uid"]
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{pod}.{uid}", "namespace": "default"},
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": pod, "uid": uid},
                "reason": reason,
                "message": message,
                "type": "Warning",
            }
        )

    def bind(self, pod: str, memory: int) -> None:
        """What the scheduler does."""
        chosen = allocations.dump(Allocation("n", {"main": (Share(GPU.uuid, MiB(memory), Percent(30)),)}))
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod, "annotations": {names.ANNOTATION_ALLOCATION: chosen}},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
        }
        path = f"/api/v1/namespaces/default/pods/{pod}/binding"
        self.must("create", "--raw", path, "-f", "-", *SCHEDULER, text=json.dumps(binding))


def manifest(name: str, gib: int) -> Json:
    resources = {"limits": {"aliyun.com/gpu-mem": gib, "aliyun.com/gpu-core.percentage": 30}}
    spec = {"containers": [{"name": "main", "image": "none", "resources": resources}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def account(namespace: str) -> Json:
    """What a controller would make."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    }


def reading(user: str) -> list[Json]:
    """Somebody who may look at pods, and no more."""
    rbac = "rbac.authorization.k8s.io"
    about = {"name": user, "namespace": "default"}
    role = {"apiGroup": rbac, "kind": "Role", "name": user}
    return [
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": about,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": role,
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        },
    ]


@pytest.fixture(scope="module")
def webhooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The API server with our webhook, and a node with one GPU of 16 GiB."""
    if not (apiserver.BIN / "kubectl").exists():
        pytest.fail("kubectl and the API server aren't there: `make cluster` builds them")
    folder = tmp_path_factory.mktemp("apiserver")
    with apiserver.running(folder) as kubeconfig:
        cluster = Cluster(kubeconfig)
        inventory = {names.ANNOTATION_INVENTORY: gpus.dump([GPU])}
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "annotations": inventory}},
            account("default"),
            *reading("reader"),
            *configuration.documents(settings.Settings()),
        )
        with _webhook(cluster, folder / "webhook.log"):
            yield cluster


@contextlib.contextmanager
def _webhook(cluster: Cluster, log: Path) -> Iterator[None]:
    """The webhook in a process of its own, in both configurations by its address."""
    command = [sys.executable, "-m", "webhook", "--port=0", "--metrics-port=0", "--host=localhost", "--log-json"]
    command += ["--kubeconfig", str(cluster.kubeconfig), "--sweep-seconds=0", "--drain-seconds=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr)
        port = next((line["port"] for line in lines if line["message"] == "serving"), None)
        assert port is not None, "the webhook ended"
        follow = threading.Thread(target=lambda: log.write_text("\n".join(map(json.dumps, lines))))
        follow.start()
        try:
            for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
                found = json.loads(cluster.must("get", kind, names.WEBHOOK_CONFIGURATION, "-o", "json"))
                for hook in found["webhooks"]:
                    service = hook["clientConfig"].pop("service")
                    hook["clientConfig"]["url"] = f"https://localhost:{port}{service['path']}"
                cluster.must("replace", "-f", "-", text=json.dumps(found))
            yield
        finally:
            process.terminate()
            follow.join()


@pytest.fixture
def cluster(webhooked: Cluster) -> Iterator[Cluster]:
    """With the pods `mine`, of 4 GiB, and `other`, of 8 GiB, on the GPU; both with 30 % of its compute."""
    webhooked.apply(manifest("mine", 4), manifest("other", 8))
    webhooked.bind("mine", 4096)
    webhooked.bind("other", 8192)
    yield webhooked
    webhooked.must("delete", "pod", "--all", "--force", "--grace-period=0")
