"""The whole of it: process, HTTP, driver, files."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unigpu import grants, names, node_report, policy, usage
from unigpu.allocations import Share
from unigpu.breaches import Key, Kind
from unigpu.gpus import Fault, Gpu
from unigpu.node_report import Entry, Report
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent

GPU_A = {"node": "node-1", "gpu": "3", "uuid": "GPU-a", "model": "T4"}
Start = Callable[..., Any]
CONTAINER_METRICS = {
    names.METRIC_MEMORY_USED: 0,
    names.METRIC_ALLOCATION_FAILURES: 0,
    names.METRIC_MEMORY_LIMIT: 1 << 30,
    names.METRIC_CORES_LIMIT: 0.3,
    names.METRIC_CORES_CEILING: 0.3,
    names.METRIC_CORES_CURRENT: 0.3,
    names.METRIC_COMPUTE_SECONDS: 0,
    names.METRIC_THROTTLED_SECONDS: 0,
    names.METRIC_THROTTLED_LAUNCHES: 0,
    names.METRIC_CONTAINER_INFO: 1,
}


def add(root: Path, pod: str, gpu: str, index: int = 0) -> Path:
    """A container with a share of one GPU, as the node agent writes it down."""
    given = GpuUuid(gpu)
    share = Share(given, MiB(1024), Percent(30))
    grant = grants.Grant(
        "team", pod, f"uid-{pod}", "main", ("slot",), (share,), {given: index}, True, "hami", models={given: "T4"}
    )
    folder = Path(grants.folder(root / "containers", grant.pod_uid, grant.container))
    folder.mkdir(parents=True)
    limits = (policy.GpuLimit(given, Bytes(1 << 30), Percent(30), Percent(30)),)
    (folder / grants.POLICY_FILE).write_bytes(policy.pack(policy.Policy(limits, True, True, ComputePolicy.HARD)))
    (folder / grants.USAGE_FILE).write_bytes(bytes(usage.SIZE))
    (folder / grants.GRANT_FILE).write_text(grants.dump(grant))
    return folder


def of_pod(samples: Any, pod: str) -> dict[str, float]:
    """Value by metric, of a pod with one GPU."""
    return {name: value for name, entries in samples.items() for labels, value in entries if labels.get("pod") == pod}


def test_from_allocation_on_until_the_folder_goes(exporter: Start, tmp_path: Path) -> None:
    running = exporter()
    assert of_pod(running.samples(), "train") == {}
    folder = add(tmp_path, "train", "GPU-a", 3)
    samples = running.samples()
    assert of_pod(samples, "train") == CONTAINER_METRICS
    ((labels, _),) = samples[names.METRIC_MEMORY_USED]
    assert labels == {"namespace": "team", "pod": "train", "container": "main", **GPU_A}
    assert samples[names.METRIC_GPU_MEMORY_GRANTED] == [(GPU_A, 1 << 30)]
    assert samples[names.METRIC_GPU_SHARES] == [(GPU_A, 1)]
    shutil.rmtree(folder.parent)
    assert of_pod(running.samples(), "train") == {}


def test_a_torn_container_is_reported_and_the_others_are_served(exporter: Start, tmp_path: Path) -> None:
    add(tmp_path, "good", "GPU-a")
    (add(tmp_path, "torn", "GPU-b") / grants.GRANT_FILE).write_text("{")
    (add(tmp_path, "short", "GPU-c") / grants.USAGE_FILE).write_bytes(b"UGUS")
    samples = exporter().samples()
    assert of_pod(samples, "good") == CONTAINER_METRICS
    assert [labels for labels, _ in samples[names.METRIC_CONTAINER_UNREADABLE]] == [
        {"node": "node-1", "pod_uid": "uid-torn", "container": "main", "file": grants.GRANT_FILE},
        {"node": "node-1", "pod_uid": "uid-short", "container": "main", "file": grants.USAGE_FILE},
    ]
    assert names.METRIC_MEMORY_LIMIT in of_pod(samples, "short")
    assert names.METRIC_MEMORY_USED not in of_pod(samples, "short")


def test_gpus_of_the_driver(exporter: Start, simulated: list[str], tmp_path: Path) -> None:
    running = exporter(*simulated)
    samples = running.samples()
    assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 1)]
    assert [labels["gpu"] for labels, _ in samples[names.METRIC_GPU_MEMORY_TOTAL]] == ["0", "1"]
    (labels, total), _ = samples[names.METRIC_GPU_MEMORY_TOTAL]
    assert 14 << 30 < total < 16 << 30
    assert [value for _, value in samples[names.METRIC_GPU_HEALTHY]] == [1, 1]
    assert [value for _, value in samples[names.METRIC_GPU_MEMORY_GRANTED]] == [0, 0]
    add(tmp_path, "train", labels["uuid"])
    assert [value for _, value in running.samples()[names.METRIC_GPU_MEMORY_GRANTED]] == [1 << 30, 0]


def test_a_lost_gpu_is_unhealthy(exporter: Start, simulated: list[str]) -> None:
    running = exporter(*simulated)
    running.samples()
    state = simulated[0].removeprefix("--simulator-dir=")
    for change, healthy in (("--lost", [1, 0]), ("--found", [1, 1])):
        done = subprocess.run(
            [sys.executable, "-m", "simulator", "inject", "--gpu", "1", change],
            env={**os.environ, "UNIGPU_SIM_DIR": state},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert [value for _, value in running.samples()[names.METRIC_GPU_HEALTHY]] == healthy


def test_what_the_agent_reports(exporter: Start, simulated: list[str], tmp_path: Path) -> None:
    running = exporter(*simulated)
    (first, second) = (one[0]["uuid"] for one in running.samples()[names.METRIC_GPU_HEALTHY])
    assert not {names.METRIC_CONTAINER_BREACH, names.METRIC_GPU_FOREIGN} & running.samples().keys()
    fault = Fault("XID 79, which needs a reset of the GPU", "2026-01-01T00:00:00Z")
    report = Report(
        (
            Gpu(GpuUuid(first), 0, 0, "Tesla T4", MiB(15360), foreign=MiB(4096)),
            Gpu(GpuUuid(second), 1, 1, "Tesla T4", MiB(15360), healthy=False, fault=fault),
        ),
        (
            Entry(Key(Kind.STRANGER, GpuUuid(first)), Bytes(4096 << 20), Bytes(0), "now"),
            Entry(Key(Kind.MEMORY, GpuUuid(first), "uid", "main"), Bytes(2), Bytes(1), "now", "team", "pod"),
        ),
        "boot",
    )
    file = tmp_path / node_report.REPORT_FILE
    file.write_text(node_report.dump(report))
    samples = running.samples()
    # One truth: the driver answers for both.
    assert {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_HEALTHY]} == {first: 1, second: 0}
    assert {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_FOREIGN]} == {
        first: 4096 << 20,
        second: 0,
    }
    ((labels, value),) = samples[names.METRIC_GPU_FAULT]
    assert (labels["uuid"], labels["gpu"], labels["reason"], labels["since"], value) == (
        *(second, "1", fault.reason, fault.since),
        1,
    )
    ((labels, value),) = samples[names.METRIC_CONTAINER_BREACH]
    assert (value, labels) == (
        1,
        {
            "namespace": "team",
            "pod": "pod",
            "container": "main",
            "pod_uid": "uid",
            "node": "node-1",
            "gpu": "0",
            "uuid": first,
            "model": "Tesla T4",
            "kind": "memory",
        },
    )
    os.utime(file, (0, 0))  # its agent is dead: the exporter says what it sees itself
    samples = running.samples()
    assert {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_HEALTHY]} == {first: 1, second: 1}
    assert not {names.METRIC_CONTAINER_BREACH, names.METRIC_GPU_FOREIGN} & samples.keys()
    file.write_text("{")
    assert len(running.samples()[names.METRIC_GPU_HEALTHY]) == 2


def test_without_a_driver_containers_are_served(exporter: Start, tmp_path: Path) -> None:
    add(tmp_path, "train", "GPU-a")
    running = exporter()
    for _ in range(2):
        samples = running.samples()
        assert of_pod(samples, "train") == CONTAINER_METRICS
        assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 0)]
        assert names.METRIC_GPU_MEMORY_TOTAL not in samples
    assert running.stop() == 0
    told = [entry for entry in running.log if entry["message"] == "driver doesn't answer"]
    assert len(told) == 1
    assert "is the driver installed" in str(told[0]["error"])


def test_a_driver_that_hangs_costs_one_deadline(exporter: Start, tmp_path: Path) -> None:
    folder = tmp_path / "host" / "usr" / "lib"
    folder.mkdir(parents=True)
    source = Path(__file__).parent / "hanging_nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    add(tmp_path, "train", "GPU-a")
    running = exporter("--driver-deadline=2")
    seconds = []
    for _ in range(3):
        samples = running.samples()
        assert of_pod(samples, "train") == CONTAINER_METRICS
        assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 0)]
        seconds.append(samples[names.METRIC_EXPORTER_DURATION][0][1])
    # The first scrape waits; while that look hangs, nobody waits again.
    assert seconds[0] >= 2
    assert max(seconds[1:]) < 2
    assert running.get("/healthz")[0] == 200
    assert running.stop() == 0


def test_a_root_that_cannot_be_listed_is_an_error_until_it_can(exporter: Start, tmp_path: Path) -> None:
    (tmp_path / "containers").write_text("not a folder")
    running = exporter()
    assert running.get("/readyz")[0] == 200
    status, text = running.get("/metrics")
    assert status == 503
    assert "Not a directory" in text
    assert running.get("/readyz")[0] == 503
    assert running.get("/healthz")[0] == 200
    (tmp_path / "containers").unlink()
    assert running.get("/readyz")[0] == 200
    assert running.get("/metrics")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(exporter: Start, number: signal.Signals) -> None:
    running = exporter()
    running.samples()
    running.process.send_signal(number)
    assert running.stop() == 0
    assert running.log[-1]["message"] == "ended"


def test_a_port_that_is_taken_is_an_error(exporter: Start, tmp_path: Path) -> None:
    running = exporter()
    command = [sys.executable, "-m", "exporter", f"--port={running.port}", f"--state-dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "in use" in done.stderr
