"""Green contexts, and memory that something outside the container made."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.native.libvgpu.machine import Machine, mib
from tests.native.libvgpu.test_families import go_on, on_card, step

PROGRAMS = Path(__file__).with_name("programs")
OUT_OF_MEMORY = "2"
ONE = {"CUDA_VISIBLE_DEVICES": "1"}


@contextlib.contextmanager
def green(machine: Machine, second_limit: int) -> Iterator["subprocess.Popen[str]"]:
    """The program with a green context on the second GPU, which has this limit in MiB; it must end well by itself."""
    trial = machine.trial((0, 2000), (1, second_limit)) | ONE
    program = machine.start(sys.executable, PROGRAMS / "green.py", str(mib(64)), **trial)
    try:
        yield program
        go_on(program)
        assert program.wait(timeout=30) == 0
    finally:
        program.kill()
        program.communicate()


def test_a_green_context_counts_as_the_primary_one(machine: Machine) -> None:
    with green(machine, 2000) as program:
        assert step(program) == ["created", "0"]
        assert machine.total(1) == on_card(machine, program.pid) > mib(100)
        go_on(program)
        assert step(program) == ["full", OUT_OF_MEMORY]
        assert mib(2000 - 64) < machine.total(1) == on_card(machine, program.pid) <= mib(2000)
        go_on(program)
        assert step(program) == ["destroyed", "0"]
        assert machine.total(1) == on_card(machine, program.pid) == 0


def test_a_green_context_without_room_is_refused(machine: Machine) -> None:
    with green(machine, 100) as program:
        assert step(program) == ["created", OUT_OF_MEMORY]
        assert machine.total(1) == on_card(machine, program.pid) == 0


def test_imported_memory_counts_until_it_is_given_up(machine: Machine) -> None:
    inside = machine.environment(**machine.trial((0, 2000), (1, 1000)), **ONE)
    outside = machine.without_libvgpu()
    done = outside.run(sys.executable, PROGRAMS / "external.py", str(mib(400)), json.dumps(inside), **ONE)
    assert json.loads(done.stdout) == {"first": 0, "counted": mib(400), "second": int(OUT_OF_MEMORY), "left": 0}
