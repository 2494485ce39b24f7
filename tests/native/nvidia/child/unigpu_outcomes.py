"""A pytest plugin that writes down each test's start and end at once, so that a crash shows where it happened.

It runs in the environments of other people's tests and therefore stands alone.
"""

import ctypes
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = Path(os.environ["UNIGPU_OUTCOMES"])
SIMULATOR = os.environ["UNIGPU_SIMULATOR"]
MACHINE = os.environ["UNIGPU_SIM_DIR"]
_library = ctypes.CDLL(SIMULATOR)
_library.unigpu_sim_describe.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_text = ctypes.create_string_buffer(1 << 20)
_failed: dict[str, str] = {}


def _write(**event: object) -> None:
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def _busy() -> int:
    """Return how long the machine's GPUs have run kernels."""
    if _library.unigpu_sim_describe(MACHINE.encode(), _text, len(_text)):
        return 0
    return sum(gpu["busy_ns"] for gpu in json.loads(_text.value)["gpus"])


def pytest_collectreport(report: Any) -> None:
    """Write down a file that can't be collected."""
    if report.failed:
        _write(event="end", test=report.nodeid, outcome="failed", text=str(report.longrepr), kernels=False)
    elif report.skipped:
        _write(event="end", test=report.nodeid, outcome="skipped", text="", kernels=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any) -> Iterator[None]:
    """Write down the start and the end of a test."""
    _failed.clear()
    _write(event="start", test=item.nodeid)
    before = _busy()
    result = yield
    outcome = _failed.get("outcome", "passed")
    _write(event="end", test=item.nodeid, outcome=outcome, text=_failed.get("text", ""), kernels=_busy() > before)
    return result


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the worst of the test's phases."""
    if report.failed:
        _failed.setdefault("outcome", "failed")
        _failed["outcome"] = "failed"
        _failed["text"] = _failed.get("text", "") + report.longreprtext[-6000:]
    elif report.skipped and "outcome" not in _failed:
        _failed["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"


@pytest.fixture
def initialize_from_pytest_config(request: Any) -> None:
    """Stand in for a fixture of numba-cuda's own conftest, which its package doesn't ship."""
    request.cls._dump_failed_filechecks = False
