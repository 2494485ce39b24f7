"""Helm and a real API server: what is rendered is taken, and an upgrade keeps what the webhook wrote at run time."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.apiserver import TOKEN, address, authority, kubectl
from tests.chart.rendering import CHART, EVERY_OPTION, NAMESPACE, helm
from unigpu import names

BUNDLE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n").decode()
RENEWED = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----\n").decode()
KINDS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
POLICIES = "validatingadmissionpolicy,validatingadmissionpolicybinding"


@pytest.fixture(scope="module")
def installed(kubeconfig: Path) -> Iterator[Path]:
    """The chart with its defaults; uninstalled after all tests, which must leave nothing cluster-wide."""
    upgrade(kubeconfig)
    yield kubeconfig
    # Tests of other files look at the same server.
    kubectl(kubeconfig, "delete", "pods", "--all", "--namespace=default", "--force", "--grace-period=0")
    # Nothing here runs the pod of a hook; test_jobs.py does.
    done = helm("uninstall", "release", "--kubeconfig", kubeconfig, "--namespace", NAMESPACE, "--no-hooks")
    assert done.returncode == 0, done.stderr
    left = kubectl(kubeconfig, "get", f"{','.join(KINDS)},{POLICIES},clusterrole,clusterrolebinding", "-o", "name")
    assert left.returncode == 0, left.stderr
    assert [line for line in left.stdout.splitlines() if "unigpu" in line] == []


def upgrade(kubeconfig: Path, *arguments: str) -> None:
    done = helm(
        *("upgrade", "--install", "release", CHART, "--kubeconfig", kubeconfig),
        *("--namespace", NAMESPACE, "--create-namespace", *arguments),
    )
    assert done.returncode == 0, done.stderr


def webhooks(kubeconfig: Path, kind: str) -> list[dict[str, Any]]:
    done = kubectl(kubeconfig, "get", kind, names.WEBHOOK_CONFIGURATION, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["webhooks"]
    return found


def bundles(kubeconfig: Path) -> set[str | None]:
    return {entry["clientConfig"].get("caBundle") for kind in KINDS for entry in webhooks(kubeconfig, kind)}


def write_bundle(kubeconfig: Path, bundle: str) -> None:
    """As the webhook does."""
    for kind in KINDS:
        patch = [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
            for index in range(len(webhooks(kubeconfig, kind)))
        ]
        done = kubectl(
            kubeconfig, "patch", kind, names.WEBHOOK_CONFIGURATION, "--type=json", f"--patch={json.dumps(patch)}"
        )
        assert done.returncode == 0, done.stderr


def test_an_upgrade_keeps_the_ca_bundle(installed: Path) -> None:
    assert bundles(installed) == {None}
    # The second time Helm itself has written the field: a renewed certificate, and an upgrade after it.
    for seconds, bundle in ((7, BUNDLE), (8, RENEWED)):
        write_bundle(installed, bundle)
        upgrade(installed, "--set", f"webhook.timeoutSeconds={seconds}")
        assert bundles(installed) == {bundle}
        assert {entry["timeoutSeconds"] for kind in KINDS for entry in webhooks(installed, kind)} == {seconds}


def pod(name: str, limits: dict[str, str], annotations: dict[str, str] | None = None) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
            "spec": {"containers": [{"name": "main", "image": "x", "resources": {"limits": limits}}]},
        }
    )


@pytest.mark.parametrize(
    ("limits", "annotations", "asked"),
    [
        ({"cpu": "1"}, {}, False),
        ({}, {"owner": "somebody"}, False),
        ({"aliyun.com/gpu-mem": "3"}, {}, True),
        ({"tencent.com/vcuda-core": "50"}, {}, True),
        ({"nvidia.com/gpu": "1"}, {}, True),
        ({names.RESOURCE_VGPU: "1"}, {}, True),
        ({}, {names.ANNOTATION_ALLOCATION: "{}"}, True),
    ],
)
def test_a_webhook_that_is_down_holds_up_gpu_pods_only(
    installed: Path, limits: dict[str, str], annotations: dict[str, str], asked: bool
) -> None:
    account = kubectl(installed, "create", "serviceaccount", "default", "--namespace=default")
    assert account.returncode == 0 or "already exists" in account.stderr
    done = kubectl(installed, "create", "--dry-run=server", "-f", "-", text=pod("one", limits, annotations))
    assert (done.returncode != 0) == asked, done.stderr
    if asked:
        assert f"translate.{names.DOMAIN}" in done.stderr


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, False),
        ({"terminationMessagePath": "/dev/termination-log"}, False),
        ({"volumeMounts": [{"name": "v", "mountPath": "/proc/1/root/etc"}]}, True),
        ({"terminationMessagePath": "/etc/ld.so.preload"}, True),
    ],
)
@pytest.mark.parametrize("translated", [True, False])
def test_an_ephemeral_container_is_reviewed_only_if_it_mounts_something(
    installed: Path, more: dict[str, Any], asked: bool, translated: bool
) -> None:
    name = "translated" if translated else "plain"
    kubectl(installed, "create", "serviceaccount", "default", "--namespace=default")
    document = json.loads(pod(name, {}, {names.ANNOTATION_REQUEST: "{}"} if translated else {}))
    document["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    if kubectl(installed, "get", "pod", name).returncode:
        # As a webhook that answers would have let it pass.
        assert kubectl(installed, "delete", ",".join(KINDS), names.WEBHOOK_CONFIGURATION).returncode == 0
        created = kubectl(installed, "create", "-f", "-", text=json.dumps(document))
        assert created.returncode == 0, created.stderr
        upgrade(installed)
    patch = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "x", **more}]}}
    refused = add_ephemeral(installed, name, patch)
    assert (f"protect.{names.DOMAIN}" in refused) == (asked and translated), refused


def add_ephemeral(kubeconfig: Path, name: str, patch: dict[str, Any]) -> str:
    """Try it as `kubectl debug` does; the refusal, empty where it is allowed."""
    request = urllib.request.Request(
        f"{address(kubeconfig)}/api/v1/namespaces/default/pods/{name}/ephemeralcontainers?dryRun=All",
        method="PATCH",
        data=json.dumps(patch).encode(),
        headers={
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/strategic-merge-patch+json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(authority(kubeconfig)))
    try:
        with urllib.request.urlopen(request, timeout=30, context=trusted):
            return ""
    except urllib.error.HTTPError as error:
        return str(json.load(error)["message"])


def test_every_option_is_taken_by_the_server(installed: Path) -> None:
    # What needs definitions of other projects' resources is left out.
    others = ("webhook.certManager", "monitoring.podMonitor", "monitoring.prometheusRule")
    settings = [word for other in others for word in ("--set", f"{other}.enabled=false")]
    made = helm(
        "template", "release", CHART, "--namespace", NAMESPACE, "--values", EVERY_OPTION, "--skip-tests", *settings
    )
    assert made.returncode == 0, made.stderr
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "--dry-run=server", "-f", "-")
    done = kubectl(installed, *apply, text=made.stdout)
    assert done.returncode == 0, done.stderr
    assert "daemonset.apps/unigpu-node-agent" in done.stdout


def test_an_older_cluster_is_refused_with_a_sentence() -> None:
    done = helm("template", "release", CHART, "--kube-version", "v1.28.9")
    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.29.0-0 which is incompatible with Kubernetes v1.28.9" in done.stderr
