"""`kubectl unigpu doctor`: what each check finds, and what it says to do."""

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli.doctor import check, command, read
from cli.doctor.check import Finding, Level, Unread
from cli.doctor.evidence import Evidence, Pods
from cli.status import view
from cli.text import Style
from tests.unit.cli.objects import gpu, metadata, node, share
from unigpu import names, walls
from unigpu.gpus import Fault, Gpu
from unigpu.walls import Wall, Walls

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Json = dict[str, Any]


def certificate(days: int) -> str:
    """A certificate in base64 that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    end = NOW + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=365), end)
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)).decode()


GOOD = certificate(300)


def advice() -> Json:
    (hook,) = hooks("Ignore")["webhooks"]
    return {"webhooks": [*hooks()["webhooks"], hook | {"name": names.WEBHOOK_ADVICE}]}


def hooks(policy: str = "Fail", bundle: str = GOOD) -> Json:
    config = {"service": {}, "caBundle": bundle} if bundle else {"service": {}}
    selector = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "x"]}
    return {
        "webhooks": [
            {
                "name": "translate.unigpu.dev",
                "failurePolicy": policy,
                "clientConfig": config,
                "namespaceSelector": {"matchExpressions": [selector]},
            }
        ]
    }


def part(component: str, on: str, *, ready: bool = True, image: str = "unigpu:1") -> Json:
    return {
        "metadata": {"name": f"{component}-{on}", "labels": {names.LABEL_COMPONENT: component}},
        "spec": {"nodeName": on, "containers": [{"name": "main", "image": image}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def deployment(ready: int, replicas: int = 2) -> Json:
    about = {"name": "unigpu-webhook", "namespace": "unigpu-system"}
    return {"metadata": about, "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def gpu_node(name: str, *found: Gpu, labels: dict[str, str] | None = None, **capacity: str) -> Json:
    healthy = [one for one in found if one.healthy]
    amounts = {
        names.RESOURCE_MEMORY: str(sum(one.memory for one in healthy)),
        names.RESOURCE_CORES: str(100 * len(healthy)),
        names.RESOURCE_VGPU: str(16 * len(found)),
    } | {key.replace("__", "/").replace("_", "."): value for key, value in capacity.items()}
    document = dict(node(name, *found, labels=labels).metadata)
    return {"metadata": document, "status": {"capacity": amounts, "allocatable": amounts}}


def walled(found: Walls | str, name: str = "n1") -> Json:
    document = gpu_node(name, gpu())
    text = found if isinstance(found, str) else walls.dump(found)
    document["metadata"]["annotations"] = {**document["metadata"]["annotations"], names.ANNOTATION_WALLS: text}
    return document


def endpoints(*ready: bool) -> list[Json]:
    return [{"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": one}} for one in ready]}]


PARTS = [part("webhook", "n0"), part("node-agent", "n1")]
NODES = [gpu_node("n1", gpu()), {"metadata": {"name": "cpu"}}]
VIEW = view.view([node("n1", gpu())], [metadata("p", share())])
SOUND = Evidence(
    now=NOW,
    namespace="unigpu-system",
    version={"gitVersion": "v1.36.0"},
    mutating=hooks(),
    validating=advice(),
    slices=endpoints(True),
    secret={"data": {"tls.crt": GOOD}},
    deployments=[deployment(2)],
    parts=PARTS,
    nodes=NODES,
    quotas=[{"spec": {"hard": {"requests.unigpu.dev/vgpu": "1"}}}],
    limit_ranges=[],
    pods=Pods([], VIEW),
)


def findings(**changes: Any) -> list[Finding]:
    return list(command.examine(dataclasses.replace(SOUND, **changes)))


def test_a_sound_cluster() -> None:
    found = findings()
    assert [one for one in found if one.level is not Level.OK] == []
    assert check.worst(found) is Level.OK
    lines = list(check.lines(found, Style(80)))
    assert lines[-1] == f"{len(found)} ok, 0 warnings, 0 failures" and max(map(len, lines)) <= 80


QUOTA = {
    "metadata": {"name": "q", "namespace": "team"},
    "spec": {"hard": {"requests.aliyun.com/gpu-mem": "1", "limits.nvidia.com/gpumem": "2"}},
}
RANGE = {"metadata": {"name": "r", "namespace": "team"}, "spec": {"limits": [{"max": {"nvidia.com/gpumem": "1"}}]}}
REQUESTS = {"metadata": QUOTA["metadata"], "spec": {"hard": {"requests.aliyun.com/gpu-mem": "1"}}}
BOTH = {
    "metadata": QUOTA["metadata"],
    "spec": {"hard": {"requests.aliyun.com/gpu-mem": "1", "requests.unigpu.dev/memory": "1024"}},
}
DEFAULT = {
    "metadata": RANGE["metadata"],
    "spec": {"limits": [{"max": {"nvidia.com/gpumem": "1"}, "default": {"nvidia.com/gpumem": "1"}}]},
}
REPLACING = deployment(2)
REPLACING["spec"]["template"] = {"spec": {"containers": [{"args": ["--vendor-resources=replace"]}]}}
OVER = view.view([node("n1", gpu(memory=1000))], [metadata("p", share(900)), metadata("q", share(900))])
BLIND = walled(Walls({Wall.COMPARISON: "it has no --proc-root"}))
BAD_WALLS = walled("?")
SICK = gpu(healthy=False, fault=Fault("XID 79", "", ""))


@pytest.mark.parametrize(
    ("changes", "where", "level", "text"),
    [
        ({"version": {"gitVersion": "v1.28.9"}}, "API server", "fail", "version v1.28.9"),
        ({"version": {"gitVersion": "?"}}, "API server", "warn", "can't be read"),
        ({"deployments": []}, "control plane", "fail", "namespace unigpu-system has no webhook"),
        ({"deployments": [deployment(0)]}, "control plane", "fail", "unigpu-webhook (0 of 2 ready)"),
        ({"deployments": [deployment(1)]}, "control plane", "warn", "replicas missing"),
        ({"parts": [*PARTS, part("webhook", "n2", image="unigpu:2")]}, "versions", "warn", "2 images"),
        ({"mutating": None}, "mutating webhook", "fail", "pods of vendors aren't translated"),
        ({"validating": None}, "validating webhook", "fail", "nothing protects"),
        ({"mutating": {"webhooks": []}}, "mutating webhook", "fail", "no webhooks"),
        ({"mutating": hooks("Ignore")}, "mutating webhook", "warn", "failurePolicy Ignore in translate.unigpu.dev"),
        ({"validating": hooks(bundle="")}, "validating webhook", "fail", "no caBundle in translate.unigpu.dev"),
        ({"slices": endpoints(False)}, "webhook service", "fail", "no ready endpoint"),
        ({"slices": []}, "webhook service", "fail", "no ready endpoint"),
        ({"secret": {"data": {"tls.crt": certificate(3)}}}, "certificate", "warn", "expires on 2026-01-04"),
        ({"secret": {"data": {"tls.crt": certificate(-1)}}}, "certificate", "fail", "expired on 2025-12-31"),
        ({"secret": {"data": {"tls.crt": "?"}}}, "certificate", "fail", "can't be read"),
        ({"secret": None}, "certificate", "warn", "doesn't exist"),
        ({"mutating": hooks(bundle=certificate(-1))}, "caBundle", "fail", "expired on"),
        ({"parts": [part("webhook", "n0")]}, "node agents", "fail", "1 of 1 GPU nodes have none: n1"),
        ({"parts": [part("webhook", "n0")]}, "inventory", "warn", "nobody keeps the inventory current on n1"),
        ({"parts": [part("node-agent", "n1", ready=False)]}, "node agents", "fail", "not ready on n1"),
        ({"parts": [], "nodes": []}, "node agents", "fail", "no node has a node agent"),
        ({"nodes": [{"metadata": {"name": "n1"}}]}, "inventory", "fail", "has published no GPUs on n1"),
        (
            {"nodes": [{"metadata": {"name": "n1", "annotations": {names.ANNOTATION_INVENTORY: "?"}}}]},
            "inventory",
            "fail",
            "n1: inventory annotation can't be read",
        ),
        (
            {"nodes": [*NODES, gpu_node("n2", labels={"nvidia.com/gpu.present": "true"})]},
            "node agents",
            "fail",
            "have none: n2",
        ),
        ({"nodes": [gpu_node("n1", gpu(), unigpu_dev__memory="1k")]}, "capacity", "fail", "unigpu.dev/memory = 1000"),
        ({"nodes": [gpu_node("n1", gpu(), unigpu_dev__vgpu="0")]}, "capacity", "fail", "offers no unigpu.dev/vgpu"),
        ({"nodes": [gpu_node("n1", SICK)]}, "GPUs", "fail", "unhealthy: GPU 0 of n1 (XID 79)"),
        ({"nodes": [gpu_node("n1", gpu(), nvidia_com__gpu="8")]}, "other plugins", "fail", "n1 (nvidia.com/gpu = 8)"),
        ({"nodes": [BLIND]}, "walls", "warn", "on n1: it has no --proc-root"),
        ({"nodes": [BAD_WALLS]}, "walls", "warn", "n1: walls annotation can't be read"),
        ({"quotas": [QUOTA]}, "quotas", "warn", "counts nowhere, because of extended resources it counts requests"),
        ({"quotas": [REQUESTS]}, "quotas", "warn", "which count only pods that are written so, and no others: team/q"),
        ({"quotas": [BOTH]}, "quotas", "ok", "all count what their author meant"),
        ({"quotas": [BOTH], "deployments": [REPLACING]}, "quotas", "warn", "because the webhook replaces them"),
        ({"limit_ranges": [RANGE]}, "limit ranges", "ok", "1 on vendors' names, which hold"),
        ({"limit_ranges": [DEFAULT]}, "limit ranges", "warn", "every container there gets a share of a GPU"),
        ({"limit_ranges": [RANGE], "deployments": [REPLACING]}, "limit ranges", "warn", "team/r (nvidia.com/gpumem)"),
        (
            {"pods": Pods([("team/p", "nvidia.com/gpumem")], VIEW)},
            "pods",
            "fail",
            "team/p (nvidia.com/gpumem)",
        ),
        ({"pods": Pods([], OVER)}, "grants", "fail", "more is granted than there is on GPU 0 of n1"),
    ],
)
def test_what_it_finds(changes: Json, where: str, level: str, text: str) -> None:
    found = findings(**changes)
    (one,) = [one for one in found if one.check == where and one.level == level]
    assert text in one.text and (level == "ok" or one.help)


def test_the_walls_of_nodes() -> None:
    nodes = [walled(Walls()), walled(Walls({Wall.DRIVER: "the driver is too old"}), "n2")]
    (one,) = [one for one in findings(nodes=nodes) if one.check == "walls"]
    assert one.level is Level.OK
    assert "driver on 1 of 2 nodes" in one.text
    assert "(n2: the driver is too old)" in one.text


@pytest.mark.parametrize(
    "field",
    [
        "version",
        "mutating",
        "validating",
        "slices",
        "secret",
        "deployments",
        "parts",
        "nodes",
        "quotas",
        "limit_ranges",
        "pods",
    ],
)
def test_what_may_not_be_read_is_a_warning(field: str) -> None:
    found = findings(**{field: Unread("forbidden to x")})
    warnings = [one for one in found if one.level is not Level.OK]
    assert warnings and all(one.level is Level.WARN and "forbidden to x" in one.text for one in warnings)


def test_the_exit_status_is_the_worst_finding() -> None:
    assert [check.STATUS[check.worst(findings(**one))] for one in ({}, {"secret": None}, {"mutating": None})] == [
        0,
        1,
        2,
    ]


def test_the_document() -> None:
    made = check.document(findings(secret=None))
    assert (made["apiVersion"], made["level"]) == ("unigpu.dev/doctor/v1", "warn")
    one = next(one for one in made["checks"] if one["check"] == "certificate")
    assert set(one) == {"check", "level", "text", "help"}


def test_namespaces_that_the_webhook_leaves_out() -> None:
    assert read.excluded(hooks()) == {"kube-system", "x"}
    assert read.excluded(None) == read.excluded(Unread("")) == {"kube-system"}
