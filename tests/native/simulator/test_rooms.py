"""Calls between the files of libcuda go down the rooms and never round in a circle, whatever headers declare.

`make lint` sees includes; entry points call each other by abi/cuda.h, so the linker's view is checked here.
"""

import subprocess
from pathlib import Path

from lint import include_order

ROOT = Path(__file__).parents[3]
TREE = "simulator/cuda"


def test_calls_go_down(libraries: Path) -> None:
    objects = {str(path.relative_to(libraries)): path for path in sorted((libraries / TREE).rglob("*.o"))}
    sources = {str(path.relative_to(ROOT).with_suffix(".o")) for path in (ROOT / TREE).rglob("*.c")}
    defined: dict[str, str] = {}
    needed: dict[str, list[str]] = {}
    for name in sorted(sources):
        listing = subprocess.run(["nm", objects[name]], check=True, capture_output=True, text=True).stdout
        symbols = [line.split()[-2:] for line in listing.splitlines()]
        defined |= {symbol: name for kind, symbol in symbols if kind in "TDBR"}
        needed[name] = [symbol for kind, symbol in symbols if kind == "U"]  # weak ones are the table of entry points
    calls = {name: sorted({defined[each] for each in needed[name] if each in defined}) for name in needed}
    assert len(calls) > 40
    assert include_order.check(TREE, include_order.LAYERS[TREE], calls) == []
