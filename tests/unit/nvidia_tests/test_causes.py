"""Why other people's tests fail: what the runner concludes from what their processes report."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.native.nvidia.causes import Cause, Difference, Outcome, cause, differences, said, with_known
from tests.native.nvidia.processes import PLUGIN_FOLDER, find_test_files, run_file, run_program
from tests.native.nvidia.suites import FILE, suites


@pytest.mark.parametrize(
    ("outcome", "text", "kernels", "expected"),
    [
        ("passed", "", False, Cause.PASSED),
        ("xfailed", "", False, Cause.PASSED),
        ("skipped", "", False, Cause.SKIPPED),
        ("failed", "a.py:3: in f\nE   AssertionError: 0 != 5", True, Cause.KERNEL),
        ("failed", "a.py:3: in f\nE   AssertionError: 0 != 5", False, Cause.SIMULATOR),
        ("failed", "a.py:3: in f\nE   CUDAError: CUDA_ERROR_INVALID_VALUE", True, Cause.SIMULATOR),
        ("failed", "E   assert <cudaError_t.cudaErrorInsufficientDriver: 35> == 0", False, Cause.CUDART),
        ("failed", "E   ModuleNotFoundError: No module named 'cupy'", True, Cause.OTHER),
        ("failed", "E   TypeError: f() missing 1 required positional argument: 'index'", False, Cause.TEST),
        (
            "failed",
            "E   ctypes.ArgumentError: argument 3: TypeError: Don't know how to convert parameter 3",
            False,
            Cause.TEST,
        ),
    ],
)
def test_cause(outcome: str, text: str, kernels: bool, expected: Cause) -> None:
    assert cause({"outcome": outcome, "text": text, "kernels": kernels}) is expected


def test_known_causes_are_of_failures_only() -> None:
    known = {"properties": "cudart"}
    assert with_known(Outcome("a::properties", Cause.SIMULATOR), known).cause is Cause.CUDART
    assert with_known(Outcome("a::other", Cause.SIMULATOR), known).cause is Cause.SIMULATOR
    assert with_known(Outcome("a::properties", Cause.CRASH), known).cause is Cause.CRASH


def test_said() -> None:
    assert said("a.py:3: in f\nE   ValueError: wrong\na.py:3: ValueError") == "ValueError: wrong"
    assert said("one\ntwo\n") == "two"
    assert said("") == ""


def test_a_crash_or_a_hang_is_nothing_else(tmp_path: Path) -> None:
    def run(text: str, limit_s: float = 30) -> Cause:
        return run_program([sys.executable, "-c", text], tmp_path, os.environ, limit_s).cause

    assert run("") is Cause.PASSED
    assert run("raise SystemExit(1)") is Cause.SIMULATOR
    assert run(f"import os; print('cudart', flush=True); os.kill(os.getpid(), {signal.SIGSEGV.value})") is Cause.CRASH
    assert run("import threading; threading.Event().wait()", 0.2) is Cause.HANG


def test_a_file_that_cant_begin_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.write_text("def test_a() -> None:\n    pass\n")
    environment = os.environ | {"PYTHONPATH": str(PLUGIN_FOLDER)}  # the plugin needs more than that
    (outcome,) = run_file([sys.executable, "-m", "pytest", "-q"], file, tmp_path, environment, 30)
    assert outcome.test == "test_a.py (outside of its tests)"
    assert outcome.cause is Cause.SIMULATOR
    assert "UNIGPU_SIMULATOR" in outcome.text


def test_files_are_found_as_pytest_finds_them(tmp_path: Path) -> None:
    for name in ("test_a.py", "b_test.py", "conftest.py", "sub/test_c.py", "__pycache__/test_d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_test_files(tmp_path)] == ["b_test.py", "test_c.py", "test_a.py"]


def test_every_suite_is_pinned() -> None:
    for suite in suites(FILE.read_text()):
        assert all("==" in package for package in suite.packages)
    with pytest.raises(ValueError, match="one place for its tests; accepted: checkout, installed, go"):
        suites('[[suite]]\nname = "a"\ndriver = "1"\ncuda = "12.9"\n')


def test_only_other_outcomes_are_differences() -> None:
    without = [Outcome("same", Cause.PASSED), Outcome("worse", Cause.PASSED), Outcome("gone", Cause.KERNEL)]
    limited = [Outcome("new", Cause.CRASH, "said"), Outcome("worse", Cause.HANG), Outcome("same", Cause.PASSED)]
    assert differences(without, limited) == [
        Difference("gone", Cause.KERNEL, None, ""),
        Difference("new", None, Cause.CRASH, "said"),
        Difference("worse", Cause.PASSED, Cause.HANG, ""),
    ]
