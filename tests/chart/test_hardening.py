"""The chart by the rules of others: Pod Security's `restricted`, and kube-linter's checks that are on by default.

Kubernetes itself judges the first. The second are written again here, because kube-linter can't be built from every
module proxy: https://docs.kubelinter.io/#/generated/checks, those that are "Enabled by default". Each exception has its
reason in SECURITY.md, "The pods of unigpu".
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.apiserver import kubectl
from tests.chart.rendering import ROOT, Rendered

Json = dict[str, Any]
AGENT = "DaemonSet/unigpu-node-agent"
SENSITIVE = {"/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"}
UNSAFE_SYSCTLS = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.", "net.")


def pods(rendered: Rendered) -> Iterator[tuple[str, Json, Json]]:
    """Each pod that the chart makes, its hooks' too: title, the object that makes it, and its spec."""
    for item in (*rendered.documents, *rendered.hooks):
        title = f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] == "Pod":
            yield title, item, item["spec"]
        elif item["kind"] in ("Deployment", "DaemonSet", "Job"):
            yield title, item, item["spec"]["template"]["spec"]


def containers(spec: Json) -> list[Json]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


# ---- Pod Security.


@pytest.fixture(scope="module")
def restricted(kubeconfig: Path) -> Iterator[str]:
    """A namespace that takes only pods of the profile `restricted`."""
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "restricted"}},
    ]
    done = kubectl(kubeconfig, "apply", "-f", "-", text=yaml.safe_dump_all(documents))
    assert done.returncode == 0, done.stderr
    privileged = pod("restricted", {"containers": [{"name": "c", "image": "x"}]})
    apiserver.until(lambda: "violates PodSecurity" in refused(kubeconfig, privileged), "Pod Security is in force")
    yield "restricted"


def pod(namespace: str, spec: Json) -> Json:
    alone = {"serviceAccountName": "default", "automountServiceAccountToken": False}
    kept = {key: value for key, value in spec.items() if key not in ("priorityClassName", "nodeSelector")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": kept | alone,
    }


def refused(kubeconfig: Path, document: Json) -> str:
    done = kubectl(kubeconfig, "create", "--dry-run=server", "-f", "-", text=yaml.safe_dump(document))
    return "" if done.returncode == 0 else done.stderr


def test_all_pods_but_the_agents_are_of_the_restricted_profile(
    every_option: Rendered, defaults: Rendered, kubeconfig: Path, restricted: str
) -> None:
    assert {title.partition("/")[0] for title, _, _ in pods(defaults)} == {"Deployment", "DaemonSet", "Pod", "Job"}
    for rendered in (defaults, every_option):
        for title, _, spec in pods(rendered):
            says = refused(kubeconfig, pod(restricted, spec))
            if title != AGENT:
                assert says == "", title
                continue
            for violation in ("hostPID=true", 'volumes "state", "device-plugins"', "runAsUser=0"):
                assert violation in says, f"{violation}: {says}"


# ---- kube-linter.


def ports(container: Json) -> set[object]:
    return {value for port in container.get("ports", ()) for value in (port.get("name"), port["containerPort"])}


def probes_without_port(kind: str) -> Callable[[Json, Json], bool]:
    def check(_: Json, container: Json) -> bool:
        target = container.get(kind, {}).get("httpGet", {}).get("port")
        return target is not None and target not in ports(container)

    return check


def dropped(container: Json) -> set[str]:
    return set(container.get("securityContext", {}).get("capabilities", {}).get("drop", ()))


def security(spec: Json, container: Json, field: str) -> Any:
    own: Json = container.get("securityContext", {})
    return own.get(field, spec.get("securityContext", {}).get(field))


def mounts_sensitive(spec: Json, container: Json) -> bool:
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec.get("volumes", ()) if "hostPath" in volume}
    return any(paths.get(mount["name"]) in SENSITIVE for mount in container.get("volumeMounts", ()))


def twice(_: Json, container: Json) -> bool:
    return max(Counter(one["name"] for one in container.get("env", ())).values(), default=1) > 1


def image_is_latest(_: Json, container: Json) -> bool:
    name = container["image"].rpartition("/")[2]
    return "@" not in name and (":" not in name or name.endswith(":latest"))


def root(spec: Json, container: Json) -> bool:
    user = security(spec, container, "runAsUser")
    return security(spec, container, "runAsGroup") == 0 or not (user or security(spec, container, "runAsNonRoot"))


OF_CONTAINERS: dict[str, Callable[[Json, Json], bool]] = {
    "drop-net-raw-capability": lambda _, one: not dropped(one) & {"ALL", "NET_RAW"},
    "duplicate-env-var": twice,
    "env-var-secret": lambda _, one: any("secret" in v["name"].lower() and v.get("value") for v in one.get("env", ())),
    "invalid-target-ports": lambda _, one: any(len(port.get("name", "")) > 15 for port in one.get("ports", ())),
    "latest-tag": image_is_latest,
    "liveness-port": probes_without_port("livenessProbe"),
    "readiness-port": probes_without_port("readinessProbe"),
    "startup-port": probes_without_port("startupProbe"),
    "no-read-only-root-fs": lambda spec, one: not security(spec, one, "readOnlyRootFilesystem"),
    "privilege-escalation-container": lambda spec, one: bool(
        security(spec, one, "allowPrivilegeEscalation") or security(spec, one, "privileged")
    ),
    "privileged-container": lambda spec, one: bool(security(spec, one, "privileged")),
    "run-as-non-root": root,
    "sensitive-host-mounts": mounts_sensitive,
    "ssh-port": lambda _, one: 22 in ports(one),
    "unset-cpu-requirements": lambda _, one: "cpu" not in one.get("resources", {}).get("requests", {}),
    "unset-memory-requirements": lambda _, one: "memory" not in one.get("resources", {}).get("limits", {}),
}


def docker_socket(spec: Json) -> bool:
    return any("docker.sock" in volume.get("hostPath", {}).get("path", "") for volume in spec.get("volumes", ()))


def not_spread(item: Json, spec: Json) -> bool:
    return item["spec"].get("replicas", 1) > 1 and "podAntiAffinity" not in (spec.get("affinity") or {})


OF_PODS: dict[str, Callable[[Json, Json], bool]] = {
    "deprecated-service-account-field": lambda _, spec: "serviceAccount" in spec,
    "docker-sock": lambda _, spec: docker_socket(spec),
    "host-ipc": lambda _, spec: spec.get("hostIPC", False),
    "host-network": lambda _, spec: spec.get("hostNetwork", False),
    "host-pid": lambda _, spec: spec.get("hostPID", False),
    "job-ttl-seconds-after-finished": lambda item, _: (
        item["kind"] == "Job" and "ttlSecondsAfterFinished" not in item["spec"]
    ),
    "mismatching-selector": lambda item, _: (
        "selector" in item["spec"]
        and not item["spec"]["selector"]["matchLabels"].items()
        <= item["spec"]["template"]["metadata"]["labels"].items()
    ),
    "no-anti-affinity": not_spread,
    "no-extensions-v1beta": lambda item, _: "extensions/v1beta1" in item["apiVersion"],
    "unsafe-sysctls": lambda _, spec: any(
        one["name"].startswith(UNSAFE_SYSCTLS) for one in spec.get("securityContext", {}).get("sysctls", ())
    ),
}


def of_the_whole(rendered: Rendered) -> Iterator[tuple[str, str]]:
    everything = [*rendered.documents, *rendered.hooks]
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in rendered.workloads()]
    accounts = {item["metadata"]["name"] for item in everything if item["kind"] == "ServiceAccount"}
    for item in rendered.of("Service"):
        if not any(item["spec"]["selector"].items() <= one.items() for one in labels):
            yield "dangling-service", item["metadata"]["name"]
    for item in rendered.of("PodDisruptionBudget"):
        spec, name = item["spec"], item["metadata"]["name"]
        if spec.get("maxUnavailable") in (0, "0%"):
            yield "pdb-max-unavailable", name
        if spec.get("minAvailable") == "100%":
            yield "pdb-min-available", name
        if "unhealthyPodEvictionPolicy" not in spec:
            yield "pdb-unhealthy-pod-eviction-policy", name
    for title, _, spec in pods(rendered):
        if spec.get("serviceAccountName", "default") not in {*accounts, "default"}:
            yield "non-existent-service-account", title


def findings(rendered: Rendered) -> set[tuple[str, str]]:
    found = set(of_the_whole(rendered))
    for title, item, spec in pods(rendered):
        found |= {(name, title) for name, check in OF_PODS.items() if check(item, spec)}
        for one in containers(spec):
            found |= {(name, f"{title}/{one['name']}") for name, check in OF_CONTAINERS.items() if check(spec, one)}
    return found


SPREAD = {("no-anti-affinity", f"Deployment/unigpu-{name}") for name in ("webhook", "scheduler")}
SIMULATED = {("run-as-non-root", f"{AGENT}/deviceplugin"), ("host-pid", AGENT)} | SPREAD
REAL = ("privileged-container", "privilege-escalation-container", "drop-net-raw-capability", "sensitive-host-mounts")
EXCEPTIONS = SIMULATED | {(check, f"{AGENT}/deviceplugin") for check in REAL}


def test_kube_linters_checks_find_the_exceptions_and_nothing_else(defaults: Rendered) -> None:
    assert findings(defaults) == EXCEPTIONS


def test_with_the_simulated_driver_there_are_fewer(simulated: Rendered) -> None:
    assert findings(simulated) == SIMULATED | {("run-as-non-root", f"{AGENT}/simulator")}


def test_every_exception_has_its_reason() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", page.partition("### The pods of unigpu")[2], re.MULTILINE))
    assert explained == {check for check, _ in EXCEPTIONS}


def test_each_check_can_find_something() -> None:
    """A pod that does everything wrong."""
    bad: Json = {
        "name": "bad",
        "image": "x",
        "env": [{"name": "MY_SECRET", "value": "1"}, {"name": "MY_SECRET", "value": "2"}],
        "ports": [{"containerPort": 22, "name": "a-name-that-is-too-long"}],
        "livenessProbe": {"httpGet": {"port": 1}},
        "readinessProbe": {"httpGet": {"port": 1}},
        "startupProbe": {"httpGet": {"port": 1}},
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "v", "mountPath": "/x"}],
    }
    spec = {
        "containers": [bad],
        "serviceAccount": "x",
        "serviceAccountName": "missing",
        "hostIPC": True,
        "hostNetwork": True,
        "hostPID": True,
        "securityContext": {"sysctls": [{"name": "net.core.somaxconn"}]},
        "volumes": [
            {"name": "v", "hostPath": {"path": "/etc"}},
            {"name": "d", "hostPath": {"path": "/run/docker.sock"}},
        ],
    }
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    wrong = {"selector": {"matchLabels": {"c": "d"}}, "replicas": 2, "template": template}
    budget: Json = {"maxUnavailable": 0, "minAvailable": "100%"}
    made = Rendered(
        [
            {"apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": wrong},
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}},
            {"kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"x": "y"}}},
            {"kind": "PodDisruptionBudget", "metadata": {"name": "p"}, "spec": budget},
        ]
    )
    others = {"dangling-service", "pdb-max-unavailable", "pdb-min-available", "pdb-unhealthy-pod-eviction-policy"}
    known = {*OF_CONTAINERS, *OF_PODS, *others, "non-existent-service-account"}
    assert {check for check, _ in findings(made)} == known
    assert len(known) == 31, "as many as kube-linter has by default"
