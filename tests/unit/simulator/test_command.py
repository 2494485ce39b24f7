"""The command line: what it asks for, and what it prints."""

from pathlib import Path

import pytest

from simulator import __main__ as command
from simulator import machine


@pytest.mark.parametrize(("text", "number"), [(None, 0), ("12.9", 12090), ("13.0", 13000), ("12.10", 12100)])
def test_cuda_versions(text: str | None, number: int) -> None:
    assert command.cuda_number(text) == number


@pytest.mark.parametrize("text", ["12", "twelve", "12.", ".9", "12.9.1", "-1.0"])
def test_cuda_versions_that_are_none(text: str) -> None:
    with pytest.raises(machine.MachineError, match=r"MAJOR\.MINOR"):
        command.cuda_number(text)


def test_the_table_shows_cards_health_and_processes() -> None:
    mib = 1 << 20
    gpu = {
        "minor": 3,
        "uuid": "GPU-1",
        "name": "NVIDIA L40S",
        "total": 100 * mib,
        "reserved": 10 * mib,
        "used": 30 * mib,
        "lost": False,
        "ecc_corrected": 2,
        "ecc_uncorrected": 1,
        "xid": 13,
        "fatal_xid": 0,
        "hanging": False,
        "rows_pending": False,
        "compute_mode": 0,
        "mig": False,
        "instances": [],
        "memory_hidden": False,
        "listed_twice": False,
        "mps": False,
        "busy_ns": 2_500_000_000,
        "processes": [
            {"pid": 42, "memory": 10 * mib, "contexts": 5 * mib, "busy_ns": 1_250_000_000},
            {"pid": 0, "memory": 10 * mib, "contexts": 5 * mib, "busy_ns": 0},
        ],
    }
    lost = gpu | {"minor": 4, "lost": True, "fatal_xid": 79, "hanging": True, "compute_mode": 3, "processes": []}
    assert command.table({"driver": "575.57.08", "cuda": 12090, "gpus": [gpu, lost]}).splitlines() == [
        "driver 575.57.08, CUDA 12.9",
        "gpu3  GPU-1  NVIDIA L40S  30 / 90 MiB  2.500 s busy  ecc 2/1, XID 13",
        "      pid 42  15 MiB  1.250 s busy",
        "      pid elsewhere  15 MiB  0.000 s busy",
        "gpu4  GPU-1  NVIDIA L40S  30 / 90 MiB  2.500 s busy  LOST, XID 79 until reset, hanging, "
        "compute mode exclusive-process",
    ]


def test_the_drivers_folder_comes_first_and_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / machine.LIBRARY).touch()
    monkeypatch.setenv(machine.LIBRARY_FOLDER, str(tmp_path))
    found = machine.environment(Path("/a machine"), f"/lib:{tmp_path}::/more")
    assert found == {"UNIGPU_SIM_DIR": "/a machine", "LD_LIBRARY_PATH": f"{tmp_path}:/lib:/more"}
    assert command.shell_text(found).splitlines()[0] == "export UNIGPU_SIM_DIR='/a machine'"


def test_a_missing_library_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(machine.LIBRARY_FOLDER, str(tmp_path))
    with pytest.raises(machine.MachineError, match="make simulator"):
        machine.library_path()
