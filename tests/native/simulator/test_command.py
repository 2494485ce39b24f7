"""`unigpu-sim`: programs run on the machine, `show` tells what was injected, and wrong input gets a sentence."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).resolve().parents[3]
COUNT = """import ctypes
count, cuda = ctypes.c_int(), ctypes.CDLL("libcuda.so.1")
cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(count))
print(count.value)"""


def attempt(folder: Path, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "simulator", command, "--dir", str(folder), *arguments]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)


def refused(folder: Path, command: str, *arguments: str) -> str:
    done = attempt(folder, command, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("unigpu-sim: ")
    return done.stderr


def test_a_program_runs_on_the_machine(machine: "Machine") -> None:
    machine.create("--gpus", "3")
    for separator in ([], ["--"]):
        done = attempt(machine.folder, "run", *separator, sys.executable, "-c", COUNT)
        assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
    assert attempt(machine.folder, "run", "--", "sh", "-c", "exit 7").returncode == 7
    shell = f'{machine.command("env")}\nexec "$0" -c "$1"'
    done = subprocess.run(["sh", "-c", shell, sys.executable, COUNT], check=True, capture_output=True, text=True)
    assert done.stdout == "3\n"


def test_the_environment_survives_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "a b'c$d"
    assert attempt(folder, "create", "--gpus", "2").returncode == 0
    shell = f'{attempt(folder, "env").stdout}\nexec "$0" -c "$1"'
    done = subprocess.run(["sh", "-c", shell, sys.executable, COUNT], check=True, capture_output=True, text=True)
    assert done.stdout == "2\n"


def test_run_makes_a_machine_where_there_is_none(tmp_path: Path) -> None:
    for _ in range(2):
        assert attempt(tmp_path / "new", "run", sys.executable, "-c", COUNT).stdout == "1\n"
    assert "NVIDIA A100-SXM4-40GB" in attempt(tmp_path / "new", "show").stdout


def test_show_tells_what_was_injected_and_set(machine: "Machine") -> None:
    machine.create("--gpus", "2")
    machine.command("inject", "--gpu", "0", "--xid", "63", "--ecc-corrected", "3", "--ecc-uncorrected", "1")
    machine.command("inject", "--gpu", "0", "--xid", "48", "--hang")
    machine.command("inject", "--gpu", "1", "--lost")
    machine.command("set", "--gpu", "0", "--compute-mode", "exclusive-process", "--process-list", "twice")
    _, first, second = machine.command("show").splitlines()
    faults = "ecc 3/1, XID 48 until reset, hanging, rows to remap"
    assert first.endswith(f"{faults}, compute mode exclusive-process, processes listed twice")
    assert second.endswith("LOST")
    machine.command("reset")
    _, first, second = machine.command("show").splitlines()
    assert first.endswith("ecc 0/0, compute mode exclusive-process, processes listed twice"), "settings stay"
    assert second.endswith("ecc 0/0")


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("create", "--force --profile voodoo2", "no such GPU model; accepted: "),
        ("create", "--force --gpus 17", "accepted: 1 to 16"),
        ("create", "--force --cuda-version twelve", "accepted: MAJOR.MINOR"),
        ("create", "--force --driver-version newest", "accepted: BRANCH.MINOR"),
        ("create", "", "--force"),
        ("inject", "--gpu 2 --lost", "--gpu = 2: no such GPU; accepted: 0 to 1"),
        ("inject", "--gpu -1 --lost", "--gpu = -1"),
        ("inject", "--gpu 0", "no fault named"),
        ("inject", "--gpu 0 --xid 0", "accepted: 1 to 999"),
        ("inject", "--gpu 0 --lost --found", "exclude each other"),
        ("inject", "--gpu 0 --hang --release", "exclude each other"),
        ("inject", "--gpu 0 --ecc-corrected -1", "accepted: 0 and more"),
        ("set", "", "nothing to change"),
        ("set", "--gpu 5 --compute-mode default", "--gpu = 5"),
        ("set", "--mig on", "Tesla T4 can't be partitioned"),
        ("run", "", "no program named"),
        ("run", "-- no-such-program", "no-such-program: No such file"),
    ],
)
def test_wrong_input_gets_a_sentence_and_changes_nothing(
    machine: "Machine", command: str, arguments: str, says: str
) -> None:
    machine.create("--profile", "t4", "--gpus", "2")
    before = machine.command("show")
    assert says in refused(machine.folder, command, *arguments.split())
    assert machine.command("show") == before


def test_folders_without_a_usable_machine(tmp_path: Path) -> None:
    assert "make one with `unigpu-sim create" in refused(tmp_path / "none", "show")
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(tmp_path / "file", "create")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/state").write_text("not a machine")
    for words in (["show"], ["run", "true"]):
        assert "create --force" in refused(tmp_path / "bad", *words)
