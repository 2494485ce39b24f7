"""The demo's result: rows from what was read back, and the text that is printed."""

import dataclasses
import json
from pathlib import Path

import pytest

from cluster import settings
from demo import report, walkthrough
from demo.kube import CommandFailed, Kube, TimedOut, wait_for
from tests.unit.demo.pods import GPU, output, pod
from unigpu import names
from unigpu.units import BYTES_PER_MIB

STATUS = "NODE      GPU  POD\nunigpu-1  0    unigpu-demo/aliyun-isolated\n"


def metrics(used: int = 193) -> report.Metrics:
    values = {
        names.METRIC_MEMORY_USED: float(used * BYTES_PER_MIB),
        names.METRIC_MEMORY_LIMIT: float(3072 * BYTES_PER_MIB),
    }
    return {("aliyun-isolated", "main", GPU): values}


def row(**changes: str) -> report.Row:
    return dataclasses.replace(report.row(pod(), output(), metrics()), **changes)


def test_a_row_joins_annotations_program_and_metrics() -> None:
    assert row() == report.Row(
        pod="aliyun-isolated",
        dialect="alibaba",
        request="aliyun.com/gpu-mem: 3",
        gpus="GPU-5c620c50…",
        sees="3,072",
        allocated="2,926",
        metrics="193 of 3,072",
    )


def test_a_program_on_another_gpu_than_its_allocation_is_conspicuous() -> None:
    wrong = report.row(pod(), output("GPU-99999999-0000-4000-8000-000000000000"), metrics())
    assert (wrong.sees, wrong.allocated) == ("not this GPU!", "")


def test_an_error_other_than_out_of_memory_is_shown() -> None:
    assert report.row(pod(), output(error="CUDA_ERROR_UNKNOWN"), metrics()).allocated == "2,926\nCUDA_ERROR_UNKNOWN"


def test_the_text_has_the_table_the_refusal_the_status_and_the_next_steps() -> None:
    refusal = "denied the request:\ncontainer probe: tencent.com/vcuda-core = [150]: not a share"
    text = report.render([row()], refusal, STATUS, ["kubectl get pods", "make down  # stop"], existing=False)
    lines = text.splitlines()
    assert any("aliyun-isolated" in line and "193 of 3,072" in line for line in lines)
    assert report.LEGEND in lines
    assert "  container probe: tencent.com/vcuda-core = [150]: not a share" in lines, "brackets aren't markup"
    assert "  unigpu-1  0    unigpu-demo/aliyun-isolated" in lines
    assert lines.index("The cluster stays up. Next steps:") > lines.index("  NODE      GPU  POD")
    assert "  make down  # stop" in lines
    assert not any(line.endswith(" ") for line in lines)


def test_on_the_users_own_cluster_the_text_says_what_stays() -> None:
    assert "stays installed on your cluster" in report.render([row()], "no", STATUS, [], existing=True)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH with kubectl and helm."""
    folder = tmp_path / "my tools"
    folder.mkdir()
    for name in ("kubectl", "helm"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_next_steps_lead_to_the_tools_and_the_plugin(tools: Path) -> None:
    kube = Kube(Path("/a b/kubeconfig"), str(settings.BIN / "kubectl"), str(settings.BIN / "helm"))
    export, *commands = report.next_steps(kube, existing=False)
    assert export == f"export KUBECONFIG='/a b/kubeconfig' PATH={settings.BIN}:$PATH:{report.PLUGINS}"
    assert any(line.startswith("kubectl unigpu status") for line in commands)
    assert any(line.startswith(f"make -C {settings.ROOT} down") for line in commands)


def test_tools_on_the_users_path_are_left_as_they_are(tools: Path) -> None:
    kube = Kube(Path("/config"), str(tools / "kubectl"), str(tools / "helm"))
    export, *commands = report.next_steps(kube, existing=True)
    assert export == f"export KUBECONFIG=/config PATH=$PATH:{report.PLUGINS}"
    assert not any(" down" in line for line in commands)
    assert any(line.startswith("helm uninstall unigpu") for line in commands)


def kubectl(folder: Path, script: str) -> Kube:
    """A cluster whose kubectl is a shell script."""
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Kube(folder / "config", str(program), "helm")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ('starting\n{"gpus": 1}\n{"gpus": 2}\n', {"gpus": 2}),
        ('{"gpus": 1}\n{"gpu', {"gpus": 1}),
        ("starting\n", None),
    ],
)
def test_the_newest_whole_line_of_a_program_counts(tmp_path: Path, log: str, expected: object) -> None:
    (tmp_path / "log").write_text(log)
    assert report.probe_output(kubectl(tmp_path, f"cat {tmp_path}/log"), "demo", "a") == expected


def test_a_container_without_a_log_has_no_output_yet(tmp_path: Path) -> None:
    assert report.probe_output(kubectl(tmp_path, "echo 'not found' >&2; exit 1"), "demo", "a", "main") is None


def exporter(folder: Path, used: int) -> Kube:
    """A cluster with one exporter, which reports one container."""
    labels = f'pod="aliyun-isolated",container="main",gpu="0",uuid="{GPU}"'
    page = "".join(
        f"# TYPE {name} gauge\n{name}{{{labels}}} {value}\n"
        for name, value in ((names.METRIC_MEMORY_USED, used), (names.METRIC_MEMORY_LIMIT, 3072 * BYTES_PER_MIB))
    )
    (folder / "page").write_text(page)
    (folder / "pods").write_text(json.dumps({"items": [{"metadata": {"name": "agent"}}]}))
    return kubectl(folder, f'case "$*" in *--raw*) cat {folder}/page;; *) cat {folder}/pods;; esac')


def test_metrics_are_keyed_by_pod_container_and_gpu(tmp_path: Path) -> None:
    assert report.metrics(exporter(tmp_path, 193 * BYTES_PER_MIB)) == metrics()


def test_metrics_are_waited_for_until_every_pod_uses_memory(tmp_path: Path) -> None:
    pods: dict[str, object] = {"aliyun-isolated": {}}
    assert report.metrics_of_all(exporter(tmp_path, 0), pods) is None
    assert report.metrics_of_all(exporter(tmp_path, BYTES_PER_MIB), pods) == metrics(1)
    assert report.metrics_of_all(exporter(tmp_path, BYTES_PER_MIB), {**pods, "other": {}}) is None
    assert report.metrics_of_all(kubectl(tmp_path, "exit 1"), pods) is None


def test_a_manifest_gets_the_clusters_image_and_a_busy_program() -> None:
    (document,) = walkthrough.manifest("01", "localhost/probe:1")
    (container,) = document["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "localhost/probe:1"
    assert walkthrough.expected(("01",), "x") == 3
    assert walkthrough.expected((*walkthrough.FIRST, *walkthrough.OPEN), "x") == 9


def test_a_walkthrough_before_the_demo_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert walkthrough.main([str(tmp_path / "plan.json"), "metrics"]) == 1
    assert "run `make demo` first" in capsys.readouterr().err


def test_the_walkthrough_prints_the_exporters_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kube = exporter(tmp_path, BYTES_PER_MIB)
    plan = {"kubeconfig": str(kube.kubeconfig), "kubectl": kube.kubectl, "helm": kube.helm}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert walkthrough.main([str(tmp_path / "plan.json"), "metrics"]) == 0
    assert capsys.readouterr().out == (tmp_path / "page").read_text()


def test_a_cluster_that_fails_is_reported_by_the_walkthrough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kube = kubectl(tmp_path, "echo 'connection refused' >&2; exit 1")
    plan = {"kubeconfig": str(kube.kubeconfig), "kubectl": kube.kubectl, "helm": kube.helm}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert walkthrough.main([str(tmp_path / "plan.json"), "metrics"]) == 1
    assert "connection refused" in capsys.readouterr().err


def test_a_command_that_takes_too_long_fails(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no answer within"):
        kubectl(tmp_path, "exec sleep 600").run("get", "pods", timeout=0.1)


def test_a_condition_that_never_holds_times_out_with_the_last_state() -> None:
    with pytest.raises(TimedOut, match=r"waiting until pods run\. 1 of 2 pods"):
        wait_for("pods run", lambda: None, 0.0, lambda: "1 of 2 pods")


def test_a_namespace_is_ready_once_its_service_account_exists(tmp_path: Path) -> None:
    script = (
        f"case $1 in apply) cat > {tmp_path}/applied;;"
        f" *) [ -e {tmp_path}/asked ] && echo serviceaccount/default; touch {tmp_path}/asked;; esac; exit 0"
    )
    kubectl(tmp_path, script).namespace("demo")
    (applied,) = json.loads((tmp_path / "applied").read_text())["items"]
    assert applied["metadata"]["name"] == "demo"
