"""What the tokens of unigpu's accounts can do, tried on a real API server in dry runs."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.apiserver import PATIENCE, kubectl
from tests.chart.rendering import NAMESPACE, Rendered
from unigpu import names

KINDS = {
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
FOREIGN = {"owner": "somebody"}
Json = dict[str, Any]


def node(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": FOREIGN, "labels": FOREIGN}}


def pod(name: str, namespace: str, on: str, account: str = "default") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": FOREIGN, "labels": FOREIGN},
        "spec": {
            "nodeName": on,
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "x"}],
        },
    }


def lowered(name: str, on: str) -> Json:
    """A pod whose limits were lowered to make room."""
    made = pod(name, "default", on)
    made["metadata"]["annotations"] = FOREIGN | {names.ANNOTATION_LIMITS: "{}", names.ANNOTATION_LOWERED: "{}"}
    return made


def account(namespace: str) -> Json:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


@dataclass(frozen=True)
class Cluster:
    """Two nodes, a pod of the node agent on the first, and a pod of somebody on each."""

    kubeconfig: Path

    def token(self, account: str, of_pod: str = "") -> str:
        """A token as the kubelet gets it for a pod, or one that belongs to no pod."""
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={of_pod}"] if of_pod else []
        done = kubectl(self.kubeconfig, "create", "token", account, "--namespace", NAMESPACE, *bound)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def patch(self, token: str, what: str, patch: Json, *, status: bool = False) -> str:
        """The refusal; empty where it is allowed."""
        kind, _, name = what.partition("/")
        path = f"/api/v1/nodes/{name}" if kind == "node" else f"/api/v1/namespaces/default/pods/{name}"
        return self._call(token, "PATCH", path + "/status" * status, patch)

    def create(self, token: str, secret: Json) -> str:
        """The refusal; empty where it is allowed."""
        return self._call(token, "POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)

    def _call(self, token: str, method: str, path: str, body: Json) -> str:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"{apiserver.address(self.kubeconfig)}{path}?dryRun=All",
            method=method,
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind},
        )
        trusted = ssl.create_default_context(cafile=str(apiserver.authority(self.kubeconfig)))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trusted):
                return ""
        except urllib.error.HTTPError as error:
            return str(json.load(error)["message"])


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path, defaults: Rendered) -> Iterator[Cluster]:
    """With the accounts, rights and policies of the chart."""
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)
    rights = yaml.safe_dump_all(item for item in defaults.documents if item["kind"] in KINDS)
    people = [account("default"), account(NAMESPACE), node("node-a"), node("node-b")]
    pods = [pod("on-a", "default", "node-a"), pod("on-b", "default", "node-b"), lowered("lowered", "node-a")]
    agent = pod("agent", NAMESPACE, "node-a", names.ACCOUNT_NODE_AGENT)
    for text in (rights, yaml.safe_dump_all(people), yaml.safe_dump_all([*pods, agent])):
        done = kubectl(kubeconfig, "apply", "-f", "-", text=text)
        assert done.returncode == 0, done.stderr
    made = Cluster(kubeconfig)
    until_in_force(made)
    yield made
    for text in (yaml.safe_dump_all([*pods, agent]), yaml.safe_dump_all(people[2:]), rights):
        kubectl(kubeconfig, "delete", "--ignore-not-found", "--force", "--grace-period=0", "-f", "-", text=text)


def until_in_force(cluster: Cluster) -> None:
    """The API server takes a moment to learn of a policy."""
    agent, webhook = cluster.token(names.ACCOUNT_NODE_AGENT), cluster.token("unigpu-webhook")
    deadline = time.monotonic() + PATIENCE
    while True:
        said = [
            cluster.patch(agent, "node/node-a", LABELS),
            cluster.patch(agent, "pod/on-a", LABELS, status=True),
            cluster.create(webhook, secret(name="other")),
        ]
        if all("ValidatingAdmissionPolicy" in one for one in said):
            return
        assert time.monotonic() < deadline, said


@pytest.fixture(scope="module")
def agent(cluster: Cluster) -> str:
    """The token of the node agent on node-a."""
    return cluster.token(names.ACCOUNT_NODE_AGENT, of_pod="agent")


def annotations(**changed: str | None) -> Json:
    return {"metadata": {"annotations": changed}}


INVENTORY = {"metadata": {"annotations": {names.ANNOTATION_INVENTORY: "[]"}}}
CAPACITY = {"status": {"capacity": {names.RESOURCE_MEMORY: "1"}, "allocatable": {names.RESOURCE_MEMORY: "1"}}}
GIVEN_BACK = {"metadata": {"annotations": {names.ANNOTATION_LIMITS: None, names.ANNOTATION_LOWERED: None}}}
APPLIED = {"metadata": {"annotations": {names.ANNOTATION_LIMITS_APPLIED: "{}"}}}
LABELS = {"metadata": {"labels": {"owner": "attacker"}}}
OWNERS = {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]}}


@pytest.mark.parametrize(
    ("what", "patch", "status"),
    [
        ("node/node-a", INVENTORY, False),
        ("node/node-a", {"metadata": {"annotations": {names.ANNOTATION_INVENTORY: None}}}, False),
        ("node/node-a", CAPACITY, True),
        ("pod/on-a", APPLIED, True),
        ("pod/on-a", {"metadata": {"annotations": {names.ANNOTATION_LIMITS_APPLIED: None}}}, True),
        ("pod/on-a", {"metadata": {"annotations": {names.ANNOTATION_LIMITS: "{}"}}}, True),
        ("pod/lowered", GIVEN_BACK, True),
    ],
)
def test_what_the_node_agent_writes(cluster: Cluster, agent: str, what: str, patch: Json, status: bool) -> None:
    assert cluster.patch(agent, what, patch, status=status) == ""
    unbound = cluster.token(names.ACCOUNT_NODE_AGENT)
    assert "its token names none" in cluster.patch(unbound, what, patch, status=status)


@pytest.mark.parametrize(
    ("what", "patch", "status", "says"),
    [
        ("node/node-b", INVENTORY, False, "writes only its own node, node-a"),
        ("node/node-b", CAPACITY, True, "writes only its own node, node-a"),
        ("node/node-a", LABELS, False, "labels, finalizers and owners"),
        ("node/node-a", LABELS, True, "labels, finalizers and owners"),
        ("node/node-a", {"metadata": {"finalizers": ["example.com/x"]}}, False, "labels, finalizers and owners"),
        ("node/node-a", OWNERS, False, "labels, finalizers and owners"),
        ("node/node-a", {"spec": {"unschedulable": True}}, False, "spec: "),
        ("node/node-a", {"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}, False, "spec: "),
        ("node/node-a", annotations(owner="attacker"), False, "only unigpu.dev/…"),
        ("node/node-a", annotations(owner=None), True, "only unigpu.dev/…"),
        (
            "node/node-a",
            {"status": {"addresses": [{"type": "InternalIP", "address": "10.9.9.9"}]}},
            True,
            "status.addresses",
        ),
        ("pod/on-b", APPLIED, True, "writes only the pods of its own node, node-a"),
        ("pod/on-a", LABELS, True, "labels, finalizers and owners"),
        ("pod/on-a", {"status": {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]}}, True, "status: "),
        ("pod/on-a", {"status": {"phase": "Failed"}}, True, "status: "),
        ("pod/on-a", annotations(owner="attacker"), True, "only unigpu.dev/limits-applied"),
        ("pod/on-a", annotations(owner=None), True, "only unigpu.dev/limits-applied"),
        (
            "pod/on-a",
            {"metadata": {"annotations": {names.ANNOTATION_ALLOCATION: "{}"}}},
            True,
            "only unigpu.dev/limits-applied, unigpu.dev/limits",
        ),
        ("pod/on-a", annotations(**{names.ANNOTATION_LOWERED: "{}"}), True, "only unigpu.dev/limits-applied"),
        ("pod/on-a", APPLIED, False, "cannot patch resource"),
    ],
)
def test_what_the_node_agents_token_cant_write(
    cluster: Cluster, agent: str, what: str, patch: Json, status: bool, says: str
) -> None:
    refused = cluster.patch(agent, what, patch, status=status)
    assert says in refused


def test_others_are_not_confined(cluster: Cluster) -> None:
    done = kubectl(cluster.kubeconfig, "label", "node", "node-b", "pool=x", "--dry-run=server")
    assert done.returncode == 0, done.stderr


def secret(name: str = names.SECRET_WEBHOOK_TLS, **fields: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": NAMESPACE},
    } | fields


def test_the_webhook_creates_its_own_secret_only(cluster: Cluster) -> None:
    token = cluster.token("unigpu-webhook")
    assert cluster.create(token, secret()) == ""
    of_the_agent = {"kubernetes.io/service-account.name": names.ACCOUNT_NODE_AGENT}
    stolen = {"name": names.SECRET_WEBHOOK_TLS, "namespace": NAMESPACE, "annotations": of_the_agent}
    for refused in (
        secret(name="other"),
        secret(metadata={"generateName": names.SECRET_WEBHOOK_TLS, "namespace": NAMESPACE}),
        secret(type="kubernetes.io/service-account-token", metadata=stolen),
    ):
        assert "unigpu's webhook creates only the Secret" in cluster.create(token, refused)


@pytest.mark.parametrize(
    ("account", "verb", "resource"),
    [
        ("unigpu-webhook", "get", "secrets/another"),
        ("unigpu-webhook", "update", "validatingwebhookconfigurations/unigpu-webhook"),
        ("unigpu-webhook", "patch", "validatingwebhookconfigurations/another"),
        ("unigpu-webhook", "patch", "pods"),
        ("unigpu-webhook", "patch", "nodes"),
        ("unigpu-scheduler", "get", "secrets"),
        ("unigpu-node-agent", "get", "secrets"),
        ("unigpu-node-agent", "create", "pods"),
        ("unigpu-node-agent", "delete", "nodes"),
        ("unigpu-node-agent", "update", "nodes"),
        ("unigpu-node-agent", "create", "serviceaccounts/token"),
        ("unigpu-node-agent", "create", "pods/exec"),
    ],
)
def test_what_no_rule_gives(cluster: Cluster, account: str, verb: str, resource: str) -> None:
    plain, _, part = resource.partition("/")
    asked = [plain, "--subresource", part] if part in ("exec", "token") else [resource]
    user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    done = kubectl(cluster.kubeconfig, "auth", "can-i", verb, *asked, user, "--namespace", NAMESPACE)
    assert done.stdout.strip() == "no"
