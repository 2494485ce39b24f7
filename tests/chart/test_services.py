"""The chart and the programs that it starts: arguments, environment, ports, probes, names, files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import deviceplugin.settings
import exporter.settings
import scheduler.settings
import webhook.settings
from tests.chart.rendering import NAMESPACE, ROOT, Document, Rendered, render
from unigpu import configured_dialects, names
from unigpu.requests import PlacementPolicy
from webhook.admission import configuration
from webhook.translation import options

SERVICES = ("webhook", "scheduler", "deviceplugin", "exporter")


def arguments(rendered: Rendered, module: str) -> list[str]:
    """What `python -m <module>` is given."""
    (container,) = (item for item in rendered.containers().values() if item["command"] == ["python", "-m", module])
    return [str(argument) for argument in container["args"]]


def workload(rendered: Rendered, container: str) -> Document:
    (found,) = (
        item
        for item in rendered.workloads()
        if container in [part["name"] for part in item["spec"]["template"]["spec"]["containers"]]
    )
    return found


def parse(rendered: Rendered, module: str) -> Any:
    """The settings that the service reads from them; an argument that it doesn't know ends the test."""
    given = arguments(rendered, module)
    match module:
        case "webhook":
            return webhook.settings.parse(given)
        case "scheduler":
            return scheduler.settings.parse(given)
        case "deviceplugin":
            return deviceplugin.settings.parse(given, {"NODE_NAME": "node"})
        case _:
            return exporter.settings.parse(given)


@pytest.mark.parametrize("module", SERVICES)
def test_every_argument_is_understood(rendered: Rendered, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", NAMESPACE)
    parse(rendered, module)


@pytest.mark.parametrize("module", SERVICES)
def test_every_service_logs_as_told(defaults: Rendered, every_option: Rendered, module: str) -> None:
    assert (parse(defaults, module).log_json, parse(defaults, module).log_level) == (True, "info")
    assert (parse(every_option, module).log_json, parse(every_option, module).log_level) == (False, "debug")


def test_defaults_of_the_chart_are_those_of_the_webhook(defaults: Rendered) -> None:
    assert parse(defaults, "webhook").options == options.Options()


def test_the_webhook_is_told_how_to_read_pods(every_option: Rendered) -> None:
    told = parse(every_option, "webhook")
    assert told.options.aliyun_unit is options.AliyunUnit.MIB
    assert told.options.bare_gpu is options.BareGpu.LEAVE
    assert not told.options.opting_out
    assert "my-scheduler" in told.options.schedulers
    assert told.sweep_seconds == 0


def test_the_webhook_searches_where_it_is_asked(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", NAMESPACE)
    excluded = set(parse(rendered, "webhook").excluded)
    for entry in rendered.get("MutatingWebhookConfiguration", names.WEBHOOK_CONFIGURATION)["webhooks"]:
        (selector,) = entry["namespaceSelector"]["matchExpressions"]
        assert set(selector["values"]) == excluded


def test_the_scheduler_is_told_how_to_place(defaults: Rendered, every_option: Rendered) -> None:
    known = scheduler.settings.Settings()
    usual = parse(defaults, "scheduler")
    assert (usual.node_policy, usual.gpu_policy) == (known.node_policy, known.gpu_policy)
    assert (usual.shares_per_gpu, usual.api_timeout) == (known.shares_per_gpu, known.api_timeout)
    told = parse(every_option, "scheduler")
    assert (told.node_policy, told.gpu_policy) == (PlacementPolicy.SPREAD, PlacementPolicy.TOPOLOGY)
    assert (told.shares_per_gpu, told.api_timeout) == (4, 9)


def test_scheduler_and_node_agent_agree_on_shares(rendered: Rendered) -> None:
    assert parse(rendered, "scheduler").shares_per_gpu == parse(rendered, "deviceplugin").shares_per_gpu


def test_the_node_agent_knows_what_programs_may_ask_for(defaults: Rendered, every_option: Rendered) -> None:
    assert parse(defaults, "deviceplugin").limits_from_container == "within-free"
    assert parse(every_option, "deviceplugin").limits_from_container == "tighten-only"


def test_the_exporter_sees_the_agents_files_and_nothing_else_of_the_node(rendered: Rendered) -> None:
    plugin, told = parse(rendered, "deviceplugin"), parse(rendered, "exporter")
    assert (plugin.state_dir, plugin.containers) == (told.state_dir, told.containers)
    assert str(plugin.library) == names.IMAGE_LIBRARY
    mounts = rendered.containers()["exporter"]["volumeMounts"]
    assert mounts == [{"name": "state", "mountPath": str(told.state_dir), "readOnly": True}]


def test_the_exporter_is_told_which_names_to_serve(defaults: Rendered, every_option: Rendered) -> None:
    assert [parse(one, "exporter").dcgm_names for one in (defaults, every_option)] == ["none", "all"]


def test_folders_of_the_node_are_at_the_same_path_in_the_agent(rendered: Rendered) -> None:
    plugin = parse(rendered, "deviceplugin")
    spec = workload(rendered, "deviceplugin")["spec"]["template"]["spec"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    mounted = {}
    for container in spec["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] not in paths:
                continue
            path = paths[mount["name"]]
            # The kubelet has plugins' sockets there, whatever its root directory is; the agent needs only names.
            moved = {"/": "/host", names.KUBELET_PLUGINS: str(plugin.plugins)}
            assert mount["mountPath"] == moved.get(path, path)
            mounted[container["name"], path] = not mount.get("readOnly", False)
    assert mounted["deviceplugin", str(plugin.state_dir)]
    assert mounted["deviceplugin", str(plugin.cdi_dir)]
    assert mounted["deviceplugin", names.KUBELET_PLUGINS]
    assert not mounted["deviceplugin", str(plugin.pod_resources.parent)]
    assert not mounted["exporter", str(plugin.state_dir)]
    if plugin.simulator_dir is not None:
        assert mounted["deviceplugin", str(plugin.simulator_dir)]
        assert not mounted["deviceplugin", str(plugin.simulator_lib)]


def test_ports_are_those_that_services_open(rendered: Rendered) -> None:
    ports = {
        name: sorted(port["containerPort"] for port in container["ports"])
        for name, container in rendered.containers().items()
    }
    ports.pop("page", None)  # it is optional: see test_page.py
    assert ports == {
        "webhook": [names.PORT_WEBHOOK_METRICS, names.PORT_WEBHOOK],
        "kube-scheduler": [10259],
        "extender": [names.PORT_EXTENDER_METRICS],
        "deviceplugin": [names.PORT_PLUGIN_HEALTH],
        "exporter": [names.PORT_EXPORTER],
    }


def test_every_container_is_probed_on_a_port_that_it_has(rendered: Rendered) -> None:
    for container in rendered.containers().values():
        known = {port["name"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            got = container[probe]["httpGet"]
            assert (got["path"], got["port"] in known) == (path, True)


@pytest.mark.parametrize(
    ("cluster", "path"), [("v1.29.15", "/healthz"), ("v1.30.14-gke.1", "/healthz"), ("v1.31.0", "/readyz")]
)
def test_kube_scheduler_is_probed_where_its_version_answers(cluster: str, path: str) -> None:
    """It follows the cluster's version, and has no /readyz before 1.31."""
    container = render("--kube-version", cluster).containers()["kube-scheduler"]
    assert container["readinessProbe"]["httpGet"]["path"] == path


def test_environment(rendered: Rendered) -> None:
    fields = {
        (name, variable["name"]): variable["valueFrom"]["fieldRef"]["fieldPath"]
        for name, container in rendered.containers().items()
        for variable in container.get("env", [])
        if "valueFrom" in variable
    }
    assert fields == {
        ("webhook", "POD_NAMESPACE"): "metadata.namespace",
        ("webhook", "POD_NAME"): "metadata.name",
        ("deviceplugin", "NODE_NAME"): "spec.nodeName",
        ("exporter", "NODE_NAME"): "spec.nodeName",
    }


def managed(rendered: Rendered) -> dict[str, bool]:
    """Which resources the extender manages, and whether the kube-scheduler leaves them out of its arithmetic."""
    text = rendered.get("ConfigMap", "unigpu-scheduler")["data"]["config.yaml"]
    (extender,) = yaml.safe_load(text)["extenders"]
    return {each["name"]: each["ignoredByScheduler"] for each in extender["managedResources"]}


RENAMED = {
    "dialects.hamiResourceNames.count": "hami.example/gpu",
    "dialects.additional[0].name": "corp",
    "dialects.additional[0].shape": "byCore",
    "dialects.additional[0].cores": "corp.example/core",
    "dialects.additional[0].memory": "corp.example/mem",
}


@pytest.mark.parametrize(
    "values",
    [{}, {"dialects.bareNvidiaGpu": "leave"}, {"dialects.vendorResources": "replace"}, RENAMED],
    ids=["standard", "leave", "replace", "renamed"],
)
def test_kube_scheduler_leaves_out_what_stays_in_translated_pods(values: dict[str, str]) -> None:
    rendered = render(values=values)
    told = parse(rendered, "webhook").options
    known = configured_dialects.resources(told.words)
    assert managed(rendered) == {names.RESOURCE_VGPU: False} | {name: True for name in known if told.keeps(name)}
    assert ("nvidia.com/gpu" in managed(rendered)) is (values == {})
    for module in ("scheduler", "deviceplugin"):
        assert configured_dialects.load(parse(rendered, module).dialects) == told.words


def test_kube_scheduler_asks_the_extender(rendered: Rendered) -> None:
    told = parse(rendered, "scheduler")
    text = rendered.get("ConfigMap", "unigpu-scheduler")["data"]["config.yaml"]
    document = yaml.safe_load(text)
    assert document["profiles"] == [{"schedulerName": names.SCHEDULER_NAME}]
    (extender,) = document["extenders"]
    assert extender["urlPrefix"] == f"http://127.0.0.1:{told.port}"
    assert int(extender["httpTimeout"].removesuffix("s")) > told.api_timeout
    assert (extender["ignorable"], extender["nodeCacheCapable"]) == (False, True)


def test_kube_scheduler_restarts_when_its_configuration_changes(defaults: Rendered, every_option: Rendered) -> None:
    checksums = {
        workload(one, "extender")["spec"]["template"]["metadata"]["annotations"]["unigpu.dev/config-checksum"]
        for one in (defaults, every_option)
    }
    assert len(checksums) == 2


def test_the_service_leads_to_the_webhook(rendered: Rendered) -> None:
    service = rendered.get("Service", names.SERVICE_WEBHOOK)
    labels = workload(rendered, "webhook")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    container = rendered.containers()["webhook"]
    (target,) = (known for known in container["ports"] if known["name"] == port["targetPort"])
    assert (port["port"], target["containerPort"]) == (443, names.PORT_WEBHOOK)


def test_webhook_configurations_are_those_of_the_webhook(defaults: Rendered) -> None:
    wanted = configuration.documents(webhook.settings.Settings(namespace=NAMESPACE))
    for document in wanted:
        ours = defaults.get(document["kind"], names.WEBHOOK_CONFIGURATION)
        assert len(ours["webhooks"]) == len(document["webhooks"])
        for entry, theirs in zip(ours["webhooks"], document["webhooks"], strict=True):
            chosen = ("failurePolicy", "timeoutSeconds", "namespaceSelector")
            assert without(entry, *chosen) == without(theirs, *chosen)


def without(document: Document, *keys: str) -> Document:
    return {key: value for key, value in document.items() if key not in keys}


def test_webhook_configurations_follow_the_values(defaults: Rendered, every_option: Rendered) -> None:
    for one, policy, seconds, more in ((defaults, "Fail", 5, []), (every_option, "Ignore", 3, ["monitoring"])):
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            for entry in one.get(kind, names.WEBHOOK_CONFIGURATION)["webhooks"]:
                advises = entry["name"] in (names.WEBHOOK_ADVICE, names.WEBHOOK_NOTICE)
                assert entry["failurePolicy"] == ("Ignore" if advises else policy)
                assert entry["timeoutSeconds"] == seconds
                (selector,) = entry["namespaceSelector"]["matchExpressions"]
                assert selector["operator"] == "NotIn"
                assert selector["values"] == ["kube-system", NAMESPACE, *more]


def test_service_accounts_are_those_that_the_webhook_trusts(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_NAMESPACE", NAMESPACE)
    specs = [workload(rendered, name)["spec"]["template"]["spec"] for name in ("extender", "deviceplugin")]
    accounts = {f"system:serviceaccount:{NAMESPACE}:{spec['serviceAccountName']}" for spec in specs}
    assert accounts == set(parse(rendered, "webhook").trusted_writers)


def test_bindings_of_the_scheduler_are_not_sent_to_the_webhook(every_option: Rendered) -> None:
    account = workload(every_option, "extender")["spec"]["template"]["spec"]["serviceAccountName"]
    webhooks = every_option.get("ValidatingWebhookConfiguration", names.WEBHOOK_CONFIGURATION)["webhooks"]
    (bind,) = (entry for entry in webhooks if entry["name"] == f"bind.{names.DOMAIN}")
    (condition,) = bind["matchConditions"]
    assert f"!= 'system:serviceaccount:{NAMESPACE}:{account}'" in condition["expression"]


def test_a_certificate_of_cert_manager_is_mounted_where_the_webhook_looks(every_option: Rendered) -> None:
    told = parse(every_option, "webhook")
    container = every_option.containers()["webhook"]
    (mount,) = container["volumeMounts"]
    (volume,) = workload(every_option, "webhook")["spec"]["template"]["spec"]["volumes"]
    certificate = every_option.get("Certificate", "unigpu-webhook")
    assert (mount["mountPath"], mount["name"]) == (told.tls_folder, volume["name"])
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    assert certificate["spec"]["dnsNames"] == [f"{names.SERVICE_WEBHOOK}.{NAMESPACE}.svc"]


def test_components_are_labelled(rendered: Rendered) -> None:
    for item in [*rendered.documents, *rendered.hooks]:
        assert item["metadata"]["labels"][names.LABEL_COMPONENT]


def test_the_library_is_in_the_image_where_the_chart_says() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert f"COPY build/lib/libvgpu.so {names.IMAGE_LIBRARY}\n" in text


def test_the_image_gets_every_package_that_a_service_imports() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {Path(line.split()[1]).name for line in lines if line.startswith("COPY ") and "/opt/unigpu/app/" in line}
    assert copied == {
        "unigpu",
        "unigpu_kube",
        "unigpu_service",
        "unigpu_node",
        "webhook",
        "scheduler",
        "deviceplugin",
        "exporter",
        "cli",
        "page",
        "simulator",
    }
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    for source in sources:
        assert f"!{source}" in allowed, f"{source} is copied by the Dockerfile and left out by .dockerignore"
