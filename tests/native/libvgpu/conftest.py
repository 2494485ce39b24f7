"""Programs in C, compiled once a session, and the machine that they run on."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, ROOT, SIMULATOR, Machine
from unigpu import names
from unigpu.units import GpuUuid

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    for path in (LIBRARY, PROBE, SIMULATOR / "libcuda.so.1", SIMULATOR / "libnvidia-ml.so.1"):
        assert path.exists(), f"{path} is missing: run `make native` first"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles programs/<name>.c, linked with what is named, once; gives the executable."""
    folder = tmp_path_factory.mktemp("programs")
    said = subprocess.run(["make", "-s", "c-warnings"], check=True, capture_output=True, text=True, cwd=ROOT)
    warnings = said.stdout.split()

    def build(name: str, *options: str) -> Path:
        made = folder / f"{name}-{hashlib.sha256(repr(options).encode()).hexdigest()[:12]}"
        if not made.exists():
            source = PROGRAMS / f"{name}.c"
            subprocess.run(
                ["cc", *warnings, "-O1", "-g", "-mcx16", "-I", ROOT, source, "-o", made, "-pthread", *options, "-ldl"],
                check=True,
                cwd=ROOT,
            )
        return made

    return build


@pytest.fixture(scope="session")
def four_gpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sequence[GpuUuid]]:
    """A machine of four RTX 4090, shared by tests that leave nothing on it."""
    folder = tmp_path_factory.mktemp("machine")
    command: list[str | Path] = [
        ROOT / ".venv/bin/unigpu-sim",
        "create",
        "--dir",
        folder,
        "--profile",
        "rtx4090",
        "--gpus",
        "4",
    ]
    subprocess.run(command, check=True, capture_output=True)
    plain = Machine(folder.parent, (), {names.ENV_SIM_DIR: str(folder)})
    done = plain.without_libvgpu().attempt(PROBE, "--no-take")
    assert done.returncode == 0, done.stderr
    return folder, [GpuUuid(gpu["uuid"]) for gpu in json.loads(done.stdout)["gpus"]]


@pytest.fixture
def machine(four_gpus: tuple[Path, Sequence[GpuUuid]], tmp_path: Path) -> Iterator[Machine]:
    folder, uuids = four_gpus
    yield Machine(tmp_path, uuids, {names.ENV_SIM_DIR: str(folder)})
