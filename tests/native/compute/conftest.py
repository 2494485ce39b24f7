"""The programs that load a card and read its books: those of the benchmark, compiled once a session."""

import subprocess
from pathlib import Path

import pytest

from bench.compute import ground


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    for path in (ground.LIBRARY, ground.SIMULATOR / "libcuda.so.1"):
        assert path.exists(), f"{path} is missing: run `make native` first"
    programs = [str(path.relative_to(ground.ROOT)) for path in (ground.CLIENT, ground.BOOKS)]
    subprocess.run(["make", "--no-print-directory", *programs], check=True, cwd=ground.ROOT)


@pytest.fixture
async def card(tmp_path: Path) -> ground.Gpu:
    """A machine of one A100."""
    return await ground.make_gpu(tmp_path, "a100-40")
