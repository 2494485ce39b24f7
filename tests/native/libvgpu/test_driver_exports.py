"""Every export of a real driver is in the sorted list, or is one that no header declares and that takes no memory."""

import re
import subprocess

import pytest

from tests.native.libvgpu import debian
from tests.native.libvgpu.machine import ROOT

WITHOUT_A_HEADER = re.compile(r"cudbg\w+|cuEGLApiInit|cuMemGetAttribute(_v2)?|cuProfiler(Initialize|Start|Stop)")


@pytest.fixture(scope="module")
def exports() -> set[str]:
    files = debian.fetch("libcuda1", ROOT / "build/debian")
    (library,) = (path for path in files.rglob("libcuda.so.*") if path.is_file() and not path.is_symlink())
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    found = {line.split()[2].split("@")[0] for line in lines.stdout.splitlines()}
    assert len(found) > 500
    return found


def test_every_export_is_sorted(exports: set[str]) -> None:
    lines = (ROOT / "abi/effects.txt").read_text().splitlines()
    names = {line.split()[0] for line in lines if line and not line.startswith("#")}
    unsorted = {name for name in exports if re.sub(r"_pt[ds][sz]$", "", name) not in names}
    assert not {name for name in unsorted if not WITHOUT_A_HEADER.fullmatch(name)}
    assert len(unsorted) > 10


def test_every_twin_of_a_hook_is_hooked(exports: set[str]) -> None:
    """The driver's own export for the default stream of each thread."""
    text = (ROOT / "abi/symbols.def").read_text()
    rows = re.findall(r"^CUDA_API(_PT)?\((?:HOOK|LAUNCH), \w+, \d+,\s*(\w+)", text, re.MULTILINE)
    alone = {symbol for twin, symbol in rows if not twin}
    assert not {symbol + suffix for symbol in alone for suffix in ("_ptds", "_ptsz")} & exports
