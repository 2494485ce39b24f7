"""Measure what a hostile container costs others on its node: starts of honest containers, and scrapes.

The node agent and the exporter are the real ones, with a kubelet and an API server of the tests. Rounds with and
without the hostile container alternate, so that whatever else the machine does meets both alike. The hostile container
takes 20,000 locks on its usage file, has leases on its files, forges its usage, makes the file large and sparse, forks,
and lets a program of another container hold a lock on its file.

    python bench/neighbour.py [--rounds N]
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.integration.deviceplugin.conftest import Machine, one

HONEST = 20
PROMISED = 1.10
"""How much longer things may take."""
SETTLED = 1.5
"""Seconds from the end of a round to the next one."""
HOSTILE = """
import fcntl, os, signal, struct, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
usage, policy = sys.argv[1:]
file = os.open(usage, os.O_RDWR)
lock = struct.Struct("hhqqi0q")
for place in range(20000):
    start = (1 << 30) + 2 * place
    fcntl.fcntl(file, fcntl.F_SETLK, lock.pack(fcntl.F_WRLCK, 0, start, 1, 0))
for leased in (policy, usage):
    try:
        descriptor = os.open(leased, os.O_RDONLY)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        pass
print("ready", flush=True)
parent = os.getpid()
while True:
    os.pwrite(file, os.urandom(4096), 128)
    for slot in range(1024):
        os.pwrite(file, bytes([7, 0, 0, 0, 1, 0, 0, 0]), 4096 + 576 * slot)
    os.pwrite(file, b"x", 1 << 29)
    os.posix_fallocate(file, 0, 8 << 20)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.05)
"""
PASSED = """
import fcntl, os, struct, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, (1 << 30) + 7, 1, 0))
print("ready", flush=True)
time.sleep(1e6)
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator[None]:
    """A program, once it says that it is ready."""
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


async def starts(machine: Machine, round: int) -> list[float]:
    """Seconds that the agent took for each of the honest containers, all started at once."""
    pods = [await machine.create(f"honest-{round}-{number}", main=one(number % 4, 200, 1)) for number in range(HONEST)]

    async def start(pod: dict[str, Any]) -> float:
        began = time.perf_counter()
        await machine.kubelet.prestart(pod, "main")
        return time.perf_counter() - began

    taken = await asyncio.gather(*(start(pod) for pod in pods))
    for pod in pods:
        await machine.remove(pod)
    deadline = time.monotonic() + 60
    while any(machine.folder(pod).exists() for pod in pods) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return list(taken)


def scrape(port: int) -> float:
    """Seconds for one page."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        page.read()
    return time.perf_counter() - began


def exporter(machine: Machine) -> tuple["subprocess.Popen[bytes]", int]:
    """The exporter on the agent's folder, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "exporter", f"--port={port}", f"--state-dir={machine.state}", "--node=node-a"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(600):
        with contextlib.suppress(OSError):
            scrape(port)
            return process, port
        time.sleep(0.1)
    raise SystemExit("the exporter doesn't serve")


async def measure(rounds: int) -> int:
    """Run the rounds, print the medians, and return the exit status."""
    found: dict[str, dict[str, list[float]]] = {
        what: {"without": [], "with": []} for what in ("start of a container", "scrape")
    }
    with tempfile.TemporaryDirectory(prefix="unigpu-") as folder:
        nvml = Path(folder) / "nvml.so"
        source = Path(__file__).parents[1] / "tests/integration/deviceplugin/nvml.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", nvml, source], check=True)  # noqa: ASYNC221
        (Path(folder) / "node").mkdir()
        machine = Machine(Path(folder) / "node", nvml)
        machine.arguments = ["--proc-root", "/proc"]
        await machine.start()
        process = None
        try:
            machine.run()
            await machine.serving()
            hostile = await machine.create("hostile", main=one(0, 200, 1))
            await machine.kubelet.prestart(hostile, "main")
            # In a thread, as all that waits: this loop is also the API server and the kubelet.
            process, port = await asyncio.to_thread(exporter, machine)
            files = [str(machine.folder(hostile) / name) for name in ("usage", "policy")]
            await starts(machine, 0)
            for round in range(1, 2 * rounds + 1):
                kind = "with" if round % 2 else "without"
                # A slot that was just given back isn't given away again before runtimes have noticed.
                await asyncio.sleep(SETTLED)
                with contextlib.ExitStack() as stack:
                    if kind == "with":
                        await asyncio.to_thread(stack.enter_context, running(HOSTILE, *files))
                        await asyncio.to_thread(stack.enter_context, running(PASSED, files[0]))
                    found["start of a container"][kind] += await starts(machine, round)
                    found["scrape"][kind] += [await asyncio.to_thread(scrape, port) for _ in range(10)]
        finally:
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            await machine.stop()
    worst = 0.0
    for what, times in found.items():
        before, after = (statistics.median(times[kind]) for kind in ("without", "with"))
        worst = max(worst, after / before)
        tail = statistics.quantiles(times["with"], n=20)[-1]
        print(
            f"{what}: median {before * 1000:.1f} ms without a hostile neighbour, {after * 1000:.1f} ms with one "
            f"({after / before:.2f} times; 95 % within {tail * 1000:.1f} ms), {len(times['with'])} measured each"
        )
    print(f"promised: {PROMISED:.2f} times at most; load of the machine {os.getloadavg()[0]:.0f}")
    return 0 if worst <= PROMISED else 1


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds with the hostile container, and without")
    return asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    sys.exit(main())
