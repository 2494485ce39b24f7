"""The page's objects: it is off unless asked for, and has no rights, no token and no privileges."""

import pytest

import page.settings
from page.settings import Settings
from tests.chart.rendering import NAMESPACE, Rendered, render
from unigpu import names

NAME = "unigpu-page"
ON = {"page.enabled": "true"}


@pytest.fixture(scope="module")
def usual() -> Rendered:
    """With nothing but the page switched on."""
    return render(values=ON)


def told(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    return page.settings.parse([str(one) for one in rendered.containers()["page"]["args"]])


def test_it_is_off_by_default(defaults: Rendered) -> None:
    assert not [item for item in defaults.documents if item["metadata"]["name"] == NAME]


def test_it_adds_these_objects_and_no_role(defaults: Rendered, usual: Rendered) -> None:
    def found(rendered: Rendered) -> set[tuple[str, str]]:
        return {(item["kind"], item["metadata"]["name"]) for item in rendered.documents}

    kinds = ("Deployment", "Service", "ServiceAccount", "NetworkPolicy")
    assert found(usual) - found(defaults) == {(kind, NAME) for kind in kinds}
    assert found(defaults) <= found(usual)


def test_it_has_no_token_of_its_own(usual: Rendered, every_option: Rendered) -> None:
    for one in (usual, every_option):
        spec = one.get("Deployment", NAME)["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert not [volume for volume in spec["volumes"] if "projected" in volume]


def test_its_pod_is_of_the_restricted_kind(usual: Rendered) -> None:
    """Source: "Pod Security Standards" of Kubernetes, profile restricted."""
    spec = usual.get("Deployment", NAME)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {key for volume in spec["volumes"] for key in volume} <= {"name", "configMap", "secret"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def test_the_program_is_told_what_the_values_say(
    usual: Rendered, every_option: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = told(usual, monkeypatch), told(every_option, monkeypatch)
    assert (first.system_namespace, first.prometheus, first.tls_folder) == (NAMESPACE, "", "")
    assert (first.log_json, second.log_json, second.refresh) == (True, False, 7)
    assert second.prometheus == "monitoring/https:prometheus:9090"
    for rendered, settings, secret in ((usual, first, None), (every_option, second, "page-tls")):
        spec = rendered.get("Deployment", NAME)["spec"]["template"]["spec"]
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        authority = volumes[mounts[settings.ca_file.rpartition("/")[0]]]
        assert authority["configMap"]["name"] == "kube-root-ca.crt"
        assert (volumes[mounts[settings.tls_folder]]["secret"]["secretName"] if secret else None) == secret


def test_ports_lead_to_the_program(usual: Rendered, every_option: Rendered) -> None:
    for one, name, port in ((usual, "http", 80), (every_option, "https", 443)):
        (service,) = one.get("Service", NAME)["spec"]["ports"]
        ports = {entry["name"]: entry["containerPort"] for entry in one.containers()["page"]["ports"]}
        assert ports == {"page": names.PORT_PAGE, "metrics": names.PORT_PAGE_METRICS}
        assert (service["name"], service["port"], service["targetPort"]) == (name, port, "page")
        labels = one.get("Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
        assert one.get("Service", NAME)["spec"]["selector"].items() <= labels.items()


def test_the_network_lets_in_whom_the_values_name(usual: Rendered) -> None:
    rules = usual.get("NetworkPolicy", NAME)["spec"]["ingress"]
    assert rules == [{"ports": [{"port": "metrics"}]}, {"ports": [{"port": "page"}]}]
    proxy = {"podSelector": {"matchLabels": {"app": "proxy"}}}
    chosen = render(values={**ON, "page.networkPolicy.from[0].podSelector.matchLabels.app": "proxy"})
    assert chosen.get("NetworkPolicy", NAME)["spec"]["ingress"][1] == {"ports": [{"port": "page"}], "from": [proxy]}
    assert not render(values={**ON, "networkPolicy.enabled": "false"}).of("NetworkPolicy")
