"""The scrape config for a Prometheus without the operator finds the same as the PodMonitor, with the same labels."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.promql import promtool
from tests.chart.rendering import CHART, ROOT, Rendered
from unigpu import names

CONFIG = yaml.safe_load((ROOT / "docs/runbooks/prometheus.yaml").read_text())


@pytest.fixture
def job() -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = CONFIG["scrape_configs"]
    return found


def test_prometheus_takes_it(job: dict[str, Any], tmp_path: Path) -> None:
    # Debian's Prometheus is built without service discovery of Kubernetes.
    (found,) = job.pop("kubernetes_sd_configs")
    assert found == {"role": "pod", "namespaces": {"names": [names.SYSTEM_NAMESPACE]}}
    for file in CONFIG["rule_files"]:
        (tmp_path / file).write_text((CHART / "rules" / file).read_text())
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(CONFIG))
    promtool("check", "config", tmp_path / "prometheus.yaml")


def test_it_names_every_file_of_rules() -> None:
    optional = {"opencost.yaml"}  # it would be averaged with OpenCost's own samples where nobody switched those off
    assert set(CONFIG["rule_files"]) == {file.name for file in (CHART / "rules").iterdir()} - optional


def test_samples_get_the_labels_that_the_operator_gives_them(job: dict[str, Any], every_option: Rendered) -> None:
    endpoints = every_option.get("PodMonitor", "unigpu")["spec"]["podMetricsEndpoints"]
    keep, *labels = job["relabel_configs"]
    assert keep["regex"] == f"unigpu;({'|'.join(endpoint['port'] for endpoint in endpoints)})"
    own = {"targetLabel": "node", "sourceLabels": ["__meta_kubernetes_pod_node_name"]}
    for endpoint in endpoints:
        assert job["honor_labels"] == endpoint["honorLabels"] is True
        assert endpoint["relabelings"] == [own]
    assert {label["target_label"] for label in labels} == {"namespace", "pod", "container", own["targetLabel"]}
