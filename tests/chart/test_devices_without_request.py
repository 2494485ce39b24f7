"""Pods that would have GPUs of NVIDIA's runtime without asking for one: refused, warned of, or left."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.apiserver import kubectl
from tests.chart.rendering import NAMESPACE, Rendered, render

KINDS = {f"{kind}AdmissionPolicy{binding}" for kind in ("Validating", "Mutating") for binding in ("", "Binding")}
POLICY = "unigpu-devices-without-request"
VOID = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
ALL = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
Json = dict[str, Any]


def pod(env: list[Json], more: Json | None = None, kind: str = "containers", namespace: str = "helps-itself") -> Json:
    container = {"name": "one", "image": "x", "env": env} | (more or {})
    spec: Json = {"containers": [{"name": "main", "image": "x"}], "automountServiceAccountToken": False}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": spec | {kind: [container]},
    }


def documents(rendered: Rendered) -> list[Json]:
    return [item for item in rendered.documents if item["kind"] in KINDS and item["metadata"]["name"] == POLICY]


@pytest.fixture(params=["warn", "refuse"])
def action(request: pytest.FixtureRequest, kubeconfig: Path) -> Iterator[str]:
    """The policy in force, with each of its actions."""
    action: str = request.param
    made = render("--kube-version", "1.36.0", values={"webhook.devicesWithoutRequest": action})
    text = yaml.safe_dump_all(documents(made))
    people = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **where}}
        for namespace in ("helps-itself", NAMESPACE)
        for kind, name, where in (
            ("Namespace", namespace, {}),
            ("ServiceAccount", "default", {"namespace": namespace}),
        )
    ]
    for documents_ in (yaml.safe_dump_all(people), text):
        done = kubectl(kubeconfig, "apply", "-f", "-", text=documents_)
        assert done.returncode == 0, done.stderr
    apiserver.until(lambda: said(kubeconfig, pod(ALL)) != "", "the policy is in force")
    yield action
    kubectl(kubeconfig, "delete", "--ignore-not-found", "-f", "-", text=text)
    apiserver.until(lambda: said(kubeconfig, pod(ALL)) == "", "the policy is gone")


def said(kubeconfig: Path, document: Json) -> str:
    """What the API server says of the pod; empty: it takes it without a word."""
    done = kubectl(kubeconfig, "create", "--dry-run=server", "-f", "-", text=yaml.safe_dump(document))
    return done.stderr


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_a_container_that_helps_itself(action: str, kubeconfig: Path, kind: str) -> None:
    says = said(kubeconfig, pod(ALL, kind=kind))
    assert "container one: env NVIDIA_VISIBLE_DEVICES: gives GPUs without limits where NVIDIA's runtime" in says
    assert "accepted: a request for a GPU, or the value void" in says
    assert ("Warning: " in says) is (action == "warn")
    assert ("denied" in says) is (action == "refuse")


def test_everybody_else(action: str, kubeconfig: Path) -> None:
    for env, more, namespace in [
        ([], {}, "helps-itself"),
        ([{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}], {}, "helps-itself"),
        ([{"name": "NVIDIA_VISIBLE_DEVICES", "value": "none"}], {}, "helps-itself"),
        ([{"name": "NVIDIA_VISIBLE_DEVICES"}], {}, "helps-itself"),
        (ALL, {"resources": {"limits": {"unigpu.dev/vgpu": "1"}}}, "helps-itself"),
        (ALL, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "helps-itself"),
        (ALL, {}, NAMESPACE),
    ]:
        assert said(kubeconfig, pod(env, more, namespace=namespace)) == "", (action, env, more, namespace)


@pytest.mark.parametrize("action", ["refuse"], indirect=True)
def test_what_an_image_or_a_config_map_sets_is_overridden(action: str, kubeconfig: Path) -> None:
    other = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    config_map = {"envFrom": [{"configMapRef": {"name": "devices"}}]}

    def written(document: Json, kind: str) -> list[list[Json]]:
        """The variables of each container of the kind, as the API server stores them."""
        done = kubectl(kubeconfig, "create", "--dry-run=server", "-o", "json", "-f", "-", text=yaml.safe_dump(document))
        assert done.returncode == 0, done.stderr
        return [one.get("env", []) for one in json.loads(done.stdout)["spec"][kind]]

    apiserver.until(lambda: written(pod([]), "containers") == [VOID], "the policy is in force")
    for kind in ("containers", "initContainers"):
        assert written(pod(other, config_map, kind), kind) == [[*other, *VOID]]
        assert written(pod(VOID, kind=kind), kind) == [VOID]
        for more in ({"unigpu.dev/vgpu": "1"}, {"nvidia.com/gpu": "1"}):
            assert written(pod(other, {"resources": {"limits": more}}, kind), kind) == [other]
    assert written(pod([], kind="initContainers"), "containers") == [VOID], "its neighbour has none either"
    assert written(pod([], namespace=NAMESPACE), "containers") == [[]]


@pytest.mark.parametrize("action", ["refuse"], indirect=True)
def test_ephemeral_containers(action: str, kubeconfig: Path) -> None:
    """They begin in a pod that is there. One that had its variable before can't be changed, and isn't judged again."""
    document = pod([])
    document["metadata"]["name"] = "target"
    path = "/api/v1/namespaces/helps-itself/pods/target/ephemeralcontainers"
    assert kubectl(kubeconfig, "create", "-f", "-", text=yaml.safe_dump(document)).returncode == 0

    def debug(name: str, env: list[Json], query: str = "?dryRun=All") -> subprocess.CompletedProcess[str]:
        found = json.loads(kubectl(kubeconfig, "get", "pod", "target", "-n", "helps-itself", "-o", "json").stdout)
        there = found["spec"].setdefault("ephemeralContainers", [])
        there.append({"name": name, "image": "x", "env": env})
        return kubectl(kubeconfig, "replace", "--raw", path + query, "-f", "-", text=json.dumps(found))

    def written(done: subprocess.CompletedProcess[str]) -> list[list[Json]]:
        assert done.returncode == 0, done.stderr
        return [one.get("env", []) for one in json.loads(done.stdout)["spec"]["ephemeralContainers"]]

    try:
        assert "container debug: env NVIDIA_VISIBLE_DEVICES" in debug("debug", ALL).stderr
        assert written(debug("debug", [])) == [VOID]
        for kind in ("mutatingadmissionpolicybinding", "validatingadmissionpolicybinding"):
            kubectl(kubeconfig, "delete", kind, POLICY)
        apiserver.until(lambda: said(kubeconfig, pod(ALL)) == "", "nothing is in force")
        apiserver.until(lambda: written(debug("first", [])) == [[]], "nothing is changed")
        assert written(debug("first", ALL, "")) == [ALL]
        made = render("--kube-version", "1.36.0", values={"webhook.devicesWithoutRequest": "refuse"})
        kubectl(kubeconfig, "apply", "-f", "-", text=yaml.safe_dump_all(documents(made)))
        apiserver.until(lambda: said(kubeconfig, pod(ALL)) != "", "the policies are in force again")
        apiserver.until(lambda: written(debug("second", [])) == [ALL, VOID], "only the new one")
    finally:
        kubectl(kubeconfig, "delete", "pod", "target", "-n", "helps-itself", "--grace-period=0", "--force")


def test_leave_and_clusters_without_such_policies(defaults: Rendered) -> None:
    assert len(documents(defaults)) == 2
    assert documents(render(values={"webhook.devicesWithoutRequest": "leave"})) == []
    assert documents(render("--kube-version", "1.29.0")) == []
    refusing = {"webhook.devicesWithoutRequest": "refuse"}
    for version, count in (("1.35.0", 2), ("1.36.0", 4)):
        assert len(documents(render("--kube-version", version, values=refusing))) == count
    binding = documents(defaults)[1]["spec"]
    assert binding["validationActions"] == ["Warn"]


def test_excluded_namespaces_are_left_alone() -> None:
    made = documents(render("--set", "webhook.excludedNamespaces={gpu-operator}"))[0]
    (selector,) = made["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert selector["values"] == ["kube-system", NAMESPACE, "gpu-operator"]
