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

from tests.integration.exporter.conftest import Driver
from unigpu import grants, names, node_report, policy, telemetry, usage
from unigpu.allocations import Share
from unigpu.breaches import Key, Kind
from unigpu.gpus import Fault, Gpu
from unigpu.node_report import Entry, Report
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from unigpu.walls import Wall, Walls

GPU_A = {"node": "node-1", "gpu": "3", "uuid": "GPU-a", "model": "T4"}
Start = Callable[..., Any]
CONTAINER_METRICS = {
    names.METRIC_MEMORY_USED: 0,
    names.METRIC_MEMORY_PEAK: 0,
    names.METRIC_ALLOCATION_FAILURES: 0,
    names.METRIC_MEMORY_LIMIT: 1 << 30,
    names.METRIC_CORES_LIMIT: 0.3,
    names.METRIC_CORES_CEILING: 0.3,
    names.METRIC_CORES_CURRENT: 0.3,
    names.METRIC_COMPUTE_SECONDS: 0,
    names.METRIC_THROTTLED_SECONDS: 0,
    names.METRIC_THROTTLED_LAUNCHES: 0,
    names.METRIC_LAUNCHES: 0,
    names.METRIC_MEMORY_KIND: 0,
    names.METRIC_CONTAINER_INFO: 1,
    names.METRIC_CONTAINER_PROCESSES: 0,
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


def test_gpus_of_the_driver(exporter: Start, driver: Driver, tmp_path: Path) -> None:
    running = exporter()
    driver.look()
    samples = running.samples()
    assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 1)]
    assert [labels["gpu"] for labels, _ in samples[names.METRIC_GPU_MEMORY_TOTAL]] == ["0", "1"]
    (labels, total), _ = samples[names.METRIC_GPU_MEMORY_TOTAL]
    assert 14 << 30 < total < 16 << 30
    assert [value for _, value in samples[names.METRIC_GPU_MEMORY_USED]] == [0, 0]
    assert [value for _, value in samples[names.METRIC_GPU_MEMORY_GRANTED]] == [0, 0]
    assert names.METRIC_GPU_HEALTHY not in samples, "that is in the agent's report alone"
    add(tmp_path, "train", labels["uuid"])
    assert [value for _, value in running.samples()[names.METRIC_GPU_MEMORY_GRANTED]] == [1 << 30, 0]


def test_a_gpu_that_is_lost_has_no_values(exporter: Start, driver: Driver) -> None:
    running = exporter()
    for change, there in (("--found", ["0", "1"]), ("--lost", ["0"]), ("--found", ["0", "1"])):
        driver.inject("--gpu", "1", change)
        driver.look()
        samples = running.samples()
        assert [labels["gpu"] for labels, _ in samples[names.METRIC_GPU_MEMORY_TOTAL]] == there
        assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 1)]


def test_what_the_agent_reports(exporter: Start, driver: Driver, tmp_path: Path) -> None:
    running = exporter()
    driver.look()
    (first, second) = (one[0]["uuid"] for one in running.samples()[names.METRIC_GPU_MEMORY_TOTAL])
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
        Walls({Wall.DRIVER: "too old"}),
    )
    file = tmp_path / node_report.REPORT_FILE
    add(tmp_path, "pod-w", first)
    assert names.METRIC_CONTAINER_WALL not in running.samples()
    file.write_text(node_report.dump(report))
    samples = running.samples()
    # One truth: the driver answers for both.
    assert {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_HEALTHY]} == {first: 1, second: 0}
    assert {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_FOREIGN]} == {
        first: 4096 << 20,
        second: 0,
    }
    free = {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_MEMORY_FREE]}
    assert free == {first: (15360 - 4096 - 1024) << 20, second: 0}
    cores = {labels["uuid"]: value for labels, value in samples[names.METRIC_GPU_CORES_FREE]}
    assert cores == {first: 0.7, second: 0}
    assert {labels["wall"]: value for labels, value in samples[names.METRIC_NODE_WALL]} == {
        "libvgpu": 1,
        "driver": 0,
        "comparison": 1,
    }
    walls = {(labels["pod"], labels["wall"]): value for labels, value in samples[names.METRIC_CONTAINER_WALL]}
    assert walls == {("pod-w", "libvgpu"): 1, ("pod-w", "driver"): 0, ("pod-w", "comparison"): 1}
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
    of_the_report = {names.METRIC_GPU_HEALTHY, names.METRIC_CONTAINER_BREACH, names.METRIC_GPU_FOREIGN}
    os.utime(file, (0, 0))  # its agent is dead, and nobody knows
    samples = running.samples()
    assert not of_the_report & samples.keys()
    file.write_text("{")
    samples = running.samples()
    assert not of_the_report & samples.keys()
    assert len(samples[names.METRIC_GPU_MEMORY_TOTAL]) == 2


def test_without_a_driver_containers_are_served(exporter: Start, driver: Driver, tmp_path: Path) -> None:
    """The agent takes its file away, or is dead, or hangs, or its file is damaged."""
    add(tmp_path, "train", "GPU-a")
    running = exporter()
    file = tmp_path / telemetry.TELEMETRY_FILE

    def served(up: int) -> None:
        samples = running.samples()
        assert of_pod(samples, "train") == CONTAINER_METRICS
        assert samples[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, up)]
        assert (names.METRIC_GPU_MEMORY_TOTAL in samples) is bool(up)

    served(0)
    driver.look()
    served(1)
    driver.lose()
    served(0)
    driver.look()
    os.utime(file, (0, 0))
    served(0)
    for _ in range(2):
        file.write_text("{")
        served(0)
    driver.look()
    served(1)
    assert running.stop() == 0
    told = [entry for entry in running.log if entry["message"] == "agent's file can't be read"]
    assert [entry["file"] for entry in told] == [str(file)]


def test_it_opens_no_file_of_the_driver(exporter: Start, driver: Driver) -> None:
    driver.look()
    running = exporter()
    assert running.samples()[names.METRIC_EXPORTER_DRIVER] == [({"node": "node-1"}, 1)]
    process = Path(f"/proc/{running.process.pid}")
    opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
    mapped = {line.split(maxsplit=5)[5] for line in (process / "maps").read_text().splitlines() if line.count("/")}
    assert not [file for file in opened | mapped if "nvidia" in file or str(driver.state) in file]


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


def test_sensors_and_dcgm_exporters_names(exporter: Start, driver: Driver, tmp_path: Path) -> None:
    driver.look()
    plain = exporter().samples()
    assert not [name for name in plain if name.startswith("DCGM_")]
    uuid = plain[names.METRIC_GPU_SHARES][0][0]["uuid"]
    add(tmp_path, "p", uuid)
    for wanted in ("shares", "all"):
        found = exporter(f"--dcgm-names={wanted}").samples()
        ((labels, value),) = found["DCGM_FI_DEV_FB_FREE"]
        assert (labels["pod"], labels["namespace"], labels["container"], value) == ("p", "team", "main", 1024)
        assert (labels["UUID"], labels["gpu"], labels["device"], labels["Hostname"]) == (uuid, "0", "nvidia0", "node-1")
        assert found["DCGM_FI_DEV_GPU_UTIL"][0][1] == 0
        of_gpus = {
            name: entries for name, entries in found.items() if name in ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_SM_CLOCK")
        }
        assert bool(of_gpus) is (wanted == "all")
        for entries in of_gpus.values():
            assert len(entries) == 2 and all("pod" not in about for about, _ in entries)
        temperature = found[names.METRIC_GPU_TEMPERATURE]
        assert len(temperature) == 2 and 20 < temperature[0][1] < 100
        clocks = {labels["clock"]: value for labels, value in found[names.METRIC_GPU_CLOCK] if labels["uuid"] == uuid}
        assert clocks.keys() == {"sm", "memory"} and all(1e8 < value < 1e11 for value in clocks.values())
        if of_gpus:
            assert of_gpus["DCGM_FI_DEV_GPU_TEMP"][0][1] == temperature[0][1]
            assert of_gpus["DCGM_FI_DEV_SM_CLOCK"][0][1] * 1e6 == clocks["sm"]
