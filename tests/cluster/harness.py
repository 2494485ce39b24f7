"""Clusters for tests, with their own names next to other clusters of the machine, and checks for their leftovers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cluster import cgroups, network, settings

KUBERNETES = os.environ.get("UNIGPU_KUBERNETES", "")
"""Version of the tests' clusters, as `python -m cluster up --kubernetes` takes it; empty for the newest."""

POLL = 0.1
"""Seconds between two checks of a condition."""


def command(name: str, *arguments: str) -> list[str]:
    """Return the command line of `python -m cluster`."""
    first, *rest = arguments
    if first == "up" and KUBERNETES:
        rest += ["--kubernetes", KUBERNETES]
    return [sys.executable, "-m", "cluster", first, "--name", name, *rest]


def run(name: str, *arguments: str, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run a cluster command to its end; an error fails the test with the command's output."""
    done = subprocess.run(command(name, *arguments), cwd=settings.ROOT, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
    return done


def kubectl(name: str, *arguments: str, text: str | None = None) -> str:
    """Run kubectl; return its stdout. An error fails the test."""
    done = subprocess.run(
        [str(settings.BIN / "kubectl"), "--kubeconfig", str(settings.Layout(name).kubeconfig), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def get(name: str, *arguments: str) -> Any:
    """Return the parsed output of `kubectl get … -o json`."""
    return json.loads(kubectl(name, "get", *arguments, "-o", "json"))


def wait(what: str, condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fail the test when it isn't true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL)


def net_namespaces(pids: Iterable[int]) -> set[str]:
    """Return the network namespaces of these processes, except our own."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found - {str(Path("/proc/self/ns/net").readlink())}


def processes(name: str) -> set[int]:
    """Return every process of the cluster: in its control groups, or with its folder on the command line."""
    found = cgroups.members(settings.Layout(name))
    home = str(settings.Layout(name).home) + "/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if home in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.add(int(entry.name))
    return found


def leftovers(name: str, namespaces: Iterable[str] = ()) -> list[str]:
    """Return everything that is left of a cluster: nothing, when it was stopped.

    `namespaces` are network namespaces that it had.
    """
    layout = settings.Layout(name)
    bridge = network.bridge_name(layout)
    found = [f"process {pid}" for pid in sorted(processes(name))]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(layout.home) in line or cgroups.branch(layout) in line]
    found += [f"device {entry.name}" for entry in Path("/sys/class/net").iterdir() if entry.name.startswith(bridge)]
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found += [f"network namespace {entry}" for entry in net_namespaces(everyone) & set(namespaces)]
    for place, _ in cgroups.hierarchies():
        group = place / cgroups.branch(layout).strip("/")
        found += [f"control group {group}"] if group.exists() else []
    routes = subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout
    found += [f"route {line}" for line in routes.splitlines() if bridge in line]
    found += [f"folder {layout.home}"] if layout.home.exists() else []
    return found


def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a cluster command in its own process group, without waiting for it."""
    return subprocess.Popen(
        command(name, *arguments),
        cwd=settings.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
        start_new_session=True,
    )
