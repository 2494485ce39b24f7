"""Decide why a test failed, from what its process reported; pure."""

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final


class Cause(enum.StrEnum):
    """What a test came to. A crash or a hang is never anything else."""

    PASSED = "passed"
    SKIPPED = "skipped"
    KERNEL = "kernel's results"
    """It ran kernels and then compared: instructions don't run on the simulator, so nothing was computed."""
    CUDART = "cudart"
    """The CUDA runtime refuses any driver that isn't NVIDIA's own."""
    TEST = "test's own"
    """The test itself calls wrongly: it would fail on any GPU."""
    OTHER = "other"
    """A package, a tool or a display is missing."""
    SIMULATOR = "simulator"
    """Whatever remains."""
    CRASH = "crash"
    HANG = "hang"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One test and what became of it."""

    test: str
    cause: Cause
    text: str = ""


_CUDART: Final = re.compile(r"cudaError|[Cc]udart|libcudart|cuda\.bindings\.runtime|cuda\.cudart|\bcudaGet\w+")
_DRIVER: Final = re.compile(r"CUDA_ERROR_\w+|CUresult|NVML_ERROR_\w+|NVMLError|CUDAError|CudaAPIError")
_MISSING: Final = re.compile(
    r"ModuleNotFoundError|ImportError|No module named|DynamicLibNotFound|cannot open shared object file"
    r"|fixture '\w+' not found|FileNotFoundError|NVRTC_ERROR|NVVM_ERROR|nvJitLinkError|nvFatbinError|CUFILE|cuFile"
    r"|CompileException|CompileError|Cython\.Compiler"
)
_WRONG_CALL: Final = re.compile(r"ArgumentError|TypeError: \w+\(\) (?:missing|takes|got)")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One test that came to something else under limits; None: it wasn't there."""

    test: str
    without: Cause | None
    limited: Cause | None
    text: str
    """What it said under limits."""


def differences(without: Iterable[Outcome], limited: Iterable[Outcome]) -> list[Difference]:
    """Return the tests whose outcome differs, in the order of their names."""
    before, after = ({outcome.test: outcome for outcome in each} for each in (without, limited))
    found = []
    for test in sorted(before.keys() | after.keys()):
        causes = [each[test].cause if test in each else None for each in (before, after)]
        if causes[0] is not causes[1]:
            found.append(Difference(test, causes[0], causes[1], after[test].text if test in after else ""))
    return found


def said(text: str) -> str:
    """Return the line in which pytest tells the last error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return ([line for line in errors if not line.startswith(("+", "-", "?"))] or lines or [""])[-1]


def cause(report: Mapping[str, Any]) -> Cause:
    """Return the cause of a finished test.

    `outcome`, `text` and `kernels`: pytest's word, the failure's text, and whether kernels ran.
    """
    if report["outcome"] in {"passed", "xfailed"}:
        return Cause.PASSED
    if report["outcome"] == "skipped":
        return Cause.SKIPPED
    text = str(report["text"])
    if _CUDART.search(text):
        return Cause.CUDART
    if _WRONG_CALL.search(said(text)):
        return Cause.TEST
    if _MISSING.search(said(text)):
        return Cause.OTHER
    if report["kernels"] and not _DRIVER.search(said(text)):
        return Cause.KERNEL
    return Cause.SIMULATOR


def with_known(outcome: Outcome, known: Mapping[str, str]) -> Outcome:
    """Return the outcome with the known cause of a failure that was laid to the simulator; never of a crash."""
    if outcome.cause is not Cause.SIMULATOR:
        return outcome
    named = next((cause for part, cause in known.items() if part in outcome.test), None)
    return dataclasses.replace(outcome, cause=Cause(named)) if named else outcome
