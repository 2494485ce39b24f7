"""Make a node a machine of simulated GPUs: the driver's libraries in a folder, and the machine, unless there is one."""

import os
import shutil
from pathlib import Path
from typing import Final

from simulator import machine

DRIVER: Final = ("libcuda.so.1", "libnvidia-ml.so.1")


def install(libraries: Path, folder: Path, plan: machine.Plan) -> bool:
    """Copy the driver into `libraries`, and create the machine in `folder`; return whether it was created.

    A machine that exists stays as it is, so that running programs keep it. Raises MachineError.
    """
    source = machine.library_path().parent
    try:
        libraries.mkdir(parents=True, exist_ok=True)
        for name in DRIVER:
            _copy(source / name, libraries / name)
    except OSError as error:
        raise machine.MachineError(f"the driver can't be copied to {libraries}: {error.strerror or error}") from error
    if (folder / "state").exists():
        machine.describe(folder)  # a damaged one is said, not replaced: programs may use it
        return False
    machine.create(folder, plan)
    return True


def _copy(source: Path, target: Path) -> None:
    """Replace a library in one step: programs that have loaded the old one keep it."""
    if target.exists() and source.read_bytes() == target.read_bytes():
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
