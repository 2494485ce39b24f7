"""Find retired names and words: `python -m lint.retired` lists each place and what to write instead.

A name is retired when the field has a standard term for the thing, or when two names stood for one thing. The tables
are the whole policy: docs/glossary.md explains the words that stay, and names the exceptions.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

NAMES: Mapping[str, str] = {
    # The core.
    r"unigpu[./]books": "unigpu.ledger",
    r"\bBooks\b(?! [a-z])": "CapacityLedger",
    r"\bUnfit?Lack\b|\bclass Lack\b|\bLack\.": "UnfitReason",
    r"\black_alone\b": "check_fit",
    r"\bSeat\b(?! [a-z])": "Claimant",
    r"\bPulse\b(?! [a-z])": "ActivityEstimate",
    r"\bMisfit\b": "Unschedulable",
    r"\bSpread\b(?=[.(\]])": "PlacementPolicy",
    r"\bcounted\((?=allocation)": "reserved_allocation",
    r"\bUNIGPU_GIVEN\b|\bENV_GIVEN\b": "UNIGPU_INJECTED_LIMITS",
    r"unigpu\.dev/largest-|\bANNOTATION_LARGEST_": "unigpu.dev/max-",
    # Services.
    r"webhook[./](sheet|written|surroundings|relimit|neighbours|sweep|keeper|folder|identity)\b": (
        "see docs/glossary.md"
    ),
    r"scheduler[./](verdicts|choice|freshness|objects|service)\b": "see docs/glossary.md",
    r"deviceplugin[./](limiter|lender|accounts|owners|specs|folders|library|decisions|publisher|publication)\b": (
        "see docs/glossary.md"
    ),
    r"\b(ailments|Sight)\b": "health, GpuReading",
    r"cluster[./](rooms|entering)\b|\bfurnish\b|\bBadGround\b": "mounts, setup_mounts, nsenter, PreflightError",
    r"demo[./](ground|tour)\b": "preflight, walkthrough",
    r"bench[./]compute[./](ground|rows|judge|books)\b|bench[./]awake\b": "testbed, scenarios, criteria, cpu_spinner",
    # Native parts.
    r"(?<!bench/)\blibvgpu/(?!README)\w+\.[ch]\b(?<!libvgpu/names\.h)": (
        "the file's folder: libvgpu/base, compute, memory, …"
    ),
    r"\bhooks_(old|table|info|wait|limit|physical|import)\b": "hooks/legacy, nvml_export_table, mem_info, sync, …",
    r"\b(births|doors|learning|helper)\.[ch]\b": "context_cost, resolve, first_launch, poller",
    # Metrics.
    r"_cores_(limit|ceiling|now)_percent\b|_utilisation_percent\b": "the ratio, 0 to 1",
    r"unigpu_container_memory_refused_total": "unigpu_container_memory_allocation_failures_total",
    r"unigpu_(webhook_review|scheduler_request|exporter_collect)_seconds": "…_duration_seconds",
}
"""Retired names of code, annotations, variables and metrics, and what replaced them."""

WORDS: Mapping[str, str] = {
    r"(?<![-/_.\w])[Cc]ards?(?:'s)?(?![-/_\w]|\.\w)": "GPU",
    r"\banew\b|_anew\b": "again",
    r"\bfor ever\b": "forever, or name the condition",
    r"\bas ever\b": "as before",
    r"\b[Mm]eanwhile\b": "while …, or nothing",
    r"\b[Ww]hoever\b": "name the part",
    r"\b[Cc]ontent with\b": "accepts",
    r"\b[Aa]t present\b": "now, or nothing",
    r"\b[Ww]hat lacks\b": "name what is missing",
    r"\bgives? its room back\b": "frees",
    r"\bbeside (?:the|an?|it|its|them|what|manifest)\b": "next to, along with",
    r"\b(?:is|are|was|were) told\b(?! (?:apart|so\b))": "name what is written, sent or shown",
    r"\bspoilt\b|\bforeseen\b": "damaged; prepared",
    r"\bof the expected form\b|\bthis is for \d|\bis no step of\b": "can't be read; version 2, not 1; not a multiple",
    r": is (?:neither|not known|a share|under requests)\b": 'the reason without "is"',
    r"\bGPUs a container\b": "GPUs for each container",
    r"\bregistry lacks\b|\bis content\b|\bnobody wishes\b|\bpassed over\b": "doesn't have; accepts; demands; skipped",
}
"""Words that readers stumbled over, and what says the same."""

SUFFIXES = (
    *(".py", ".pyi", ".md", ".c", ".h", ".S", ".def", ".in"),
    *(".mk", ".yaml", ".yml", ".tpl", ".txt", ".json", ".proto"),
)
NO_WORDS = (".json", ".txt", ".S", ".def")
"""Files of names, in which a word may be somebody else's."""
C = (".c", ".h")
"""Files whose words count in comments and strings; a name in code is no text."""
_C_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
EXEMPT = ("lint/", "tests/unit/lint/", "docs/glossary.md", "docs/adr/", "CHANGELOG.md", "LICENSE")
"""Where retired names are listed, or history is told."""


@dataclass(frozen=True, slots=True)
class Found:
    """One retired name or word."""

    path: str
    line: int
    text: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}: write {self.better}"


def find(path: str, text: str) -> Iterator[Found]:
    """Yield each retired name and word of one file."""
    yield from _matches(path, text, NAMES)
    if not path.endswith(NO_WORDS):
        yield from _matches(path, _comments_and_strings(text) if path.endswith(C) else text, WORDS)


def _matches(path: str, text: str, table: Mapping[str, str]) -> Iterator[Found]:
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, better in table.items():
            for match in re.finditer(pattern, line):
                yield Found(path, number, match.group(), better)


def _comments_and_strings(text: str) -> str:
    """Return the text of a C file with its code left out, and each line where it was."""
    found, end = [], 0
    for match in _C_TEXT.finditer(text):
        found += ["\n" * text.count("\n", end, match.start()), " ", match.group()]
        end = match.end()
    return "".join(found)


def checked(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that the tables hold for."""
    return (path for path in paths if path.endswith(SUFFIXES) and not path.startswith(EXEMPT))


def main() -> int:
    """Check every tracked file: 0, or 1 after a list of what was found."""
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    found = [
        one
        for path in checked(listed.split("\0"))
        for one in find(path, Path(path).read_text(encoding="utf-8", errors="replace"))
    ]
    for one in found:
        print(one)
    if found:
        print(f"{len(found)} retired names or words; docs/glossary.md has the words that stay")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
