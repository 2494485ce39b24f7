"""Threads, forks and every hook's work under the sanitizers and valgrind: nothing to say."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, ROOT, Machine

RUNTIMES = {"address": "libasan.so", "thread": "libtsan.so", "undefined": "libubsan.so"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99:report_signal_unsafe=0",
    "UNIGPU_LOG": "none",
    "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99",
}


def runtime(sanitizer: str) -> str:
    said = subprocess.run(["cc", f"-print-file-name={RUNTIMES[sanitizer]}"], check=True, capture_output=True, text=True)
    return str(Path(said.stdout.strip()).resolve())


@pytest.mark.parametrize("sanitizer", RUNTIMES)
def test_threads(machine: Machine, compiled: Callable[..., Path], sanitizer: str) -> None:
    library = ROOT / f"build/sanitize/{sanitizer}/libvgpu.so"
    trial = machine.trial((0, 600)) | {"LD_PRELOAD": f"{runtime(sanitizer)} {library}"}
    # The program itself is instrumented for threads alone: their checker has to see its locks.
    flags = ("-fsanitize=thread",) if sanitizer == "thread" else ()
    done = machine.attempt(compiled("threads", *flags), "4", "400", CUDA_VISIBLE_DEVICES="0", **trial, **OPTIONS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("family", ["linear", "pool", "array", "physical", "module"])
@pytest.mark.parametrize("sanitizer", ["address", "undefined"])
def test_families(machine: Machine, compiled: Callable[..., Path], sanitizer: str, family: str) -> None:
    library = ROOT / f"build/sanitize/{sanitizer}/libvgpu.so"
    trial = machine.trial((0, 600)) | {"LD_PRELOAD": f"{runtime(sanitizer)} {library}"}
    program = compiled("families", "-Lbuild/simulator", "-l:libcuda.so.1")
    process = machine.start(program, family, str(4 << 20), CUDA_VISIBLE_DEVICES="0", **trial, **OPTIONS)
    said, complaint = process.communicate("\n\n\n", timeout=60)
    assert (process.returncode, complaint) == (0, "")
    assert [line.split()[0] for line in said.splitlines()] == ["full", "half", "free"]


def test_threads_without_a_sanitizer(machine: Machine, compiled: Callable[..., Path]) -> None:
    machine.run(compiled("threads"), "8", "5000", CUDA_VISIBLE_DEVICES="0", **machine.trial((0, 600)))
    assert machine.total() == 0


def test_valgrind(machine: Machine) -> None:
    trial = machine.trial((0, 600))
    command: list[str | Path] = [
        "valgrind",
        "-q",
        "--error-exitcode=99",
        "--soname-synonyms=somalloc=nothing",
        PROBE,
        "--step",
        "64",
    ]
    done = machine.attempt(*command, CUDA_VISIBLE_DEVICES="0", **trial)
    complaints = [line for line in done.stderr.splitlines() if LIBRARY.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
