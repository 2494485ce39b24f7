"""`status`, `explain`, `doctor` and `version` before a real API server, with and without rights."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli import __main__ as cli
from tests.integration.cli.conftest import GPU, Cluster, Json, manifest
from unigpu import names


@pytest.fixture(scope="module")
def reader(webhooked: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The same cluster, asked by an account that may read the pods of its namespace and no more."""
    about = {"name": "reading-pods", "namespace": "default"}
    rbac = "rbac.authorization.k8s.io"
    webhooked.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        }
    )
    token = webhooked.must("create", "token", "default").strip()
    config = yaml.safe_load(webhooked.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig: Path = tmp_path_factory.mktemp("reader") / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    yield Cluster(kubeconfig)


def test_status_with_rights(cluster: Cluster) -> None:
    cluster.apply(manifest("big", 15))
    done = cluster.unigpu("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "12/16 GiB" in done.stdout and "default/mine main" in done.stdout
    assert "default/big" in done.stdout and "scheduler unigpu-scheduler hasn't looked at the pod" in done.stdout
    found = json.loads(cluster.unigpu("status", "-o", "json").stdout)
    assert found["total"]["memory"] == {"total": 16384, "granted": 12288, "free": 0}
    assert found["nodes"][0]["condition"] != "Ready", "no kubelet ever reported the node"


def test_status_without_rights(cluster: Cluster, reader: Cluster) -> None:
    done = reader.unigpu("status", "-o", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr, found["complete"]) == (0, "", False)
    assert [one["pod"] for one in found["nodes"][0]["gpuList"][0]["containers"]] == ["mine", "other"]
    assert [note.partition(",")[0] for note in found["notes"]] == [
        "you may not list the pods of all namespaces",
        "you may not list nodes",
    ]
    done = reader.unigpu("status", "-A")
    assert done.returncode == 1 and "you don't have the right to do this: pods is forbidden" in done.stderr


def test_explain(cluster: Cluster, reader: Cluster) -> None:
    cluster.apply(manifest("big", 15))
    said = cluster.unigpu("explain", "mine").stdout
    assert "aliyun.com/gpu-mem = 4" in said
    assert f"4096 MiB and 30 % of compute of GPU 0 ({GPU.uuid}, X, 16384 MiB)" in " ".join(said.split())
    said = cluster.unigpu("explain", "big").stdout
    assert "Node n" in said and "4096 of 16384 MiB free" in " ".join(said.split())
    said = reader.unigpu("explain", "big").stdout
    assert "GPUs can't be explained one by one" in " ".join(said.split())
    done = reader.unigpu("explain", "x", "-n", "kube-system")
    assert done.returncode == 1 and done.stderr.startswith("error: you don't have the right to do this")


def levels(done_stdout: str) -> dict[str, str]:
    found: Json = json.loads(done_stdout)
    return {one["check"]: one["level"] for one in found["checks"]}


def test_doctor(cluster: Cluster, reader: Cluster) -> None:
    done = cluster.unigpu("doctor", "-o", "json")
    found = levels(done.stdout)
    assert done.returncode == 2
    assert found["API server"] == "ok"
    assert found["control plane"] == found["node agents"] == found["webhook service"] == "fail"
    assert found["capacity"] == "fail", "no node agent has published the capacity"
    assert (found["quotas"], found["limit ranges"], found["pods"], found["grants"]) == ("ok", "ok", "ok", "ok")
    done = reader.unigpu("doctor", "-o", "json")
    assert done.returncode == 1
    assert set(levels(done.stdout).values()) == {"ok", "warn"}, "what may not be read is no failure"


def test_version(cluster: Cluster, reader: Cluster) -> None:
    done = cluster.unigpu("version", "-o", "json")
    assert json.loads(done.stdout)["server"].startswith("v1.") and json.loads(done.stdout)["parts"] == []
    assert reader.unigpu("version").returncode == 1


def test_expired_credentials(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    assert cli.main(["status", "--kubeconfig", str(tmp_path / "kubeconfig")]) == 2
    assert capsys.readouterr().err.startswith("error: the cluster doesn't accept your credentials")


def test_limits_by_labels_and_controller(cluster: Cluster) -> None:
    cluster.must("label", "pod", "mine", "other", "app=web")
    template = manifest("x", 4)
    labels = {"app": "web"}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
            },
        }
    )
    done = cluster.unigpu("limit", "deploy/web", "--cores=10")
    assert done.returncode == 0 and "new ones start as requested" in done.stderr
    assert [cluster.limits(pod) for pod in ("mine", "other")] == ['{"main":{"cores":10}}'] * 2
    done = cluster.unigpu("limit", "-l", "app=web", "--memory=9Gi")
    assert done.returncode == 1
    assert "pod mine: refused: container main: memory = 9216 MiB: GPU 0" in done.stderr
    assert cluster.unigpu("limit", "deploy/web", "--reset").returncode == 0
    cluster.must("delete", "deployment", "web")


def test_warnings_of_the_api_server_are_shown(cluster: Cluster) -> None:
    cluster.must("patch", "pod", "mine", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Failed"}}')
    done = cluster.unigpu("limit", "mine", "--memory=1Gi")
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: ") and names.ANNOTATION_LIMITS in done.stderr


def test_a_kubeconfig_whose_user_acts_as_another(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"]["as"] = "reader"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    done = Cluster(tmp_path / "kubeconfig").unigpu("limit", "mine", "--memory=1Gi")
    assert done.returncode == 1 and 'User "reader" cannot patch resource "pods"' in done.stderr
