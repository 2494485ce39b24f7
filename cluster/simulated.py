"""Create the simulated GPUs of a node with `unigpu-sim`, before the node starts."""

from __future__ import annotations

import pathlib
import sys

from cluster import commands, errors, nodes, settings, state

LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")


def missing() -> str:
    """Return a sentence that names what simulated GPUs need, or an empty string if nothing is missing."""
    absent = [library for library in LIBRARIES if not (settings.SIMULATOR / library).exists()]
    if absent:
        return f"The simulated driver is not built yet ({', '.join(absent)}): run `make simulator`, or use --gpus 0."
    if not command().exists():
        return "The command unigpu-sim is not installed: run `make setup`, or use --gpus 0."
    return ""


def command() -> pathlib.Path:
    """Return the path of `unigpu-sim` in this Python environment."""
    return pathlib.Path(sys.executable).parent / "unigpu-sim"


def create(layout: settings.Layout, known: state.State, node: str) -> None:
    """Create the node's GPUs unless they exist. Raises StepFailed with the simulator's message."""
    folder = nodes.simulator_folder(layout, node)
    if folder.exists() and any(folder.iterdir()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    done = commands.run(
        [
            str(command()),
            "create",
            "--dir",
            str(folder),
            "--profile",
            known.settings.profile,
            "--gpus",
            str(known.settings.gpus),
        ]
    )
    if done.returncode != 0:
        raise errors.StepFailed(f"Can't create the simulated GPUs of {node}: {done.stderr.strip()}")
