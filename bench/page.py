"""Measure the page with a large cluster in headless Chromium: until it is usable, and what the server takes.

    python -m bench.page [--nodes N] [--shares N] [--runs N]

`usable`: nodes, GPUs and sums are drawn and answer to the keyboard; the first time without what pods have, which is
still being read. `whole`: with all shares. Times are from the moment when the viewer's token is sent. `first` is a
viewer whom the server has never seen, `again` one whose last answer is still good. The API server is played, in a
process of its own; its answers are ready and compressed.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.large_cluster import Server
from tests.page.browser import Tab, chromium

Times = dict[str, list[float]]


@contextlib.contextmanager
def started(*command: str, says: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a module; yield it with the first line that has the text."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        yield process, next(line for line in process.stdout if says in line).strip()
    finally:
        process.terminate()
        process.wait()


async def visit(address: str) -> dict[str, float]:
    """Open the page, give the token, and return when what was drawn, in seconds since then."""
    async with chromium() as tab:
        await tab.size(1280, 900)
        await tab.open(address)
        await tab.until("!document.getElementById('sign-in').hidden")
        began = await tab.value(
            f"document.getElementById('token').value = '{Server.TOKEN}';"
            "performance.clearMarks();"
            "document.getElementById('token-form').requestSubmit(); performance.now()"
        )
        await tab.until("performance.getEntriesByName('all').length")
        return {name: (await _mark(tab, name) - began) / 1000 for name in ("usable", "whole")} | {
            "search": await _search(tab)
        }


async def _mark(tab: Tab, name: str) -> float:
    return float(await tab.value(f"performance.getEntriesByName('{name}')[0].startTime"))


async def _search(tab: Tab) -> float:
    """Seconds that typing the name of one pod takes until its node alone is drawn."""
    taken = await tab.value(
        "(() => { const began = performance.now(); const field = document.getElementById('search');"
        "field.value = 'worker-041234'; field.dispatchEvent(new Event('input'));"
        "return performance.now() - began })()"
    )
    assert await tab.value("document.getElementById('found').textContent") == "1 node, page 1 of 1"
    return float(taken) / 1000


def _cpu_and_memory(pid: int) -> tuple[float, float]:
    """CPU seconds, and the highest MiB, of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    highest = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), highest / 1024


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measures the page with a large cluster in headless Chromium.")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--shares", type=int, default=80_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    times: dict[str, Times] = {"first": {}, "again": {}}
    size = (f"--nodes={given.nodes}", f"--shares={given.shares}")
    with started("bench.large_cluster", *size, says="http") as (_, api), tempfile.TemporaryDirectory():
        for _ in range(given.runs):
            options = (f"--api-server={api}", "--port=0", "--metrics-port=0", "--host=127.0.0.1", "--refresh=600")
            with started("page", *options, "--log-json", says='"serving"') as (server, line):
                port = int(line.partition('"port":')[2].partition(",")[0])
                for kind in ("first", "again"):
                    for name, seconds in asyncio.run(visit(f"http://127.0.0.1:{port}/")).items():
                        times[kind].setdefault(name, []).append(seconds)
                    if kind == "first":
                        cpu, memory = _cpu_and_memory(server.pid)
                        times[kind].setdefault("server's CPU", []).append(cpu)
            time.sleep(0.5)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{given.nodes} nodes, {given.shares} shares, {given.runs} runs, load {load}; median (highest), seconds")
    for kind, found in times.items():
        row = ", ".join(f"{name} {statistics.median(all_):.2f} ({max(all_):.2f})" for name, all_ in found.items())
        print(f"  {kind:6} {row}")
    print(f"  highest memory of the server in the last run: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
