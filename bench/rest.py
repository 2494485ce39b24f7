"""Measure what the node agent and the exporter take of a core while many containers hold a share and nothing happens.

The agent and the exporter are the real ones, with a kubelet, an API server and a driver of the tests, and with the
chart's arguments. The node's containers started before the agent did. Each has its files as libvgpu leaves them, with
the lock of a living program that is idle. Nothing changes any more, and the kernel says how much processor time the
agent, its process that calls NVML, and the exporter take. The exporter is measured without scrapes, and with one in 15
seconds.

    python bench/rest.py [--shares N …] [--seconds N] [--policy hard|soft]
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import neighbour
from deviceplugin.allocation import allocate
from deviceplugin.node.node_state import Node
from deviceplugin.store.container_store import ContainerStore
from tests.integration.deviceplugin import conftest
from tests.integration.deviceplugin.conftest import Machine, make_pod, share
from unigpu import grants, usage
from unigpu.grants import Grant
from unigpu.requests import ComputePolicy, Request

GPUS = 8
SHARES_PER_GPU = 128
MEMORY = 150
"""MiB of each share."""
SETTLED = 45.0
"""Seconds from the agent's start to the first measurement. By then each grant has been looked at once."""
SCRAPE = 15.0
"""Seconds between two scrapes."""
PROMISED = 1.0
"""Percent of a core, for all processes together, without scrapes."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Programs:
    """What an idle program leaves in each container's usage file, and its lock."""

    def __init__(self) -> None:
        self._files: list[int] = []

    def start(self, folder: Path) -> None:
        """One living program in this container."""
        descriptor = os.open(folder / grants.USAGE_FILE, os.O_RDWR | os.O_CLOEXEC)
        os.pwrite(descriptor, struct.pack("<IIQ", 7, 1, 1), usage.SLOTS_OFFSET)
        os.pwrite(descriptor, struct.pack("<Q", 1 << 20), usage.SLOTS_OFFSET + usage.SLOT_GPUS_OFFSET)
        os.pwrite(descriptor, struct.pack("<3Q", 1 << 20, 1 << 48 | 1, 1 << 20), usage.TOTALS_OFFSET)
        os.pwrite(descriptor, struct.pack("<II", usage.MAGIC, usage.VERSION), 0)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, usage.LOCKS_OFFSET)
        self._files.append(descriptor)

    def close(self) -> None:
        """End all programs."""
        for descriptor in self._files:
            os.close(descriptor)


def machine(folder: Path) -> Machine:
    """Return a node with several GPUs, whose agent has the chart's arguments."""
    library, root = folder / "nvml.so", Path(__file__).parents[1]
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", f"-I{root}", "-o", library, Path(__file__).with_name("rest_nvml.c")],
        check=True,
    )
    (folder / "node").mkdir()
    made = Machine(folder / "node", library)
    for gpu in range(GPUS):
        (made.sim / f"gpu{gpu}").touch()
    (made.sim / "count").write_text(str(GPUS))
    made.arguments = [
        *("--proc-root", "/proc", "--cgroup-root", "/sys/fs/cgroup", "--shares-per-gpu", str(SHARES_PER_GPU)),
        # The defaults again: the tests' own are quicker.
        *("--probe-interval", "5", "--probe-deadline", "30", "--kubelet-poll", "0.5", "--republish-interval", "60"),
    ]
    return made


async def hold(node: Machine, programs: Programs, shares: int, compute: ComputePolicy) -> None:
    """Give so many containers a share each, as an earlier agent left them: they run."""
    store = ContainerStore(node.state / "containers")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # noqa: ASYNC240
    for number in range(shares):
        # Not more than all of a GPU's compute time is given away: every second container has memory only.
        given = share(number % GPUS, MEMORY, number // GPUS % 2)
        request = Request(gpus=1, memory=given.memory, cores=given.cores, policy=compute)
        pod = make_pod(f"rest-{number}", {"main": (request, [given])})
        uid = pod["metadata"]["uid"]
        grant = Grant(
            *("default", f"rest-{number}", uid, "main", (f"slot-{number:04d}",), (given,), {given.gpu: number % GPUS}),
            *(True, "hami"),
            env={},
            boot=boot,
        )
        programs.start(store.write(grant, allocate.limit(Node("node-a", boot), request, [given])))
        since = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"name": "main", "state": {"running": {"startedAt": since}}, "restartCount": 0}
        await node.api.put("pods", {**pod, "status": {"phase": "Running", "containerStatuses": [status]}})


def spent(pid: int) -> float:
    """Seconds of processor time that a process has taken, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(pid: int) -> list[int]:
    """Pids of a process's children."""
    return [int(one) for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]


async def shares_of_a_core(pids: dict[str, list[int]], seconds: float, port: int = 0) -> dict[str, float]:
    """Return percent of a core by name; with a `port`, the exporter there is scraped while that is measured."""
    before = {name: sum(map(spent, which)) for name, which in pids.items()}
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        if port:
            await asyncio.to_thread(neighbour.scrape, port)
        await asyncio.sleep(min(left, SCRAPE) if port else left)
    passed = time.monotonic() - began
    return {name: 100 * (sum(map(spent, which)) - before[name]) / passed for name, which in pids.items()}


async def row(shares: int, seconds: float, compute: ComputePolicy) -> dict[str, float]:
    """Return percent of a core for a node with so many shares."""
    programs = Programs()
    with tempfile.TemporaryDirectory(prefix="unigpu-", dir="/dev/shm") as folder, contextlib.ExitStack() as stack:
        stack.callback(programs.close)
        node = machine(Path(folder))
        await node.start()
        exporter = None
        try:
            await hold(node, programs, shares, compute)
            node.run()
            await node.serving(GPUS * SHARES_PER_GPU)
            exporter, port = await asyncio.to_thread(neighbour.exporter, node)
            assert node.agent is not None
            await asyncio.sleep(SETTLED)
            await asyncio.to_thread(neighbour.scrape, port)
            pids = {"agent": [node.agent.pid], "probe": children(node.agent.pid), "exporter": [exporter.pid]}
            found = await shares_of_a_core(pids, seconds)
            found["in all"] = sum(found.values())
            scraped = await shares_of_a_core({"exporter": [exporter.pid]}, seconds, port)
            return {**found, "exporter, scraped": scraped["exporter"]}
        finally:
            if exporter is not None:
                exporter.kill()
                exporter.wait()
            await node.stop()


async def measure(numbers: list[int], seconds: float, compute: ComputePolicy) -> int:
    """Measure each number of shares, print a table, and return the exit status."""
    print(f"percent of one core over {seconds:g} s at rest; promised: {PROMISED:g} in all, without scrapes")
    columns = ("agent", "probe", "exporter", "in all", "exporter, scraped")
    print(f"{'shares':>8}" + "".join(f"{name:>19}" for name in columns), flush=True)
    worst = 0.0
    for shares in numbers:
        found = await row(shares, seconds, compute)
        worst = max(worst, found["in all"])
        print(f"{shares:>8}" + "".join(f"{found[name]:>19.2f}" for name in columns), flush=True)
    return 0 if worst <= PROMISED else 1


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=int, nargs="+", default=[0, 64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--policy", choices=("hard", "soft"), default="hard", help="of the shares of compute time")
    given = parser.parse_args()
    conftest.PATIENCE = 600.0  # a start with a thousand containers may take longer than a test waits
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asyncio.run(measure(given.shares, given.seconds, ComputePolicy(given.policy)))


if __name__ == "__main__":
    sys.exit(main())
