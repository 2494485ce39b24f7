"""Measure how long a scrape of the exporter takes, over HTTP, for many shares with a living process in each.

    python bench/exporter.py [--shares N] [--gpus N …]

The benchmark creates a tree of containers' folders as the node agent and libvgpu do, holds every container's lock, runs
the exporter as on a node, and fetches /metrics. `moving` changes one usage file in a hundred between two scrapes. For
comparison, `families` passes the same samples through prometheus-client's own families, in process.
"""

import argparse
import fcntl
import http.client
import json
import mmap
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from unigpu import grants, names, policy, usage
from unigpu.allocations import Share
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent

SCRAPES = 25


class Tree:
    """Containers' folders, with the locks of their living processes."""

    def __init__(self, root: Path, shares: int, gpus: int) -> None:
        self.files: list[int] = []
        self._gpus = gpus
        uuids = [GpuUuid(f"GPU-{number:08d}-0000-4000-8000-000000000000") for number in range(16)]
        for number in range(shares // gpus):
            given = tuple(Share(uuids[(number + gpu) % len(uuids)], MiB(2048), Percent(25)) for gpu in range(gpus))
            grant = grants.Grant(
                namespace=f"team-{number % 40}",
                pod=f"training-{number}",
                pod_uid=f"{number:08d}-1111-4222-8333-444444444444",
                container="main",
                slots=(f"slot-{number}",),
                shares=given,
                indexes={share.gpu: uuids.index(share.gpu) for share in given},
                isolated=True,
                dialect="hami",
            )
            limits = tuple(policy.GpuLimit(share.gpu, Bytes(2 << 30), Percent(25), Percent(25)) for share in given)
            folder = Path(grants.folder(root / "containers", grant.pod_uid, grant.container))
            folder.mkdir(parents=True)
            (folder / grants.GRANT_FILE).write_text(grants.dump(grant))
            (folder / grants.POLICY_FILE).write_bytes(
                policy.pack(policy.Policy(limits, True, True, ComputePolicy.HARD))
            )
            self.files.append(self._usage(folder / grants.USAGE_FILE, number % usage.SLOT_COUNT))

    def _usage(self, path: Path, slot: int) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.truncate(descriptor, usage.SIZE)
        os.pwrite(descriptor, struct.pack("<II", usage.MAGIC, usage.VERSION), 0)
        start = usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE
        os.pwrite(descriptor, struct.pack("<IIQ", 7, 1, 1), start)
        for gpu in range(self._gpus):
            os.pwrite(
                descriptor, struct.pack("<Q", 1 << 30), start + usage.SLOT_GPUS_OFFSET + gpu * usage.SLOT_GPU_SIZE
            )
            os.pwrite(
                descriptor, struct.pack("<5Q", 1 << 30, 1, 1 << 30, 0, 0), usage.TOTALS_OFFSET + gpu * usage.TOTAL_SIZE
            )
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, usage.LOCKS_OFFSET + slot)
        return descriptor

    def change(self, turn: int) -> None:
        """Change the peak in one usage file of a hundred."""
        for descriptor in self.files[turn % 100 :: 100]:
            with mmap.mmap(descriptor, usage.SLOTS_OFFSET) as view:
                struct.pack_into("<Q", view, usage.TOTALS_OFFSET + 16, turn + 1)


def scrape(port: int) -> tuple[float, bytes]:
    """Fetch /metrics; return the seconds that it took, and the page."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {body[:200]!r}")
    return time.perf_counter() - began, body


def through_families(page: bytes) -> float:
    """Return the seconds that prometheus-client takes for the same samples, with labels and values known."""
    known = [
        (family.name, [(list(sample.labels.values()), sample.value) for sample in family.samples], family.samples)
        for family in text_string_to_metric_families(page.decode())
        if family.name.startswith("unigpu_container")
    ]

    class Families(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, samples, first in known:
                family = GaugeMetricFamily(name, name, labels=list(first[0].labels) if first else [])
                for labels, value in samples:
                    family.add_metric(labels, value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    began = time.perf_counter()
    generate_latest(registry)
    return time.perf_counter() - began


def measure(shares: int, gpus: int) -> dict[str, float]:
    """Measure one number of shares and GPUs; milliseconds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        tree = Tree(Path(folder), shares, gpus)
        arguments = [sys.executable, "-m", "exporter", "--port=0", f"--state-dir={folder}", "--log-json"]
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        try:
            port = 0
            for line in process.stderr or ():
                if json.loads(line)["message"] == "serving":
                    port = json.loads(line)["port"]
                    break
            first, page = scrape(port)
            found = page.count(f"\n{names.METRIC_MEMORY_USED}{{".encode())
            if found != shares // gpus * gpus:
                raise RuntimeError(f"{found} shares on the page")
            still = statistics.median(scrape(port)[0] for _ in range(SCRAPES))
            moved = []
            for turn in range(SCRAPES):
                tree.change(turn)
                moved.append(scrape(port)[0])
            cpu = Path(f"/proc/{process.pid}/statm").read_text().split()
        finally:
            process.terminate()
            process.wait()
        for descriptor in tree.files:
            os.close(descriptor)
        return {
            "first": first * 1e3,
            "still": still * 1e3,
            "moving": statistics.median(moved) * 1e3,
            "families": through_families(page) * 1e3,
            "MB": len(page) / 1e6,
            "RSS MB": int(cpu[1]) * resource.getpagesize() / 1e6,
        }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure how long a scrape of the exporter takes.")
    parser.add_argument("--shares", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8], help="GPUs per container")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("milliseconds a scrape, median; page and memory in MB; goal: 10 ms for 1,024 shares")
    columns = ("first", "still", "moving", "families", "MB", "RSS MB")
    print(f"{'shares':>8}{'gpus':>7}" + "".join(f"{name:>11}" for name in columns))
    for shares in given.shares:
        for gpus in given.gpus:
            figures = measure(shares, gpus)
            print(f"{shares:>8}{gpus:>7}" + "".join(f"{figures[name]:>11.1f}" for name in columns), flush=True)


if __name__ == "__main__":
    main()
