"""The simulated GPUs of a node: `unigpu-sim` makes their state before the node starts."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from cluster import errors, nodes, settings, state

LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")


def missing() -> str:
    """A sentence on what is missing for simulated GPUs, empty if nothing is."""
    absent = [library for library in LIBRARIES if not (settings.SIMULATOR / library).exists()]
    if absent:
        return f"The simulated driver is not built ({', '.join(absent)}): run `make native`, or take --gpus 0."
    if not command().exists():
        return "The command unigpu-sim is missing: run `make setup`, or take --gpus 0."
    return ""


def command() -> pathlib.Path:
    """`unigpu-sim` of the Python environment that runs this."""
    return pathlib.Path(sys.executable).parent / "unigpu-sim"


def create(layout: settings.Layout, known: state.State, node: str) -> None:
    """Makes the node's GPUs, unless it has them. Raises StepFailed with what the simulator says."""
    folder = nodes.simulator_folder(layout, node)
    if folder.exists() and any(folder.iterdir()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            str(command()),
            "create",
            "--dir",
            str(folder),
            "--profile",
            known.settings.profile,
            "--gpus",
            str(known.settings.gpus),
        ],
        capture_output=True,
        text=True,
        cwd=settings.ROOT,
    )
    if done.returncode != 0:
        raise errors.StepFailed(f"The simulated GPUs of {node} can't be made: {done.stderr.strip()}")
