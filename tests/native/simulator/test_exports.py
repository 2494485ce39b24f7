"""What the libraries export, against the lists that libvgpu reads too."""

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).resolve().parents[3]


def exported(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def undefined(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--undefined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def test_libcuda_exports_only_what_the_list_names(libraries: Path) -> None:
    text = (ROOT / "abi" / "symbols.def").read_text()
    rows = re.findall(r"^CUDA_API\(\w+, \w+, \d+, (\w+)", text, re.MULTILINE)
    twins = re.findall(r"^CUDA_API_PT\(\w+, \w+, \d+, (\w+), (\w+)", text, re.MULTILINE)
    named = {*rows, *(symbol for symbol, _ in twins), *(symbol + suffix for symbol, suffix in twins)}
    absent = (ROOT / "simulator/cuda/core/absent.def").read_text()
    named |= set(re.findall(r"^CUDA_ABSENT\w*\((?:\w+, \d+, )?(\w+)\)", absent, re.MULTILINE))
    later = (ROOT / "simulator/cuda/core/later.def").read_text()
    named |= set(re.findall(r"^CUDA_LATER\(\w+, \d+, (\w+)", later, re.MULTILINE))
    assert exported(libraries / "libcuda.so.1") <= named
    assert len(exported(libraries / "libcuda.so.1")) > 350


def test_nvml_exports_all_of_its_list(libraries: Path) -> None:
    text = (ROOT / "abi" / "nvml_symbols.def").read_text()
    absent = (ROOT / "simulator" / "nvml" / "absent.c").read_text()
    named = set(re.findall(r"^NVML_API\(\w+, (\w+)", text, re.MULTILINE)) | {"nvmlErrorString"}
    assert exported(libraries / "libnvidia-ml.so.1") == named | set(
        re.findall(r"^ABSENT\((\w+)\)", absent, re.MULTILINE)
    )


def test_the_libraries_need_nothing_of_each_other(libraries: Path) -> None:
    """An undefined driver symbol would be caught by an interposed library instead of by the driver itself."""
    for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libunigpu-sim.so"):
        assert not [symbol for symbol in undefined(libraries / name) if symbol.startswith(("cu", "nvml"))]


def test_every_name_of_the_headers_is_there(libraries: Path) -> None:
    """Of cuda.h and nvml.h 13.5, whose names are in a list here: done, or answered with an error."""
    names = set((Path(__file__).with_name("names-13.5.txt")).read_text().split())
    assert len(names) == 544 + 435
    assert not names - exported(libraries / "libcuda.so.1") - exported(libraries / "libnvidia-ml.so.1")


LOOK_UP = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
assert cuda.cuInit(0) == 0
found = ctypes.c_void_p()
missing = lambda name: cuda.cuGetProcAddress_v2(name.encode(), ctypes.byref(found), 13050, ctypes.c_uint64(0), None)
print(*[name for name in sys.argv[1:] if missing(name)])
"""


def test_every_plain_name_is_found_by_look_up(machine: "Machine") -> None:
    """Bindings look every name up; one that is only exported doesn't exist for them."""
    machine.create("--profile", "h100", "--driver-version", "615.10", "--cuda-version", "13.5")
    names = (Path(__file__).with_name("names-13.5.txt")).read_text().split()
    plain = [name for name in names if re.match(r"cu[A-Z]", name) and not re.search(r"_v\d+$|_pt[ds][sz]?$", name)]
    command = [sys.executable, "-c", LOOK_UP, *plain]
    done = subprocess.run(command, env=machine.environment(), check=True, capture_output=True, text=True)
    assert len(plain) > 450
    assert done.stdout.split() == []
