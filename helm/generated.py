"""Files that are generated: write those that aren't current, or name them."""

import sys
from collections.abc import Mapping
from pathlib import Path


def update(current: Mapping[Path, str], root: Path, *, check: bool) -> int:
    """Write each file whose text differs from what `current` says, and print its path from `root`.

    With `check` nothing is written. Returns the exit status: 1 if `check` found a file that isn't current.
    """
    stale = [path for path, text in current.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(root)} isn't current; run `make chart`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(current[path])
            print(f"wrote {path.relative_to(root)}")
    return 1 if check and stale else 0
