"""The benchmark's programs that load a GPU and sample its time, compiled once a session."""

import subprocess
from pathlib import Path

import pytest

from bench.compute import testbed


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    for path in (testbed.LIBRARY, testbed.SIMULATOR / "libcuda.so.1"):
        assert path.exists(), f"{path} is missing: run `make native` first"
    programs = [str(path.relative_to(testbed.ROOT)) for path in (testbed.CLIENT, testbed.SAMPLER)]
    subprocess.run(["make", "--no-print-directory", *programs], check=True, cwd=testbed.ROOT)


@pytest.fixture
async def gpu(tmp_path: Path) -> testbed.Gpu:
    """A machine of one A100."""
    return await testbed.make_gpu(tmp_path, "a100-40")
