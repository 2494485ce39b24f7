"""The real Prometheus next to a cluster: it scrapes unigpu's parts, and has the chart's rules, made shorter.

It scrapes every 2 s, and every `for` and every range of the rules is 60 times shorter, 10 s at least, so that hours are
minutes and minutes are seconds.
"""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import images, settings
from demo import install
from demo.kube import CommandFailed, Kube, wait_for
from tests.prometheus.server import Prometheus, running
from unigpu import names

ROOT = settings.ROOT
NAMESPACE = "alerts"
PATIENCE = 240.0
SHORTER = 60
LEAST = 10
"""Seconds; a range has several scrapes."""
SYSTEM = names.SYSTEM_NAMESPACE
VALUES = ("webhook.failurePolicy=Ignore", "webhook.sweepSeconds=2", "page.enabled=true")
"""Of the chart, for these tests."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Json = dict[str, Any]


def shorter(text: str) -> str:
    """Return a duration as it is in this test."""
    number, unit = int(text[:-1]), text[-1]
    return f"{max(LEAST, number * _UNITS[unit] // SHORTER)}s"


def rules(kube: Kube, path: Path) -> dict[str, float]:
    """Write the chart's rules, made shorter; return the seconds after which each alert has to fire."""
    limits: dict[str, float] = {}
    groups = []
    for file in sorted((install.CHART / "rules").glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        for group in document["groups"]:
            group["interval"] = "2s"
            for rule in group["rules"]:
                # A day is how long a node is remembered, not how long one waits.
                ranges = re.findall(r"\[(\d+[smh])\]", rule["expr"])
                rule["expr"] = re.sub(r"\[(\d+[smh])\]", lambda found: f"[{shorter(found[1])}]", rule["expr"])
                if "alert" in rule:
                    rule["for"] = shorter(rule.get("for", "0s")) if rule.get("for") else "0s"
                    waits = int(rule["for"][:-1]) + sum(int(shorter(one)[:-1]) for one in ranges[:1])
                    limits[rule["alert"]] = waits + 30.0
            groups.append(group)
    path.write_text(yaml.safe_dump({"groups": groups}))
    return limits


def scrape_config(targets: Path, rules_file: Path, apiserver: Json) -> Json:
    """Return the configuration of docs/runbooks for a Prometheus without the operator, for this cluster.

    `apiserver`: the job that scrapes the API server, as every cluster's monitoring has one. Debian builds Prometheus
    without Kubernetes' discovery, so a file has what that would find, under the same names.
    """
    document: Json = yaml.safe_load((ROOT / "docs/runbooks/prometheus.yaml").read_text())
    (job,) = document["scrape_configs"]
    del job["kubernetes_sd_configs"]
    job["file_sd_configs"] = [{"files": [str(targets)], "refresh_interval": "1s"}]
    document["scrape_configs"].append(apiserver)
    document["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    document["rule_files"] = [str(rules_file)]
    return document


def apiserver_job(kubeconfig: Path, folder: Path) -> Json:
    """Return a job that scrapes the API server; write its credentials to the folder."""
    document = json.loads(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    files = {
        "ca_file": cluster["certificate-authority-data"],
        "cert_file": user["client-certificate-data"],
        "key_file": user["client-key-data"],
    }
    for name, data in files.items():
        (folder / name).write_bytes(base64.b64decode(data))
    return {
        "job_name": "apiserver",
        "scheme": "https",
        "tls_config": {name: str(folder / name) for name in files},
        "static_configs": [{"targets": [cluster["server"].removeprefix("https://")]}],
    }


def discover(kube: Kube, targets: Path) -> None:
    """Write the targets that Prometheus would find by itself."""
    found = []
    for pod in kube.items("pods", SYSTEM):
        meta = {
            "__meta_kubernetes_namespace": SYSTEM,
            "__meta_kubernetes_pod_name": pod["metadata"]["name"],
            "__meta_kubernetes_pod_node_name": pod["spec"].get("nodeName", ""),
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": pod["metadata"]["labels"].get(
                "app.kubernetes.io/name", ""
            ),
        }
        address = pod["status"].get("podIP")
        for container in pod["spec"]["containers"] if address else ():
            for port in container.get("ports", ()):
                more = {
                    "__meta_kubernetes_pod_container_name": container["name"],
                    "__meta_kubernetes_pod_container_port_name": port.get("name", ""),
                }
                found.append({"targets": [f"{address}:{port['containerPort']}"], "labels": meta | more})
    temporary = targets.with_suffix(".new")
    temporary.write_text(json.dumps(found))
    temporary.rename(targets)


@contextlib.contextmanager
def repeated(act: Callable[[], object]) -> Iterator[None]:
    """Something that goes on while the context lasts."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(1.0):
            with contextlib.suppress(OSError, CommandFailed):
                act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Watched:
    """The cluster, its Prometheus, and how soon each alert has to fire."""

    kube: Kube
    prometheus: Prometheus
    limits: dict[str, float]
    images: dict[str, str]

    def firing(self) -> set[str]:
        """Alerts that fire now."""
        return {one["labels"]["alertname"] for one in self.prometheus.alerts() if one["state"] == "firing"}


@pytest.fixture(scope="session")
def watched(
    kube: Kube, project: dict[str, images.Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    by_role = {role: image.name for role, image in project.items()}
    install.install(kube, by_role, simulated=True, more=VALUES)
    folder = tmp_path_factory.mktemp("prometheus")
    limits = rules(kube, folder / "rules.yaml")
    kube.namespace(NAMESPACE)
    targets = folder / "targets.json"
    discover(kube, targets)
    apiserver = apiserver_job(Path(kube.kubeconfig), folder)
    with (
        repeated(lambda: discover(kube, targets)),
        running(folder, scrape_config(targets, folder / "rules.yaml", apiserver)) as prometheus,
    ):
        made = Watched(kube, prometheus, limits, by_role)
        wait_for("the parts are scraped", lambda: len(prometheus.instant("up == 1")) >= 3, PATIENCE)
        wait_for("nothing fires", lambda: not made.firing(), PATIENCE, lambda: str(made.firing()))
        yield made
    kube.run("delete", "namespace", NAMESPACE, "--wait=false")
    install.install(kube, by_role, simulated=True)
