"""Every export of the real driver is sorted: hooked, or known to allocate nothing on a GPU. A new one fails here."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.native.libvgpu import debian
from tests.native.libvgpu.machine import ROOT

MAY_ALLOCATE = re.compile(
    "Alloc|Create|Load|Import|Open|Retain|Instantiate|Launch|Upload|Register|Map|Attach|Link|Reserve|Complete|Connect"
    "|Capture|Init|SetLimit"
)
HARMLESS = {
    r"cudbg\w+": "the debugger's",
    r"cuInit|cuProfilerInitialize|cuGLInit|cuEGLApiInit": "no context yet",
    r"cuMem(AllocHost|HostAlloc|HostRegister)(_v2)?": "the host's memory",
    r"cuMemAddressReserve": "addresses without memory",
    r"cuMemMapArrayAsync(_ptsz)?": "maps what cuMemCreate gave",
    r"cuMemGetAllocation\w+": "only tells",
    r"cuMemPoolImport\w+": "another process's pool, counted there",
    r"cuMulticastCreate": "has no memory of its own",
    r"cuExternalMemoryGetMapped\w+": "part of what was counted when it was imported",
    r"cuImportExternalSemaphore|cuIpcOpenEventHandle": "no memory",
    r"cuG(raphics|L)\w+|cuEGL\w+": "what a graphics interface allocated; its contexts are hooked",
    r"cuLaunchHostFunc(_ptsz)?": "runs on the host",
    r"cuLink\w+": "the linker works in the host's memory",
    r"cu(Stream|Event|Thread)\w+": "small, and part of what a context costs",
    r"cuGraph(Create|AddMemAllocNode|MemAllocNodeGetParams|RetainUserObject)": "nothing before the graph runs",
    r"cu(TexObject|TexRef|SurfObject|TensorMap|UserObject)\w+": "descriptions",
    r"cuCtxAttach": "one more holder of a context",
    r"cuModuleGetLoadingMode": "only tells",
}


@pytest.fixture(scope="module")
def exports() -> set[str]:
    files = debian.fetch("libcuda1", ROOT / "build/debian")
    (library,) = (path for path in files.rglob("libcuda.so.*") if path.is_file() and not path.is_symlink())
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    found = {line.split()[2].split("@")[0] for line in lines.stdout.splitlines()}
    assert len(found) > 500
    return found


def listed(tag: str) -> set[str]:
    text = (ROOT / "abi/symbols.def").read_text()
    rows = re.findall(rf"^CUDA_API(_PT)?\((?:{tag}), \w+, \d+,\s*(\w+),\s*(_pt\w+)?", text, re.MULTILINE)
    return {symbol for _, symbol, _ in rows} | {symbol + suffix for _, symbol, suffix in rows if suffix}


def test_every_export_is_known(exports: set[str]) -> None:
    others = set((Path(__file__).parent / "other_exports.txt").read_text().split())
    unsorted = exports - listed("HOOK|LAUNCH") - listed("PASS") - others
    assert not unsorted, "sort these: into abi/symbols.def if they can allocate, else into other_exports.txt"


def test_whatever_may_allocate_is_hooked_or_known_not_to(exports: set[str]) -> None:
    escaping = {
        symbol
        for symbol in exports - listed("HOOK|LAUNCH")
        if MAY_ALLOCATE.search(symbol) and not any(re.fullmatch(pattern, symbol) for pattern in HARMLESS)
    }
    assert not escaping


@pytest.mark.parametrize("pattern", HARMLESS)
def test_each_exception_is_still_needed(exports: set[str], pattern: str) -> None:
    assert any(re.fullmatch(pattern, symbol) for symbol in exports)
