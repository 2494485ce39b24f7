"""Every door by which a program finds the driver leads to the hook, and what we don't know to the driver."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import LIBRARY, Machine

LINKED = ("-DLINKED", "-Lbuild/simulator", "-l:libcuda.so.1")
OURS = "libvgpu.so"
DRIVER = "libcuda.so.1"
PER_THREAD = "2"


@pytest.fixture
def limited(machine: Machine) -> dict[str, str]:
    return machine.trial((0, 100))


@pytest.mark.parametrize("door", ["dlsym", "dlmopen", "twice", "next", "default", "threads"])
@pytest.mark.parametrize(
    ("symbol", "owner"),
    [
        ("cuMemAlloc_v2", OURS),
        ("cuMemAllocAsync_ptsz", OURS),
        ("cuGetProcAddress_v2", OURS),
        ("cuDriverGetVersion", DRIVER),
        ("cuNobodyKnowsThis", None),
    ],
)
def test_dlsym(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], door: str, symbol: str, owner: str | None
) -> None:
    said = machine.run(compiled("resolve"), door, symbol, **limited).stdout.split()
    assert said == ([owner, symbol] if owner else ["nobody", "?"])


@pytest.mark.parametrize(("door", "owner"), [("linked", OURS), ("linked-unknown", DRIVER)])
def test_linked(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], door: str, owner: str
) -> None:
    assert machine.run(compiled("resolve", *LINKED), door, "-", **limited).stdout.split()[0] == owner


@pytest.mark.parametrize("door", ["proc", "proc_v2"])
@pytest.mark.parametrize(
    ("plain", "version", "flags", "answer"),
    [
        ("cuMemAlloc", "12000", "0", [OURS, "cuMemAlloc_v2"]),
        ("cuMemAlloc", "3020", "0", [OURS, "cuMemAlloc_v2"]),
        ("cuMemAllocAsync", "12000", "0", [OURS, "cuMemAllocAsync"]),
        ("cuMemAllocAsync", "12000", PER_THREAD, [OURS, "cuMemAllocAsync_ptsz"]),
        ("cuCtxCreate", "11000", "0", [OURS, "cuCtxCreate_v2"]),
        ("cuCtxCreate", "11040", "0", [OURS, "cuCtxCreate_v3"]),
        ("cuGetProcAddress", "11030", "0", [OURS, "cuGetProcAddress"]),
        ("cuGetProcAddress", "12000", "0", [OURS, "cuGetProcAddress_v2"]),
        ("cuDriverGetVersion", "12000", "0", [DRIVER, "cuDriverGetVersion"]),
        ("cuNobodyKnowsThis", "12000", "0", ["nobody", "?"]),
    ],
)
def test_proc_address(
    machine: Machine,
    limited: dict[str, str],
    compiled: Callable[..., Path],
    door: str,
    plain: str,
    version: str,
    flags: str,
    answer: list[str],
) -> None:
    assert machine.run(compiled("resolve"), door, plain, version, flags, **limited).stdout.split() == answer


def test_the_driver_comes_out_where_nothing_is_preloaded(machine: Machine, compiled: Callable[..., Path]) -> None:
    done = machine.without_libvgpu().attempt(compiled("resolve"), "dlsym", "cuMemAlloc_v2")
    assert done.stdout.split() == [DRIVER, "cuMemAlloc_v2"]


@pytest.mark.parametrize("order", ["VAB", "AVB", "ABV"])
def test_wrappers_of_others_before_and_behind(machine: Machine, compiled: Callable[..., Path], order: str) -> None:
    """Two libraries that pass on to RTLD_NEXT, libvgpu among them: the limit holds, and nothing is counted twice."""
    wrappers = {name: compiled("wrapper", "-shared", "-fPIC", f"-DWRAPPER_{name}") for name in "AB"}
    chain = " ".join(str((wrappers | {"V": LIBRARY})[name]) for name in order)
    program, trial = compiled("families", *LINKED), machine.trial((0, 1000)) | {"CUDA_VISIBLE_DEVICES": "0"}
    said = []
    for preload in (str(LIBRARY), chain):
        process = machine.start(program, "linear", str(100 << 20), **trial | {"LD_PRELOAD": preload})
        said.append(process.communicate("\n\n\n", timeout=60)[0])
        assert process.returncode == 0
        assert machine.total() == 0
    assert said[1] == said[0]
    assert said[0].splitlines()[0] == "full 6 CUDA_ERROR_OUT_OF_MEMORY"


@pytest.mark.parametrize("order", ["VA", "AV"])
def test_next_of_another_library(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], order: str
) -> None:
    """Whether it was loaded before or behind libvgpu."""
    places = {"A": compiled("wrapper", "-shared", "-fPIC", "-DWRAPPER_A"), "V": LIBRARY}
    trial = limited | {"LD_PRELOAD": " ".join(str(places[name]) for name in order)}
    for symbol in ("cuMemAlloc_v2", "cuMemAllocAsync_ptsz"):
        assert machine.run(compiled("resolve", *LINKED), "library", symbol, **trial).stdout.split() == [OURS, symbol]


def test_no_answer_is_the_drivers_own_address_of_a_hooked_function(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path]
) -> None:
    """Over every plain name of the list, in every version and with all flags: CUDA 12's `cuGraphInstantiate` too."""
    *wrong, last = machine.run(compiled("doors"), **limited).stdout.splitlines()
    words = last.split()
    assert wrong == []
    assert (words[0], words[2], words[4:]) == ("compared", "replaced", ["wrong", "0"])
    assert int(words[1]) > 50_000
    assert int(words[3]) > 5_000


@pytest.mark.parametrize("later", ["0", "1"])
@pytest.mark.parametrize("order", ["VA", "AV"])
@pytest.mark.parametrize("door", ["dlsym", "dlmopen", "proc_v2"])
def test_another_library_has_a_dlsym_of_its_own(
    machine: Machine, limited: dict[str, str], compiled: Callable[..., Path], order: str, later: str, door: str
) -> None:
    """Whichever was loaded first, and whichever of libc's versions of dlsym it looks for behind itself."""
    places = {"A": compiled("own_dlsym", "-shared", "-fPIC", f"-DVERSION_LATER={later}"), "V": LIBRARY}
    trial = limited | {"LD_PRELOAD": " ".join(str(places[name]) for name in order)}
    name = "cuMemAlloc" if door == "proc_v2" else "cuMemAlloc_v2"
    assert machine.run(compiled("resolve"), door, name, **trial).stdout.split() == [OURS, "cuMemAlloc_v2"]


def test_a_namespace_of_its_own_stays_one_where_nothing_is_limited(
    machine: Machine, compiled: Callable[..., Path]
) -> None:
    assert machine.run(compiled("resolve"), "dlmopen", "cuMemAlloc_v2").stdout.split()[0] == DRIVER
