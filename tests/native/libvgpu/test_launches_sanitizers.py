"""Launches that are measured, learned and waited for, under the sanitizers: nothing to say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT, Machine
from tests.native.libvgpu.test_launches import LINKED, MS, trial
from tests.native.libvgpu.test_sanitizers import OPTIONS, RUNTIMES, runtime


@pytest.mark.parametrize("story", ["plain", "graph", "thread", "capture", "child", "contexts"])
@pytest.mark.parametrize("sanitizer", RUNTIMES)
def test_launches(machine: Machine, compiled: Callable[..., Path], sanitizer: str, story: str) -> None:
    library = ROOT / f"build/sanitize/{sanitizer}/libvgpu.so"
    environment = trial(machine, 50) | {"LD_PRELOAD": f"{runtime(sanitizer)} {library}"} | OPTIONS
    flags = ("-fsanitize=thread",) if sanitizer == "thread" else ()
    program = machine.start(compiled("launches", *LINKED, *flags), story, "10", str(3 * MS), **environment)
    said, complaint = program.communicate("\n", timeout=60)
    assert (program.returncode, complaint) == (0, "")
    assert said.splitlines()[-1].startswith("done")
