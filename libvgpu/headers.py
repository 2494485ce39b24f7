"""Makes `base/names.h` from `unigpu.names`, so that C and Python spell every shared string alike.

`python -m libvgpu.headers` writes it; with `--check` it only says whether the file is current.
"""

import sys
from pathlib import Path

from unigpu import names

HEADER = Path(__file__).parent / "base/names.h"
SPOKEN = (
    "ENV_MEMORY_LIMIT",
    "ENV_CORE_LIMIT",
    "ENV_INJECTED_LIMITS",
    "ENV_FAMILY_ACCOUNT",
    "ENV_SHARED_CACHE",
    "ENV_LIBRARY_LOG",
    "ENV_MANAGED",
    "ENV_TRIAL_POLICY",
    "ENV_TRIAL_USAGE",
    "CONTAINER_ROOT",
    "CONTAINER_POLICY",
    "CONTAINER_USAGE",
)


def text() -> str:
    """The header's content: a definition for each name that libvgpu speaks."""
    lines = [
        "/* Made by `make headers` from unigpu/names.py. */",
        "#ifndef UNIGPU_BASE_NAMES_H",
        "#define UNIGPU_BASE_NAMES_H",
        "",
        *(f'#define UNIGPU_{name} "{getattr(names, name)}"' for name in SPOKEN),
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit code: 1 where the file isn't current and only a check was asked for."""
    if arguments == ["--check"]:
        if HEADER.exists() and HEADER.read_text() == text():
            return 0
        print(f"{HEADER} is not current: run `make headers`", file=sys.stderr)
        return 1
    HEADER.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
