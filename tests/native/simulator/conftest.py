"""A machine of simulated GPUs in a folder of its own, and programs that use it in processes of their own."""

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ROOT / "build" / "simulator"
CLIENT = Path(__file__).with_name("client.py")


def make(target: str) -> None:
    """Runs make; sessions of tests at the same time wait for each other."""
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    with (LIBRARIES / f".{target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", target], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def libraries() -> Path:
    """Folder of the built libraries; built when their sources changed."""
    make("simulator")
    return LIBRARIES


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """Folder of the same libraries with sanitizers in them, one folder for each kind."""
    make("simulator-sanitized")
    return ROOT / "build" / "sanitize" / "simulator"


@pytest.fixture(scope="session")
def clients() -> Path:
    """Folder of other people's programs, fetched once."""
    make("clients")
    return ROOT / "build" / "clients"


@dataclasses.dataclass(slots=True)
class Client:
    """A process with the driver loaded, that does one call after another when told to."""

    process: "subprocess.Popen[str]"

    def ask(self, name: str, *arguments: object) -> Any:
        """Runs one of the client's functions and answers what it returned."""
        self.begin(name, *arguments)
        return self.answer()

    def write(self, lines: str) -> None:
        """Write lines to its standard input as they are."""
        assert self.process.stdin
        self.process.stdin.write(lines)
        self.process.stdin.flush()

    def begin(self, name: str, *arguments: object) -> None:
        """Tells it to run one of the functions, and doesn't wait for what it returns."""
        self.write(json.dumps([name, *arguments]) + "\n")

    def answer(self) -> Any:
        """What the function returned that was begun."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, and waits until the kernel has buried it."""
        self.process.kill()
        self.process.wait()


@dataclasses.dataclass(slots=True)
class Machine:
    """A folder of simulated GPUs."""

    folder: Path
    libraries: Path
    clients: list[Client]

    def create(self, *arguments: str) -> None:
        """`unigpu-sim create` with these arguments."""
        self.command("create", *arguments)

    def command(self, name: str, *arguments: str) -> str:
        """Runs `unigpu-sim` on this machine and answers what it printed."""
        command = [sys.executable, "-m", "simulator", name, "--dir", str(self.folder), *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def environment(self, **extra: str) -> dict[str, str]:
        """What a program needs to run on this machine."""
        return os.environ | {"UNIGPU_SIM_DIR": str(self.folder), "LD_LIBRARY_PATH": str(self.libraries)} | extra

    def seen(self, program: str, **extra: str) -> Any:
        """Runs one of programs/ to its end and answers what it printed as JSON; `extra` goes to its environment."""
        command = [sys.executable, "-m", f"tests.native.simulator.programs.{program}"]
        environment = self.environment(PYTHONPATH=str(ROOT), **extra)
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def client(self, *before: str, **extra: str) -> Client:
        """A new process; `before` is a command that runs it, `extra` goes to its environment."""
        process = subprocess.Popen(
            [*before, sys.executable, str(CLIENT)],
            env=self.environment(**extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        made = Client(process)
        self.clients.append(made)
        return made


@pytest.fixture
def machine(tmp_path: Path, libraries: Path) -> Iterator[Machine]:
    """An empty folder, to be filled by `create` or by the first program."""
    made = Machine(tmp_path / "sim", libraries, [])
    yield made
    for client in made.clients:
        client.kill()
        for pipe in (client.process.stdin, client.process.stdout):
            if pipe:
                pipe.close()


@pytest.fixture
def run_program(machine: Machine) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a Python program on the machine to its end."""

    def run(text: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", text]
        return subprocess.run(command, env=machine.environment(**extra), capture_output=True, text=True, timeout=60)

    return run
