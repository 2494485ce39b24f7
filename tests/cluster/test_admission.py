"""Quota, and a namespace's own rules, as the API server holds them."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kube import CommandFailed, Kube, wait_for
from unigpu import names

NUMBERS = itertools.count()


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """One for each test, so that nobody waits until the last one has been taken apart."""
    name = f"admission-{next(NUMBERS)}"
    kube.namespace(name)
    yield name
    kube.run("delete", "pods", "--all", "-n", name, "--grace-period=1", "--wait=false")
    kube.run("delete", "namespace", name, "--wait=false")


def create(kube: Kube, namespace: str, pod: dict[str, Any], *options: str) -> dict[str, Any]:
    """The pod as the API server has it."""
    text = kube.run("create", "-n", namespace, "-f", "-", "-o", "json", *options, stdin=json.dumps(pod))
    created: dict[str, Any] = json.loads(text)
    return created


def share(memory: str, name: str = "p") -> dict[str, Any]:
    container = {"name": "c", "image": "none", "resources": {"limits": {"aliyun.com/gpu-mem": memory}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def test_quota_counts_every_dialect(kube: Kube, namespace: str) -> None:
    hard = {f"requests.{names.RESOURCE_MEMORY}": "4096"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    kube.apply([quota], namespace)
    wait_for(
        "the quota is counted",
        lambda: kube.json("get", "resourcequota", "-n", namespace, "q").get("status", {}).get("hard"),
        60,
    )
    create(kube, namespace, share("3"))
    other = share("1", "q")
    other["spec"]["containers"][0]["resources"]["limits"] = {
        "tencent.com/vcuda-core": "30",
        "tencent.com/vcuda-memory": "10",
    }
    with pytest.raises(CommandFailed, match="exceeded quota"):
        create(kube, namespace, other)


def test_a_namespaces_rules_hold(kube: Kube, namespace: str) -> None:
    kube.run("annotate", "namespace", namespace, f"{names.ANNOTATION_MAX_MEMORY}=2Gi")

    def refused() -> str | None:
        try:
            create(kube, namespace, share("3"), "--dry-run=server")
        except CommandFailed as error:
            return error.stderr
        return None

    assert "memory = 3072 MiB" in wait_for("the webhook has seen the annotation", refused, 60)
    create(kube, namespace, share("2"), "--dry-run=server")
