"""Each right of unigpu's accounts: what needs it, and that no other is given; verb by verb on a real API server."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.apiserver import kubectl
from tests.chart.rendering import NAMESPACE, Rendered, render
from unigpu import names

Right = tuple[str, str, str, str, str]
"""Account, where it holds (`` everywhere, else the release's namespace), resource with its group, name, verb."""
AGENT, WEBHOOK, SCHEDULER = names.ACCOUNT_NODE_AGENT, "unigpu-webhook", names.ACCOUNT_SCHEDULER
CONFIGURATIONS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
REGISTRATION = "admissionregistration.k8s.io"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


def needs(account: str, where: str, resource: str, name: str, **why: str) -> dict[Right, str]:
    return {(account, where, resource, name, verb): reason for verb, reason in why.items()}


NEEDED: dict[Right, str] = {
    **needs(AGENT, "", "pods", "", get="a pod that starts", list="pods of the node", watch="their changes"),
    **needs(AGENT, "", "pods/status", "", patch="annotation limits-applied"),
    **needs(AGENT, "", "events", "", create="limits, breaches, health"),
    **needs(AGENT, "", "nodes", "", get="after a patch", list="its node", watch="its labels", patch="annotations"),
    **needs(AGENT, "", "nodes/status", "", patch="capacity"),
    **needs(WEBHOOK, "", "namespaces", "", list="their rules", watch="their changes"),
    **needs(WEBHOOK, "", "nodes", "", list="the largest GPU", watch="changes"),
    **needs(WEBHOOK, "", "pods", "", get="a raise of limits", list="skipped pods"),
    **needs(WEBHOOK, "", "events", "", create="skipped pods"),
    **needs(WEBHOOK, NAMESPACE, "secrets", "", create="its own, which a policy names"),
    **needs(
        WEBHOOK,
        NAMESPACE,
        "secrets",
        names.SECRET_WEBHOOK_TLS,
        **dict.fromkeys(("get", "list", "watch"), "replicas share it"),
        update="renewal",
    ),
    **{
        right: reason
        for kind in CONFIGURATIONS
        for right, reason in needs(
            WEBHOOK,
            "",
            f"{kind}.{REGISTRATION}",
            names.WEBHOOK_CONFIGURATION,
            **dict.fromkeys(("get", "list", "watch"), "its CA bundle"),
            patch="its CA bundle",
        ).items()
    },
    **needs(SCHEDULER, "", "nodes", "", list="inventories", watch="changes"),
    **needs(SCHEDULER, "", "pods", "", get="a binding's outcome", list="bookings", watch="changes"),
    **needs(SCHEDULER, "", "pods/binding", "", create="binds"),
    **needs(SCHEDULER, "", "pods/status", "", patch="nominations, and limits of pods that make room"),
    **needs(SCHEDULER, "", "events", "", create="about pods that wait"),
    **needs(SCHEDULER, "", "poddisruptionbudgets.policy", "", list="victims", watch="victims"),
    **needs(SCHEDULER, NAMESPACE, "leases.coordination.k8s.io", "", create="leader election"),
    **needs(
        SCHEDULER,
        NAMESPACE,
        "leases.coordination.k8s.io",
        names.SCHEDULER_NAME,
        **dict.fromkeys(("get", "update", "patch"), "leader election"),
    ),
}
"""The scheduler's account has kube-scheduler's own roles besides, which Kubernetes defines."""


def rules(rendered: Rendered) -> set[Right]:
    """The rights in the chart's own roles."""
    found = set()
    roles = {
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item["rules"]
        for item in rendered.documents
        if item["kind"] in ("Role", "ClusterRole")
    }
    for binding in rendered.documents:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        where = binding["metadata"].get("namespace", "") if binding["kind"] == "RoleBinding" else ""
        role = binding["roleRef"]
        key = (role["kind"], where if role["kind"] == "Role" else "", role["name"])
        for rule, subject in itertools.product(roles.get(key, ()), binding["subjects"]):
            if subject["name"] not in (AGENT, WEBHOOK, SCHEDULER):
                continue
            for group, resource, name, verb in itertools.product(
                rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""]), rule["verbs"]
            ):
                found.add((subject["name"], where, f"{resource}.{group}" if group else resource, name, verb))
    return found


def test_every_rule_is_needed_and_none_is_missing(defaults: Rendered) -> None:
    assert rules(defaults) == set(NEEDED)
    assert rules(render(values={"limits.shrinkBeforeEvicting": "true"})) == set(NEEDED)


def review(account: str, where: str, resource: str, name: str, verb: str) -> dict[str, Any]:
    plain, _, group = resource.partition(".")
    kind, _, part = plain.partition("/")
    asked = {"verb": verb, "resource": kind, "subresource": part, "group": group, "name": name, "namespace": where}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{account}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {key: value for key, value in asked.items() if value},
        },
    }


def allowed(kubeconfig: Path, asked: list[Right]) -> set[Right]:
    """Those of the rights that the API server's own authorizer gives."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [review(*one) for one in asked]})
    done = kubectl(kubeconfig, "create", "-o", "json", "-f", "-", text=text)
    assert done.returncode == 0, done.stderr
    answers = json.loads("[" + done.stdout.replace("\n}\n{\n", "\n},\n{\n") + "]")  # one document each
    return {right for right, answer in zip(asked, answers, strict=True) if answer["status"]["allowed"]}


@pytest.mark.parametrize("account", [AGENT, WEBHOOK])
def test_verb_by_verb(kubeconfig: Path, defaults: Rendered, account: str) -> None:
    roles = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    rights = yaml.safe_dump_all(item for item in defaults.documents if item["kind"] in roles)
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)
    done = kubectl(kubeconfig, "apply", "-f", "-", text=rights)
    assert done.returncode == 0, done.stderr
    resources = {right[2] for right in NEEDED} | {"serviceaccounts/token", "pods/exec", "pods/eviction", "configmaps"}
    places = {right[:4] for right in NEEDED} | {(account, "", resource, "") for resource in resources}
    asked = sorted(
        {(account, place[1], place[2], place[3], verb) for place in places for verb in VERBS}
        | {(account, "kube-system", resource, "", verb) for resource in resources for verb in VERBS}
    )
    found = allowed(kubeconfig, asked)
    mine = {right for right in NEEDED if right[0] == account}
    for right in asked:
        _, where, resource, name, verb = right
        # A right without a name holds for each name, one without a namespace in each namespace.
        given = any((account, wider, resource, named, verb) in mine for wider in {"", where} for named in {"", name})
        assert (right in found) == given, f"{right}: {'given and not needed' if right in found else 'needed'}"
