"""Admission as the API server asks for it: vendors' manifests, forgeries, quota, and a namespace's own rules."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.kube import CommandFailed, Kube, wait_for
from unigpu import findings, names
from webhook import review
from webhook.options import Options

MANIFESTS = sorted((Path(__file__).parents[2] / "examples" / "manifests").glob("*.yaml"))
NUMBERS = itertools.count()


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """One for each test, so that nobody waits until the last one has been taken apart."""
    name = f"admission-{next(NUMBERS)}"
    kube.namespace(name)
    yield name
    kube.run("delete", "pods", "--all", "-n", name, "--grace-period=1", "--wait=false")
    kube.run("delete", "namespace", name, "--wait=false")


def pods(path: Path) -> list[dict[str, Any]]:
    """The pods that a manifest's controllers would make."""
    made = []
    for document in yaml.safe_load_all(path.read_text()):
        template = document if document["kind"] == "Pod" else document["spec"]["template"]
        metadata = {**template["metadata"], "name": document["metadata"]["name"]}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return made


def create(kube: Kube, namespace: str, pod: dict[str, Any], *options: str) -> dict[str, Any]:
    """The pod as the API server has it."""
    text = kube.run("create", "-n", namespace, "-f", "-", "-o", "json", *options, stdin=json.dumps(pod))
    created: dict[str, Any] = json.loads(text)
    return created


def share(memory: str, name: str = "p", **annotations: str) -> dict[str, Any]:
    container = {"name": "c", "image": "none", "resources": {"limits": {"aliyun.com/gpu-mem": memory}}}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_cluster_and_the_offline_translator_say_the_same(kube: Kube, namespace: str, path: Path) -> None:
    for pod in pods(path):
        decision = review.decide(pod, Options())
        if decision.translation.problems:
            with pytest.raises(CommandFailed) as refused:
                create(kube, namespace, pod, "--dry-run=server")
            assert findings.message(decision.translation.problems) in refused.value.told
            continue
        created = create(kube, namespace, pod, "--dry-run=server")
        assert created["spec"]["schedulerName"] == names.SCHEDULER_NAME
        (text,) = [step["value"] for step in decision.patch if "annotations" in step["path"]]
        expected = text if isinstance(text, str) else text[names.ANNOTATION_REQUEST]
        assert created["metadata"]["annotations"][names.ANNOTATION_REQUEST] == expected
        assert created["spec"].get("nodeSelector") == pod["spec"].get("nodeSelector")
        for container in created["spec"]["containers"]:
            assert set(container["resources"]["limits"]) <= set(names.UNIFIED_RESOURCES)


@pytest.mark.parametrize("annotation", [names.ANNOTATION_REQUEST, names.ANNOTATION_ALLOCATION])
def test_what_only_the_platform_writes_cant_be_forged(kube: Kube, namespace: str, annotation: str) -> None:
    with pytest.raises(CommandFailed, match=annotation):
        create(kube, namespace, share("1", **{annotation: "{}"}))
    create(kube, namespace, share("1"))
    for change in (f"{annotation}=x", f"{annotation}-"):
        if annotation == names.ANNOTATION_ALLOCATION and change.endswith("-"):
            continue  # there is none yet to take away
        with pytest.raises(CommandFailed, match="only unigpu may change it"):
            kube.run("annotate", "pod", "-n", namespace, "p", change, "--overwrite")
    with pytest.raises(CommandFailed, match="only unigpu may change it"):
        patch = json.dumps({"metadata": {"annotations": {annotation: "x"}}})
        kube.run("patch", "pod", "-n", namespace, "p", "--subresource=status", "--type=merge", "-p", patch)
    kube.run("annotate", "pod", "-n", namespace, "p", "mine=x")


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
    (other,) = pods(MANIFESTS[10])
    with pytest.raises(CommandFailed, match="exceeded quota"):
        create(kube, namespace, other)


def test_a_namespaces_rules_hold(kube: Kube, namespace: str) -> None:
    kube.run("annotate", "namespace", namespace, f"{names.ANNOTATION_LARGEST_MEMORY}=2Gi")

    def refused() -> str | None:
        try:
            create(kube, namespace, share("3"), "--dry-run=server")
        except CommandFailed as error:
            return error.told
        return None

    assert "memory = 3072 MiB" in wait_for("the webhook has seen the annotation", refused, 60)
    create(kube, namespace, share("2"), "--dry-run=server")
