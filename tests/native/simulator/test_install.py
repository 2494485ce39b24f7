"""`unigpu-sim install`: what the agent's pod does on a node without GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator import install, machine

ROOT = Path(__file__).parents[3]
PLAN = machine.Plan(profile="l40s", gpus=2)


def gpus(folder: Path) -> list[tuple[str, str]]:
    return [(gpu["name"], gpu["uuid"]) for gpu in machine.describe(folder)["gpus"]]


def test_a_node_becomes_a_machine_of_these_gpus(tmp_path: Path) -> None:
    assert install.install(tmp_path / "lib", tmp_path / "state", PLAN)
    assert [name for name, _ in gpus(tmp_path / "state")] == ["NVIDIA L40S"] * 2
    assert sorted(path.name for path in (tmp_path / "lib").iterdir()) == sorted(install.DRIVER)
    assert all(os.access(path, os.X_OK) for path in (tmp_path / "lib").iterdir())


def test_a_restart_of_the_pod_keeps_the_machine_and_the_files_that_programs_have_loaded(tmp_path: Path) -> None:
    install.install(tmp_path / "lib", tmp_path / "state", PLAN)
    before = gpus(tmp_path / "state"), [path.stat().st_ino for path in sorted((tmp_path / "lib").iterdir())]
    assert not install.install(tmp_path / "lib", tmp_path / "state", machine.Plan(profile="t4", gpus=1))
    assert before == (gpus(tmp_path / "state"), [path.stat().st_ino for path in sorted((tmp_path / "lib").iterdir())])


def test_another_version_of_the_driver_replaces_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    old = tmp_path / "lib" / install.DRIVER[0]
    old.write_text("old")
    inode = old.stat().st_ino
    install.install(tmp_path / "lib", tmp_path / "state", PLAN)
    assert old.read_bytes() == (machine.library_path().parent / old.name).read_bytes()
    assert old.stat().st_ino != inode


def test_the_command_says_what_it_did_or_why_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "simulator", "install", "--dir", str(tmp_path / "state"), "--gpus", "1"]
    arguments = {"cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run([*command, "--libraries", str(tmp_path / "lib")], **arguments)  # type: ignore[call-overload]
    assert done.returncode == 0
    assert done.stdout.startswith(f"Created the machine in {tmp_path / 'state'}.")
    (tmp_path / "file").touch()
    done = subprocess.run([*command, "--libraries", str(tmp_path / "file" / "lib")], **arguments)  # type: ignore[call-overload]
    assert done.returncode != 0
    assert f"the driver can't be copied to {tmp_path / 'file' / 'lib'}: Not a directory" in done.stderr


def test_the_chart_accepts_every_model() -> None:
    schema = json.loads((ROOT / "helm" / "unigpu" / "values.schema.json").read_text())
    simulated = schema["properties"]["nodeAgent"]["properties"]["driver"]["properties"]["simulated"]
    assert tuple(simulated["properties"]["profile"]["enum"]) == machine.profiles()


def test_a_damaged_machine_is_said_and_stays(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state").write_bytes(b"damaged" * 100)
    with pytest.raises(machine.MachineError, match="damaged"):
        install.install(tmp_path / "lib", tmp_path / "state", PLAN)
    assert (tmp_path / "state" / "state").read_bytes() == b"damaged" * 100


def test_each_folder_is_a_machine_of_its_own_and_a_replaced_one_is_seen(tmp_path: Path) -> None:
    """The library once kept the first machine that a process asked for, and answered for every folder with that."""
    machine.create(tmp_path / "one", machine.Plan(profile="t4", gpus=1))
    machine.create(tmp_path / "other", machine.Plan(profile="h100", gpus=3))
    assert [len(gpus(tmp_path / name)) for name in ("one", "other", "one")] == [1, 3, 1]
    machine.create(tmp_path / "one", machine.Plan(profile="a40", gpus=2, replace=True))
    assert len(gpus(tmp_path / "one")) == 2
    with pytest.raises(machine.MachineError):
        machine.describe(tmp_path / "none")
