"""The check that is meant for a real GPU, on the simulated one: nothing differs there, and what is wrong is named."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.native.simulator.conftest import make

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).resolve().parents[3]
SMI = ROOT / "build" / "clients/debian/usr/lib/nvidia/current"
SHORT = ("--allocations", "500", "--processes", "3", "--seconds", "0.5", "--rounds", "10")
ABSENT_TOOLS = {"compute-sanitizer", "nsys", "cuda-gdb", "MPS", "nvidia-ctk", "OpenCL", "probe"}
NO_INSTRUCTIONS = {"XID 13", "XID 31"}


def is_framework(step: str) -> bool:
    return step in {"torch", "triton", "jax", "cupy"} or step.startswith("torch ")


@pytest.fixture(scope="module", autouse=True)
def libvgpu() -> None:
    """It is part of what is checked."""
    make("native")


def check(machine: "Machine", tmp_path: Path, *arguments: str, python: str = "python3") -> dict[str, dict[str, Any]]:
    """The outcome of each step."""
    environment = machine.environment()
    command = [python, "-m", "gpucheck", "--json", str(tmp_path / "found.json"), *SHORT, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"PATH": f"{SMI}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not done.stderr, done.stderr
    report = json.loads((tmp_path / "found.json").read_text())
    found = {each["step"]: each for each in report["steps"]}
    assert len(done.stdout.splitlines()) == len(found)
    assert done.returncode == any(each["result"] == "differs" for each in found.values()), done.stdout
    return found


def named(found: dict[str, dict[str, Any]], result: str) -> dict[str, str]:
    return {step: each["why"] for step, each in found.items() if each["result"] == result}


@pytest.mark.usefixtures("clients")
@pytest.mark.parametrize("part", ["a", "b", "c"])
def test_nothing_differs(machine: "Machine", tmp_path: Path, part: str) -> None:
    """Python alone is enough: the one of the system has no package of the project's."""
    machine.create("--profile", "h100", "--driver-version", "535.261.03", "--cuda-version", "12.2")
    found = check(machine, tmp_path, "--part", part)
    assert named(found, "differs") == {}
    skipped = {step for step in named(found, "skipped") if not is_framework(step)}
    assert skipped <= ABSENT_TOOLS | NO_INSTRUCTIONS | {"limits of control groups"}


def test_newer_drivers_and_the_probe(machine: "Machine", tmp_path: Path) -> None:
    machine.create("--driver-version", "615.10", "--cuda-version", "13.4")
    for step in ("pools", "limits of control groups", "probe"):
        (outcome,) = check(machine, tmp_path, "--only", step, python=sys.executable).values()
        may_lack = step.startswith("limits") and "no control group" in outcome["why"]
        assert outcome["result"] == ("skipped" if may_lack else "ok"), outcome


def test_what_is_wrong_is_named(machine: "Machine", tmp_path: Path) -> None:
    machine.create("--latencies", "off")
    machine.command("set", "--process-memory", "hidden")
    wrong = named(check(machine, tmp_path, "--part", "a", "--processes", "2"), "differs")
    assert {"small times", "context", "contexts at once"} <= wrong.keys()
    assert {"entry points", "sizes", "largest allocation"}.isdisjoint(wrong)


@dataclass(frozen=True)
class Fault:
    """A mistake in libvgpu, and the step that must find it."""

    file: str
    right: str
    wrong: str
    step: str


FAULTS = (
    Fault(
        "hooks/mem_info.c",
        "*bytes = reported_total(quota_limit(devices_gpu(device)), *bytes);",
        "*bytes += 0 * reported_total(quota_limit(devices_gpu(device)), *bytes);",
        "under libvgpu",
    ),
    Fault(
        "hooks/vmm.c",
        "reservation_take(&reservation, NULL, gpu, size)",
        "reservation_take(&reservation, NULL, gpu, size / 4)",
        "4 GiB by cuMemCreate",
    ),
    Fault(
        "memory/linear.c",
        "        reservation_release(entry);\n",
        "        if (entry->bytes == 1) {\n            reservation_release(entry);\n        }\n",
        "random allocations",
    ),
    Fault(
        "compute/estimate.c",
        "    if (sample.ns == 0) {",
        "    sample.ns /= 2;\n    if (sample.ns == 0) {",
        "cost of 1000 us",
    ),
    Fault(
        "shared/account.c",
        "usage_file_is_locked(&shared, slot) || !is_left(slot)) {\n        return false;",
        "usage_file_is_locked(&shared, slot) || shared.view->slots[slot].pid) {\n        return false;",
        "kills",
    ),
)


def planted(fault: Fault, folder: Path) -> Path:
    """libvgpu with the fault, built from a copy of its source; the other objects are those of the real one."""
    for name in ("libvgpu", "abi", "make", "build/libvgpu"):
        shutil.copytree(ROOT / name, folder / name)  # with times, so that only one file is compiled
    shutil.copy2(ROOT / "Makefile", folder)
    source = folder / "libvgpu" / fault.file
    text = source.read_text()
    assert text.count(fault.right) == 1
    source.write_text(text.replace(fault.right, fault.wrong))
    subprocess.run(["make", "-s", "build/lib/libvgpu.so"], cwd=folder, check=True, timeout=120)
    return folder / "build/lib/libvgpu.so"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.step)
def test_a_fault_of_libvgpu_is_named_by_its_step(machine: "Machine", tmp_path: Path, fault: Fault) -> None:
    machine.create("--profile", "h100")
    library = planted(fault, tmp_path / "source")
    wrong = named(check(machine, tmp_path, "--only", fault.step, "--libvgpu", str(library)), "differs")
    assert any(step.startswith(fault.step) for step in wrong), wrong
    assert re.search(r"\d", " ".join(wrong.values())), "the figure is said"


def test_a_report_is_compared_with_the_table(machine: "Machine", tmp_path: Path) -> None:
    machine.create("--profile", "l40s")
    check(machine, tmp_path, "--only", "sizes")
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["profile"]["name"] == "NVIDIA L40S"
    assert len(report["profile"]) >= 20

    def compared() -> tuple[int, str]:
        command = [sys.executable, "-m", "gpucheck", "compare", str(tmp_path / "found.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert not done.stderr
        return done.returncode, done.stdout

    assert compared() == (0, f"{tmp_path}/found.json: as in the table\n")
    report["profile"]["reserved_mib"] += 37
    report["latencies_ns"]["launch"] = 9000
    (tmp_path / "found.json").write_text(json.dumps(report))
    assert compared() == (
        1,
        "l40s.reserved_mib: 645 measured, 608 in the table\nl40s.launch_ns: 9000 measured, 3000 in the table\n",
    )
    report["profile"]["name"] = "NVIDIA B300"
    (tmp_path / "found.json").write_text(json.dumps(report))
    status, said = compared()
    assert (status, said.startswith("NVIDIA B300: no row in the table; measured: {")) == (1, True)


def test_wrong_input_gets_a_sentence(machine: "Machine", tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no report")
    for arguments in (["--only", "nothing like this"], ["compare", "absent"], ["compare", str(tmp_path / "text")]):
        command = [sys.executable, "-m", "gpucheck", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=machine.environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2)
        assert re.fullmatch(r"gpucheck: .+\n", done.stderr)
