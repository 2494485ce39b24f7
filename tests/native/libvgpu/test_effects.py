"""Every function of NVIDIA's headers is sorted: one with an effect on a share is hooked, or has a reason."""

import re

import pytest

from tests.native.libvgpu import headers
from tests.native.libvgpu.machine import ROOT

EFFECTS = {"allocates", "frees", "launches", "captures", "waits", "changes", "reports", "finds", "sessions"}

TELLING = {
    "allocates": r"cu.*(Alloc|CtxCreate|CtxRetain|LoadData|Import|IpcOpen|Instantiate|Upload|Restore|SetLimit)\w*",
    "frees": r"cu(?!Graph).*(MemFree|Unmap$|PoolDestroy|Unload|Trim|CtxDestroy|CtxDetach)\w*",
    "launches": r"cu(?!GraphAdd).*Launch\w*",
    "captures": r"cuStream(Begin|End).*Capture\w*",
    "reports": r"cuMemGetInfo\w*|cuDeviceTotalMem\w*|nvmlDeviceGet(Memory|.*Process|.*Accounting|Conf\w*Mem)\w*",
}
"""What names say by themselves: a check of the sorting, which was done by reading."""
SAY_OTHERWISE = re.compile(
    r"\w*(GetParams|PropertiesFromHandle|Granularity|GetRestoreThreadId|MemoryAffinity|MemoryBusWidth|UnmapResources)"
)


@pytest.fixture(scope="module")
def table() -> dict[str, tuple[set[str], str]]:
    """Effects of each name, and the reason why it passes."""
    found = {}
    for line in (ROOT / "abi/effects.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, effects, *why = line.split(" ", 2)
            assert name not in found, f"{name} is listed twice"
            found[name] = (set(effects.split(",")) - {"-"}, " ".join(why))
    return found


def hooked() -> set[str]:
    cuda = (ROOT / "abi/symbols.def").read_text()
    rows = re.findall(r"^CUDA_API(?:_PT)?\((?:HOOK|LAUNCH), \w+, \d+,\s*(\w+)(?:,\s*(_pt\w+))?", cuda, re.MULTILINE)
    nvml = (ROOT / "abi/nvml_symbols.def").read_text()
    found = {symbol for symbol, _ in rows} | {symbol + suffix for symbol, suffix in rows if suffix}
    return found | set(re.findall(r"^NVML_API\(HOOK,\s*(\w+)", nvml, re.MULTILINE))


def test_every_name_of_the_headers_is_sorted(table: dict[str, tuple[set[str], str]]) -> None:
    declared = headers.functions(headers.fetch(ROOT / "build/headers"))
    assert len(declared) > 1000
    assert declared == set(table), "sort the new names in abi/effects.txt"


def test_effects_are_known_words(table: dict[str, tuple[set[str], str]]) -> None:
    assert set().union(*(effects for effects, _ in table.values())) == EFFECTS


def test_a_function_with_an_effect_is_hooked_or_has_a_reason(table: dict[str, tuple[set[str], str]]) -> None:
    hooks = hooked()
    escaping = {name for name, (effects, why) in table.items() if effects and name not in hooks and not why}
    assert not escaping
    assert not {name for name, (effects, why) in table.items() if why and (name in hooks or not effects)}


def test_a_hook_has_an_effect(table: dict[str, tuple[set[str], str]]) -> None:
    """Of those in the headers: drivers export older ones too."""
    assert not {name for name in hooked() & set(table) if not table[name][0]}


@pytest.mark.parametrize("effect", TELLING)
def test_names_that_speak_for_themselves_are_sorted_so(table: dict[str, tuple[set[str], str]], effect: str) -> None:
    speaking = {name for name in table if re.fullmatch(TELLING[effect], name) and not SAY_OTHERWISE.fullmatch(name)}
    assert len(speaking) > 3
    assert not {name for name in speaking if effect not in table[name][0]}
