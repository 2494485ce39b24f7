"""What every object of the chart must be, whatever is set."""

import json
import re
from typing import Any

import pytest

from tests.chart.rendering import NAMESPACE, VERSION, Rendered, render
from unigpu import names

CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
}


def test_everything_is_in_the_releases_namespace(rendered: Rendered) -> None:
    for item in rendered.documents:
        name = item["kind"], item["metadata"]["name"]
        if item["kind"] in CLUSTER_WIDE:
            assert "namespace" not in item["metadata"], name
        elif name == ("RoleBinding", "unigpu-scheduler-authentication-reader"):
            assert item["metadata"]["namespace"] == "kube-system"
        else:
            assert item["metadata"]["namespace"] == NAMESPACE, name


def test_no_two_objects_have_one_name(rendered: Rendered) -> None:
    found = [(item["kind"], item["metadata"]["name"]) for item in rendered.documents]
    assert len(found) == len(set(found))


def test_pods_are_those_that_their_workload_selects(rendered: Rendered) -> None:
    selectors = []
    for item in rendered.workloads():
        selector = item["spec"]["selector"]["matchLabels"]
        assert selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        selectors.append(selector[names.LABEL_COMPONENT])
    assert set(selectors) - {"page"} == {"node-agent", "scheduler", "webhook"}
    assert len(selectors) == len(set(selectors))


def test_mounts_have_volumes_and_volumes_have_mounts(rendered: Rendered) -> None:
    for item in rendered.workloads():
        spec = item["spec"]["template"]["spec"]
        mounted = {mount["name"] for part in spec["containers"] for mount in part.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in spec.get("volumes", [])}


def test_only_the_node_agent_is_root(rendered: Rendered) -> None:
    for item in rendered.workloads():
        spec = item["spec"]["template"]["spec"]
        for part in spec["containers"]:
            context = part["securityContext"]
            assert context["readOnlyRootFilesystem"]
            if item["kind"] == "Deployment":
                assert spec["securityContext"]["runAsNonRoot"]
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert context["allowPrivilegeEscalation"] is False


def test_only_the_agent_of_a_real_driver_is_privileged(defaults: Rendered, simulated: Rendered) -> None:
    for one, privileged in ((defaults, True), (simulated, False)):
        assert one.containers()["deviceplugin"]["securityContext"].get("privileged", False) is privileged
        assert one.containers()["exporter"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_the_agent_writes_limits_only_where_programs_may_raise_them(defaults: Rendered) -> None:
    for one, writes in ((defaults, True), (render(values={"limits.fromContainer": "tighten-only"}), False)):
        (own,) = (
            variable["expression"]
            for variable in one.get("ValidatingAdmissionPolicy", "unigpu-node-agent-pods")["spec"]["variables"]
            if variable["name"] == "own"
        )
        assert (f"'{names.ANNOTATION_LIMITS}'" in own) is writes


def test_the_agent_sees_the_nodes_processes_and_ends_them_only_where_a_value_says_so(simulated: Rendered) -> None:
    ending = render(values={"nodeAgent.driver.kind": "simulated", "nodeAgent.onBreach": "end"})
    for one, action, capabilities in (
        (simulated, "report", ["DAC_OVERRIDE"]),
        (ending, "end", ["DAC_OVERRIDE", "KILL"]),
    ):
        assert one.get("DaemonSet", "unigpu-node-agent")["spec"]["template"]["spec"]["hostPID"] is True
        agent = one.containers()["deviceplugin"]
        assert {"--proc-root=/proc", f"--on-breach={action}"} <= set(agent["args"])
        groups = {"name": "control-groups", "mountPath": "/sys/fs/cgroup", "readOnly": True}
        assert "--cgroup-root=/sys/fs/cgroup" in agent["args"] and groups in agent["volumeMounts"]
        assert agent["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": capabilities}


def test_every_container_says_what_it_needs(rendered: Rendered) -> None:
    for part in rendered.containers().values():
        assert part["resources"]["requests"].keys() == {"cpu", "memory"}


def test_no_registry_is_named_unless_one_is_set(defaults: Rendered) -> None:
    images = {name: part["image"] for name, part in defaults.containers().items()}
    assert re.fullmatch(r"kube-scheduler:v1\.\d+\.\d+", images.pop("kube-scheduler"))
    assert set(images.values()) == {f"unigpu:{VERSION}"}


@pytest.mark.parametrize(
    ("cluster", "values", "image"),
    [
        ("v1.31.4", {}, "kube-scheduler:v1.31.4"),
        ("v1.31.4+k3s1", {}, "kube-scheduler:v1.31.4"),
        ("v1.30.5-vendor.1014001", {}, "kube-scheduler:v1.30.5"),
        ("v1.31.4", {"scheduler.image.tag": "v1.31.9"}, "kube-scheduler:v1.31.9"),
        ("v1.31.4", {"scheduler.image.registry": "r.example"}, "r.example/kube-scheduler:v1.31.4"),
    ],
)
def test_kube_scheduler_has_the_clusters_version(cluster: str, values: dict[str, str], image: str) -> None:
    made = render("--kube-version", cluster, values=values)
    assert made.containers()["kube-scheduler"]["image"] == image


@pytest.mark.parametrize(
    ("cluster", "tag", "version"),
    [("v1.33.4", "", "v1.33"), ("v1.33.4+k3s1", "local", "v1.33"), ("v1.33.0", "v1.32.9", "v1.32")],
)
def test_the_extender_knows_kube_schedulers_version(cluster: str, tag: str, version: str) -> None:
    made = render("--kube-version", cluster, values={"scheduler.image.tag": tag})
    assert f"--kube-scheduler-version={version}" in made.containers()["extender"]["args"]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({"global.registry": "r.example"}, f"r.example/unigpu:{VERSION}"),
        ({"global.registry": "r.example/"}, f"r.example/unigpu:{VERSION}"),
        (
            {"global.registry": "r.example", "image.registry": "s.example:5000/team"},
            f"s.example:5000/team/unigpu:{VERSION}",
        ),
        ({"image.tag": "v2"}, "unigpu:v2"),
        ({"image.tag": "v2", "image.digest": "sha256:" + "a" * 64}, "unigpu@sha256:" + "a" * 64),
    ],
)
def test_images(values: dict[str, str], image: str) -> None:
    assert render(values=values).containers()["webhook"]["image"] == image


@pytest.mark.parametrize("part", ["webhook", "scheduler"])
def test_a_disruption_budget_needs_two_replicas(defaults: Rendered, part: str) -> None:
    budget = defaults.get("PodDisruptionBudget", f"unigpu-{part}")["spec"]
    labels = defaults.get("Deployment", f"unigpu-{part}")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert (budget["minAvailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    for values in ({f"{part}.replicas": "1"}, {f"{part}.podDisruptionBudget.enabled": "false"}):
        left = {item["metadata"]["name"] for item in render(values=values).of("PodDisruptionBudget")}
        assert left == {"unigpu-webhook", "unigpu-scheduler"} - {f"unigpu-{part}"}


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule", "ConfigMap", "Certificate", "Issuer"])
def test_what_is_optional_is_off(defaults: Rendered, kind: str) -> None:
    assert [item for item in defaults.of(kind) if item["metadata"]["name"] != "unigpu-scheduler"] == []


def test_an_issuer_is_made_where_none_is_named(every_option: Rendered) -> None:
    assert every_option.of("Issuer") == []
    assert every_option.get("Certificate", "unigpu-webhook")["spec"]["issuerRef"]["name"] == "corporate"
    own = render(values={"webhook.certManager.enabled": "true"})
    issuer = own.get("Issuer", "unigpu-webhook")
    reference = own.get("Certificate", "unigpu-webhook")["spec"]["issuerRef"]
    assert reference == {"kind": "Issuer", "name": issuer["metadata"]["name"]}


def test_network_policies_let_in_every_port_and_select_every_pod(defaults: Rendered) -> None:
    for item in defaults.workloads():
        labels = item["spec"]["template"]["metadata"]["labels"]
        policy = defaults.get("NetworkPolicy", item["metadata"]["name"])
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        ports = {port["name"] for part in item["spec"]["template"]["spec"]["containers"] for port in part["ports"]}
        assert let_in == ports


def test_network_policies_can_be_left_out(every_option: Rendered) -> None:
    assert every_option.of("NetworkPolicy") == []


def test_the_pod_monitor_finds_every_metrics_port(every_option: Rendered) -> None:
    monitor = every_option.get("PodMonitor", "unigpu")
    selector = monitor["spec"]["selector"]["matchLabels"]
    scraped = [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    for item in every_option.workloads():
        assert selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        parts = item["spec"]["template"]["spec"]["containers"]
        ports = {part["name"]: [port["name"] for port in part["ports"]] for part in parts}
        # The kube-scheduler's own need a right to read them.
        with_metrics = {name: 0 if name == "kube-scheduler" else 1 for name in ports}
        assert {name: sum(one in scraped for one in found) for name, found in ports.items()} == with_metrics
    assert monitor["metadata"]["labels"]["prometheus"] == "main"


def test_where_pods_run_is_as_set(every_option: Rendered) -> None:
    for item in every_option.workloads():
        template = item["spec"]["template"]
        spec = template["spec"]
        assert spec["nodeSelector"] == {"pool": "system"}
        assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
        assert "nodeAffinity" in spec["affinity"]
        assert spec["priorityClassName"].endswith("-class")
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        assert template["metadata"]["annotations"]["team"] == "platform"


def test_labels_are_added_and_never_replace_the_charts_own() -> None:
    own = ["app.kubernetes.io/name", names.LABEL_COMPONENT]
    values = {f"commonLabels.{key.replace('.', chr(92) + '.')}": "other" for key in own}
    values |= {"commonLabels.cost": "all", "webhook.podLabels.cost": "gpu", "webhook.podLabels.team": "ai"}
    made = render(values=values)
    for item in [*made.documents, *made.hooks]:
        labels = item["metadata"]["labels"]
        assert labels["cost"] == "all"
        assert "other" not in labels.values()
    pod = made.get("Deployment", "unigpu-webhook")["spec"]["template"]["metadata"]["labels"]
    assert (pod["cost"], pod["team"]) == ("gpu", "ai")
    assert "team" not in made.get("Deployment", "unigpu-scheduler")["spec"]["template"]["metadata"]["labels"]


def test_variables_and_arguments_can_be_added(every_option: Rendered) -> None:
    for name, argument in {
        "webhook": "--drain-seconds=7",
        "kube-scheduler": "--v=2",
        "extender": "--page=100",
        "deviceplugin": "--node=another",
        "page": "--refresh=7",
        "exporter": "--log-level=debug",
    }.items():
        container = every_option.containers()[name]
        assert container["args"][-1] == argument
        assert container["env"][-1] == {"name": "TZ", "value": "UTC"}


def test_accounts_can_be_others(every_option: Rendered) -> None:
    assert every_option.of("ServiceAccount") == []
    used = {item["spec"]["template"]["spec"]["serviceAccountName"] for item in every_option.workloads()}
    assert used == {"own-webhook", "own-scheduler", "own-agent", "own-page"}
    bindings = [*every_option.of("ClusterRoleBinding"), *every_option.of("RoleBinding")]
    assert {subject["name"] for item in bindings for subject in item["subjects"]} == used - {"own-page"}


def test_accounts_that_the_chart_creates_can_have_a_name_and_annotations() -> None:
    values = {"scheduler.serviceAccount.name": "own", "scheduler.serviceAccount.annotations.role": "gpu"}
    account = render(values=values).get("ServiceAccount", "own")
    assert account["metadata"]["annotations"] == {"role": "gpu"}


def test_the_agents_pod_makes_simulated_gpus_unless_the_node_has_them(defaults: Rendered, simulated: Rendered) -> None:
    (container,) = simulated.get("DaemonSet", "unigpu-node-agent")["spec"]["template"]["spec"]["initContainers"]
    assert container["command"] == ["python", "-m", "simulator", "install"]
    assert {"--gpus=2", "--profile=l40s", "--dir=/var/lib/unigpu/simulator/state"} < set(container["args"])
    none = render(values={"nodeAgent.driver.kind": "simulated", "nodeAgent.driver.simulated.gpus": "0"})
    for one in (defaults, none):
        assert "initContainers" not in one.get("DaemonSet", "unigpu-node-agent")["spec"]["template"]["spec"]


def node_terms(rendered: Rendered) -> list[dict[str, Any]]:
    spec = rendered.get("DaemonSet", "unigpu-node-agent")["spec"]["template"]["spec"]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[dict[str, Any]] = required["nodeSelectorTerms"]
    return terms


def test_the_agent_leaves_a_node_whose_driver_is_upgraded(defaults: Rendered) -> None:
    rules = [
        {"key": label, "operator": "NotIn", "values": list(names.OPERATOR_PAUSES)} for label in names.LABELS_OPERATOR
    ]
    assert node_terms(defaults) == [{"matchExpressions": rules}]
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    terms = [
        {"matchExpressions": [zone]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
    ]
    chosen = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
    }
    own = render("--set-json", f"nodeAgent.affinity={json.dumps(chosen)}")
    assert node_terms(own) == [
        {"matchExpressions": [zone, *rules]},
        {"matchExpressions": rules, **terms[1]},
    ]
    affinity = own.get("DaemonSet", "unigpu-node-agent")["spec"]["template"]["spec"]["affinity"]
    assert affinity["podAffinity"] == chosen["podAffinity"]
