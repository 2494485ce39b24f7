"""Who may do what on the API server: roles, accounts, tokens, and the policies that confine them."""

from typing import Any

import pytest

from tests.chart.rendering import NAMESPACE, Rendered, render
from unigpu import names


def rules(rendered: Rendered, kind: str, name: str) -> set[tuple[str, str, str, str]]:
    """Group, resource, verb and named object ("" for any)."""
    return {
        (group, resource, verb, named)
        for rule in rendered.get(kind, name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for named in rule.get("resourceNames", [""])
    }


def allowed(*entries: tuple[str, str, str, str]) -> set[tuple[str, str, str, str]]:
    return {(group, resource, verb, named) for group, resource, verbs, named in entries for verb in verbs.split()}


ADMISSION = "admissionregistration.k8s.io"
CONFIGURATION = names.WEBHOOK_CONFIGURATION
LOOK = "get list watch"


@pytest.mark.parametrize(
    ("kind", "name", "entries"),
    [
        (
            "ClusterRole",
            "unigpu-webhook",
            [
                (ADMISSION, "mutatingwebhookconfigurations", f"{LOOK} patch", CONFIGURATION),
                (ADMISSION, "validatingwebhookconfigurations", f"{LOOK} patch", CONFIGURATION),
                ("", "namespaces", "list watch", ""),
                ("", "nodes", "list watch", ""),
                ("", "pods", "get list", ""),
                ("", "events", "create", ""),
            ],
        ),
        (
            "Role",
            "unigpu-webhook",
            [("", "secrets", "create", ""), ("", "secrets", f"{LOOK} update", names.SECRET_WEBHOOK_TLS)],
        ),
        (
            "ClusterRole",
            "unigpu-scheduler",
            [
                ("", "nodes", "list watch", ""),
                ("", "pods", LOOK, ""),
                ("", "pods/binding", "create", ""),
                ("", "pods/status", "patch", ""),
                ("", "events", "create", ""),
                ("policy", "poddisruptionbudgets", "list watch", ""),
            ],
        ),
        (
            "Role",
            "unigpu-scheduler",
            [
                ("coordination.k8s.io", "leases", "create", ""),
                ("coordination.k8s.io", "leases", "get update patch", "unigpu-scheduler"),
            ],
        ),
        (
            "ClusterRole",
            "unigpu-node-agent",
            [
                ("", "pods", LOOK, ""),
                ("", "pods/status", "patch", ""),
                ("", "events", "create", ""),
                ("", "nodes", f"{LOOK} patch", ""),
                ("", "nodes/status", "patch", ""),
            ],
        ),
    ],
)
def test_nobody_may_more_than_it_needs(defaults: Rendered, kind: str, name: str, entries: list[Any]) -> None:
    assert rules(defaults, kind, name) == allowed(*entries)


def test_the_webhook_writes_no_certificate_where_cert_manager_does(every_option: Rendered) -> None:
    """Its token could create another account's token where the Secret isn't there."""
    assert all(not item["metadata"]["name"].startswith("unigpu-webhook") for item in every_option.of("Role"))
    assert {resource for _, resource, _, _ in rules(every_option, "ClusterRole", "unigpu-webhook")} == {
        "namespaces",
        "nodes",
        "pods",
        "events",
    }


def test_only_the_device_plugin_has_a_token(rendered: Rendered) -> None:
    (item,) = rendered.of("DaemonSet")
    spec = item["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    tokens = {
        volume["name"]
        for volume in spec["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    }
    holders = {
        part["name"]: mount for part in spec["containers"] for mount in part["volumeMounts"] if mount["name"] in tokens
    }
    assert holders == {
        "deviceplugin": {
            "name": "token",
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": True,
        }
    }


def confining(rendered: Rendered, kind: str = "ValidatingAdmissionPolicy") -> list[dict[str, Any]]:
    """Policies that confine a token, or their bindings; the other one judges everybody's pods."""
    return [item for item in rendered.of(kind) if item["metadata"]["name"] != "unigpu-devices-without-request"]


@pytest.mark.parametrize(
    ("cluster", "values", "policies"),
    [
        ("v1.29.9", {}, set()),
        ("v1.30.0", {}, {"unigpu-node-agent-nodes", "unigpu-node-agent-pods", "unigpu-webhook-secret"}),
        (
            "v1.31.2-gke.1",
            {"webhook.certManager.enabled": "true"},
            {"unigpu-node-agent-nodes", "unigpu-node-agent-pods"},
        ),
    ],
)
def test_policies_confine_tokens_where_the_cluster_has_them(
    cluster: str, values: dict[str, str], policies: set[str]
) -> None:
    made = render("--kube-version", cluster, values=values)
    assert {item["metadata"]["name"] for item in confining(made)} == policies
    bindings = confining(made, "ValidatingAdmissionPolicyBinding")
    assert {item["spec"]["policyName"] for item in bindings} == policies
    assert all(item["spec"]["validationActions"] == ["Deny"] for item in bindings)


def test_policies_are_for_the_accounts_that_are_used(every_option: Rendered) -> None:
    (agent,) = every_option.of("DaemonSet")
    account = agent["spec"]["template"]["spec"]["serviceAccountName"]
    for item in confining(every_option):
        (condition,) = item["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{account}'"


def test_these_are_all_roles(defaults: Rendered) -> None:
    assert {item["metadata"]["name"] for item in defaults.of("ClusterRole")} == {
        "unigpu-webhook",
        "unigpu-scheduler",
        "unigpu-node-agent",
    }
    assert {item["metadata"]["name"] for item in defaults.of("Role")} == {"unigpu-webhook", "unigpu-scheduler"}


def test_every_account_is_used_and_bound_but_for_the_pages_which_has_no_right(rendered: Rendered) -> None:
    accounts = {item["spec"]["template"]["spec"]["serviceAccountName"] for item in rendered.workloads()}
    assert {item["metadata"]["name"] for item in rendered.of("ServiceAccount")} in (accounts, set())
    bindings = [*rendered.of("ClusterRoleBinding"), *rendered.of("RoleBinding")]
    bound = {(subject["name"], subject["namespace"]) for item in bindings for subject in item["subjects"]}
    assert bound == {(account, NAMESPACE) for account in accounts - {"own-page"}}
    own = {(kind, item["metadata"]["name"]) for kind in ("ClusterRole", "Role") for item in rendered.of(kind)}
    given = {(item["roleRef"]["kind"], item["roleRef"]["name"]) for item in bindings}
    assert own <= given
    assert given - own == {
        ("ClusterRole", "system:kube-scheduler"),
        ("ClusterRole", "system:volume-scheduler"),
        ("Role", "extension-apiserver-authentication-reader"),
    }
