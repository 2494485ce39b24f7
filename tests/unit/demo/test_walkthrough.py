"""The demo's walkthrough on a cluster that is a script: pods, refusal, status, and what is written at the end."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster import settings
from demo import report, walkthrough
from tests.unit.demo.pods import GPU, output, pod
from unigpu import names
from unigpu.units import BYTES_PER_MIB

KUBECTL = r"""#!/bin/sh
folder=$(dirname "$0")
echo "$*" >> "$folder/asked"
case "$*" in
  apply*)
    grep -q '"150"\|: 150' - && { echo 'denied the request: tencent.com/vcuda-core = 150' >&2; exit 1; }
    echo ok;;
  *serviceaccounts*) echo serviceaccount/default;;
  *--raw*) cat "$folder/page";;
  logs*) cat "$folder/output";;
  *"-n unigpu-demo -o json"*) cat "$folder/pods";;
  *unigpu-system*) echo '{"items": [{"metadata": {"name": "agent"}}]}';;
esac
exit 0
"""


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The plan of a demo on the user's own cluster, on which all pods run."""
    number = walkthrough.expected(walkthrough.FIRST, "x")
    pods = [pod(f"pod-{index}") | {"status": {"phase": "Running"}} for index in range(number)]
    lines = [
        f'{metric}{{pod="{one["metadata"]["name"]}",container="main",uuid="{GPU}"}} {BYTES_PER_MIB}'
        for metric in (names.METRIC_MEMORY_USED, names.METRIC_MEMORY_LIMIT)
        for one in pods
    ]
    (tmp_path / "pods").write_text(json.dumps({"items": pods}))
    (tmp_path / "output").write_text(json.dumps(output()) + "\n")
    (tmp_path / "page").write_text("\n".join(lines) + "\n")
    status = '#!/bin/sh\necho "status of $KUBECONFIG by $1"\n'
    monkeypatch.setattr(walkthrough, "PLUGIN", Path(program(tmp_path / "kubectl-unigpu", status)))
    made = {
        "kubeconfig": str(tmp_path / "config"),
        "existing": True,
        "kubectl": program(tmp_path / "kubectl", KUBECTL),
        "helm": program(tmp_path / "helm", '#!/bin/sh\necho "helm $*" >> "$(dirname "$0")/asked"\n'),
        "images": {"services": "r.example/unigpu:1", "probe": "r.example/probe:1", "scheduler": "r.example/sched:1"},
        "driver": "nvidia",
    }
    (tmp_path / "plan.json").write_text(json.dumps(made))
    return made


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_the_result_has_every_pod_the_refusal_and_the_status(plan: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    assert walkthrough.main([str(tmp_path / "plan.json"), "pods", str(table)]) == 0
    text = table.read_text()
    assert all(f" pod-{index} " in text for index in range(walkthrough.expected(walkthrough.FIRST, "x")))
    assert "denied the request: tencent.com/vcuda-core = 150" in text
    assert f"status of {tmp_path / 'config'} by status" in text
    assert f"make -C {settings.ROOT} metrics" in text
    assert text.index("Who has which GPU") < text.index("Next steps:")


def test_on_the_users_cluster_no_pod_takes_all_of_a_gpu(plan: dict[str, Any], tmp_path: Path) -> None:
    assert walkthrough.main([str(tmp_path / "plan.json"), "pods", str(tmp_path / "table.txt")]) == 0
    applied = [line for line in asked(tmp_path) if line.startswith(f"apply -n {report.DEMO_NAMESPACE}")]
    assert len(applied) == 2, "the pods that stay within their share, and the refused one"


def test_a_refused_manifest_that_is_accepted_fails_the_demo(
    plan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path / "kubectl", KUBECTL.replace("exit 1", "true"))
    assert walkthrough.main([str(tmp_path / "plan.json"), "pods", str(tmp_path / "table.txt")]) == 1
    assert "admission should have refused manifest 15" in capsys.readouterr().err


def test_the_chart_is_installed_with_the_users_images(plan: dict[str, Any], tmp_path: Path) -> None:
    assert walkthrough.main([str(tmp_path / "plan.json"), "install"]) == 0
    (upgrade,) = [line for line in asked(tmp_path) if line.startswith("helm upgrade")]
    assert "image.registry=r.example" in upgrade
    assert "image.repository=unigpu" in upgrade
    assert "scheduler.image.repository=sched" in upgrade
    assert "--reset-then-reuse-values" in upgrade, "values that were set before stay"
    assert "simulated" not in upgrade
