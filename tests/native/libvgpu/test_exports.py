"""What the built library shows to the world, and what it needs of it."""

import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "build/lib/libvgpu.so"
NEWEST_LIBC = (2, 28)


def output(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def listed() -> set[str]:
    """Every entry point tagged HOOK or LAUNCH, its per-thread twin included, and what stands in place of libc's."""
    later = {f"{name}@@GLIBC_2.34" for name in ("dlsym", "dlmopen")}
    first = {"x86_64": {"dlsym@GLIBC_2.2.5", "dlmopen@GLIBC_2.3.4"}}
    found = later | first.get(platform.machine(), {"dlsym@GLIBC_2.17", "dlmopen@GLIBC_2.17"})
    cuda = (ROOT / "abi/symbols.def").read_text()
    found.update(re.findall(r"^CUDA_API\((?:HOOK|LAUNCH), \w+, \d+,\s*(\w+),", cuda, re.MULTILINE))
    for symbol, suffix in re.findall(r"^CUDA_API_PT\((?:HOOK|LAUNCH), \w+, \d+,\s*(\w+),\s*(\w+),", cuda, re.MULTILINE):
        found.update((symbol, symbol + suffix))
    nvml = (ROOT / "abi/nvml_symbols.def").read_text()
    found.update(re.findall(r"^NVML_API\(HOOK,\s*(\w+),", nvml, re.MULTILINE))
    return found


def test_exports_are_exactly_the_list() -> None:
    rows = [line.split() for line in output("nm", "-D", "--defined-only", LIBRARY).splitlines()]
    rows = [row for row in rows if not row[-1].startswith("GLIBC_")]  # the versions' own names
    assert {row[-1] for row in rows} == listed()
    assert {row[-2] for row in rows} == {"T"}


def test_an_old_libc_is_enough() -> None:
    needed = [line for line in output("objdump", "-T", LIBRARY).splitlines() if "*UND*" in line]
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", "\n".join(needed))
    assert versions
    assert max((int(major), int(minor)) for major, minor in versions) <= NEWEST_LIBC


def test_nothing_but_libc_is_needed() -> None:
    needed = re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", LIBRARY))
    assert needed == ["libc.so.6"]
