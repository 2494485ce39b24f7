"""Forged annotations: every way by which a pod's author, or a node, could write what only unigpu may say."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from demo.kube import CommandFailed, Kube, wait_for
from unigpu import names
from webhook.translation import decision

NAMESPACE = "forgeries"
AUTHOR = "--as=alice"
"""Somebody who may do everything in the namespace."""
PATIENCE = 120.0
OURS = decision.PROTECTED
VICTIM, PENDING = "victim", "pending"
DROPPED = tuple(decision.PLATFORM_ONLY)
"""Those that a new pod may bring along as the copy of another: they are dropped."""
TAKE_AWAY = "patch (take away)"
CREATE = ("create", "create, with a share")
Tell = Callable[[str], None]


def pod(name: str, annotations: dict[str, str], limits: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "none", "imagePullPolicy": "Never", "resources": {"limits": limits or {}}}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


@dataclass(frozen=True, slots=True)
class Place:
    """Where forgeries are tried."""

    kube: Kube
    node: str

    def run(self, *arguments: str, body: object = None) -> str:
        """kubectl in the namespace, as the author."""
        text = json.dumps(body) if body is not None else None
        return self.kube.run(*arguments, "-n", NAMESPACE, AUTHOR, stdin=text)

    def notes(self, name: str) -> dict[str, str]:
        """The platform's annotations of a pod."""
        found = self.kube.json("get", "pod", name, "-n", NAMESPACE)["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if key in OURS}

    def patch(self, annotation: str, value: str | None, *more: str) -> str:
        """A merge patch of the victim's annotation."""
        change = json.dumps({"metadata": {"annotations": {annotation: value}}})
        return self.run("patch", "pod", VICTIM, "--type=merge", "-p", change, *more)

    def bind(self, annotation: str, name: str, path: str) -> str:
        """A binding that brings the annotation."""
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        metadata = {"name": name, "namespace": NAMESPACE, "annotations": {annotation: "{}"}}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        folder = f"/api/v1/namespaces/{NAMESPACE}/{path}"
        return self.kube.run("create", "--raw", folder, "-f", "-", AUTHOR, stdin=json.dumps(binding))

    def replace(self, annotation: str) -> str:
        """The victim whole, with another value in the annotation."""
        return self.run("replace", "-f", "-", body=self._forged(annotation))

    def report(self, annotation: str) -> str:
        """The victim's status, as its node writes it, with another value in the annotation."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{VICTIM}/status"
        node = (f"--as=system:node:{self.node}", "--as-group=system:nodes")
        return self.kube.run("replace", "--raw", path, "-f", "-", *node, stdin=json.dumps(self._forged(annotation)))

    def _forged(self, annotation: str) -> dict[str, Any]:
        document: dict[str, Any] = self.kube.json("get", "pod", VICTIM, "-n", NAMESPACE)
        document["metadata"]["annotations"][annotation] = "{}"
        return document

    def apply(self, annotation: str) -> str:
        """Server-side apply of the annotation alone."""
        metadata = {"name": VICTIM, "annotations": {annotation: "{}"}}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        return self.run("apply", "--server-side", "--force-conflicts", "-f", "-", body=document)


ATTEMPTS: dict[str, Callable[[Place, str], str]] = {
    "create": lambda at, note: at.run("create", "-f", "-", body=pod("forged", {note: "{}"})),
    "create, with a share": lambda at, note: at.run(
        "create", "-f", "-", body=pod("forged", {note: "{}"}, {"aliyun.com/gpu-mem": "1"})
    ),
    "update (annotate)": lambda at, note: at.run("annotate", "pod", VICTIM, f"{note}={{}}", "--overwrite"),
    "update (replace)": Place.replace,
    "patch (merge)": lambda at, note: at.patch(note, "{}"),
    TAKE_AWAY: lambda at, note: at.patch(note, None),
    "patch (server-side apply)": Place.apply,
    "pods/status": lambda at, note: at.patch(note, "{}", "--subresource=status"),
    "pods/status, as its node": Place.report,
    "pods/binding": lambda at, note: at.bind(note, PENDING, f"pods/{PENDING}/binding"),
    "bindings": lambda at, note: at.bind(note, PENDING, "bindings"),
    "pods/binding of a pod without GPUs": lambda at, note: at.bind(note, "plain", "pods/plain/binding"),
}
SILENT: dict[str, Callable[[Place, str], str]] = {
    "pods/resize": lambda at, note: at.patch(note, "{}", "--subresource=resize"),
}
"""Where the API server itself leaves annotations out: nothing is refused, and nothing changes."""


def cases() -> Iterator[tuple[str, str]]:
    """Every attempt with each annotation that is refused; what the victim hasn't can't be taken away."""
    for attempt in ATTEMPTS:
        yield from (
            (attempt, annotation)
            for annotation in OURS
            if (attempt != TAKE_AWAY or annotation in (names.ANNOTATION_REQUEST, names.ANNOTATION_ALLOCATION))
            and (attempt not in CREATE or annotation not in DROPPED)
        )


@pytest.fixture(scope="module")
def place(kube: Kube) -> Iterator[Place]:
    """A namespace whose author may do everything in it, with a pod that has its GPUs and two that wait."""
    kube.namespace(NAMESPACE)
    role = ("create", "rolebinding", "author", "--clusterrole=cluster-admin", "--user=alice", "-n", NAMESPACE)
    kube.run(*role)
    nowhere = {"nodeSelector": {"is": "nowhere"}}
    for document in (
        pod(VICTIM, {}, {"aliyun.com/gpu-mem": "1"}),
        pod(PENDING, {}, {"aliyun.com/gpu-mem": "1"}, **nowhere),
        pod("plain", {}, schedulerName="nobody"),
    ):
        kube.run("create", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(document))
    (node,) = (item["metadata"]["name"] for item in kube.json("get", "nodes")["items"])
    made = Place(kube, node)
    wait_for("the scheduler's own binding passes", lambda: names.ANNOTATION_ALLOCATION in made.notes(VICTIM), PATIENCE)
    yield made
    kube.run("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(("attempt", "annotation"), list(cases()))
def test_a_forgery_is_refused(place: Place, tell: Tell, attempt: str, annotation: str) -> None:
    before = {name: place.notes(name) for name in (VICTIM, PENDING, "plain")}
    with pytest.raises(CommandFailed) as refused:
        ATTEMPTS[attempt](place, annotation)
    told = refused.value.stderr
    assert annotation in told and "unigpu.dev" in told and "denied the request" in told, told
    assert {name: place.notes(name) for name in (VICTIM, PENDING, "plain")} == before
    tell(f"{annotation:21} {attempt:36} refused: {told.rpartition('denied the request: ')[2]}")


@pytest.mark.parametrize("annotation", OURS)
@pytest.mark.parametrize("attempt", SILENT)
def test_a_forgery_is_without_effect(place: Place, tell: Tell, attempt: str, annotation: str) -> None:
    before = place.notes(VICTIM)
    SILENT[attempt](place, annotation)
    assert place.notes(VICTIM) == before
    tell(f"{annotation:21} {attempt:36} without effect")


@pytest.mark.parametrize("annotation", DROPPED)
@pytest.mark.parametrize("share", [{}, {"aliyun.com/gpu-mem": "1"}], ids=["plain", "with a share"])
def test_a_new_pod_doesnt_have_it(place: Place, tell: Tell, share: dict[str, str], annotation: str) -> None:
    """The pod waits for a node that isn't there, so that only admission has written its annotations."""
    body = pod("forged", {annotation: "{}"}, share, nodeSelector={"is": "nowhere"})
    try:
        place.run("create", "-f", "-", body=body)
        assert annotation not in place.notes("forged")
        assert (names.ANNOTATION_REQUEST in place.notes("forged")) is bool(share)
    finally:
        place.run("delete", "pod", "forged", "--ignore-not-found", "--now")
    tell(f"{annotation:21} {'create':36} dropped")


def test_a_running_pods_manifest_can_be_created_again(place: Place, tell: Tell) -> None:
    before = place.kube.json("get", "pod", VICTIM, "-n", NAMESPACE)
    again = {**before, "metadata": {"name": "again", "annotations": before["metadata"]["annotations"]}}
    place.run("create", "-f", "-", body=again)
    wait_for("the copy is allocated", lambda: names.ANNOTATION_ALLOCATION in place.notes("again"), PATIENCE)
    created = place.kube.json("get", "pod", "again", "-n", NAMESPACE)
    resources = [item["spec"]["containers"][0]["resources"] for item in (before, created)]
    assert resources[0] == resources[1]
    assert place.notes("again")[names.ANNOTATION_REQUEST] == place.notes(VICTIM)[names.ANNOTATION_REQUEST]
    place.run("delete", "pod", "again", "--now")
    tell(f"{'':21} {'get -o yaml | create':36} runs again, with the same resources")


def test_a_controllers_template_makes_no_pod(place: Place, tell: Tell) -> None:
    annotation = names.ANNOTATION_REQUEST
    labels = {"forged": annotation.partition("/")[2]}
    name = f"by-controller-{labels['forged']}"
    template = pod(name, {annotation: "{}"})
    template["metadata"]["labels"] = labels
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": template["metadata"], "spec": template["spec"]},
    }
    place.run(
        *("create", "-f", "-"),
        body={"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec},
    )

    def why() -> str | None:
        selector = f"reason=FailedCreate,involvedObject.name={name}"
        events = place.kube.json("get", "events", "-n", NAMESPACE, "--field-selector", selector)["items"]
        return next((str(event["message"]) for event in events), None)

    told = wait_for("the controller's event says why", why, PATIENCE)
    assert annotation in told and "denied the request" in told
    assert not place.kube.items("pods", NAMESPACE, f"forged={labels['forged']}")
    tell(f"{annotation:21} {'ReplicaSet':36} refused: {told.rpartition('denied the request: ')[2]}")


def test_what_is_not_unigpus_can_be_changed(place: Place) -> None:
    place.run("annotate", "pod", VICTIM, "mine=x")
    target = {"apiVersion": "v1", "kind": "Node", "name": place.node}
    kind = {"apiVersion": "v1", "kind": "Pod"}
    other = {**pod("bound", {}, schedulerName="nobody"), **kind}
    place.run("create", "-f", "-", body=other)
    metadata = {"name": "bound", "annotations": {"mine": "x"}}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    folder = f"/api/v1/namespaces/{NAMESPACE}/pods/bound/binding"
    place.kube.run("create", "--raw", folder, "-f", "-", AUTHOR, stdin=json.dumps(binding))
    bound = place.kube.json("get", "pod", "bound", "-n", NAMESPACE)
    assert bound["metadata"]["annotations"]["mine"] == "x" and bound["spec"]["nodeName"] == place.node
