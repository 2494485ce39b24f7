"""Memory that the driver takes unasked is held to the share: code at its first launch, and stacks."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT, Machine, mib
from tests.native.libvgpu.test_families import on_card
from unigpu import usage

PROGRAM = Path(__file__).parent / "programs/implicit.py"
LIMIT = 3000
CODE = 200
STEP = 16


class Container:
    """Programs in one container, on the second GPU."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.trial = machine.trial((0, LIMIT), (1, LIMIT)) | {"CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": str(ROOT)}

    @contextlib.contextmanager
    def program(self) -> Iterator["subprocess.Popen[str]"]:
        started = self.machine.start(sys.executable, PROGRAM, **self.trial)
        try:
            assert ask(started, "free") > 0, "it has a context"
            yield started
        finally:
            started.kill()
            started.communicate()

    def on_card(self, *programs: "subprocess.Popen[str]") -> int:
        return sum(on_card(self.machine, program.pid) for program in programs)

    def used(self) -> int:
        """What the exporter and the node agent read."""
        return self.machine.read_usage(2).gpus[1].used


@pytest.fixture
def container(machine: Machine) -> Container:
    return Container(machine)


def ask(program: "subprocess.Popen[str]", words: str) -> int:
    assert program.stdin and program.stdout
    program.stdin.write(words + "\n")
    program.stdin.flush()
    line = program.stdout.readline()
    assert line, f"the program ended: {program.communicate()}"
    answer: int = json.loads(line)
    return answer


@pytest.mark.parametrize("what", [f"code {CODE}", "stack 4"])
@pytest.mark.parametrize("how", ["fill", "pool"])
def test_memory_taken_unasked_leaves_less_for_allocations(container: Container, what: str, how: str) -> None:
    with container.program() as program:
        ask(program, what)
        ask(program, f"{how} {STEP}")
        full = container.on_card(program)
        assert mib(LIMIT - STEP - 34) < full <= mib(LIMIT), "not a byte over, and all of the share can be had"
        assert container.used() == full, "and the account says so"
        kinds = container.machine.read_usage(2).gpus[1]
        assert kinds.unasked > 0
        assert kinds.data + kinds.context + kinds.code + kinds.unasked == full


def test_a_program_that_asks_sees_it(container: Container) -> None:
    with container.program() as program:
        before = ask(program, "free")
        ask(program, f"code {CODE}")
        assert ask(program, "free") == before - mib(CODE - 2), "the context's own room is for 2 MiB"
        assert container.used() == container.on_card(program)
        ask(program, "unload")
        assert ask(program, "free") == before


def test_memory_that_the_driver_gave_back_can_be_had(container: Container) -> None:
    with container.program() as program:
        ask(program, f"code {CODE}")
        count = ask(program, f"fill {STEP}")
        ask(program, "unload")
        more = ask(program, f"fill {STEP}")
        assert more >= CODE // STEP - 1, "a refusal looks again"
        ask(program, "drop")
        assert ask(program, f"fill {STEP}") == count + more


def test_another_processs_is_counted_too(container: Container) -> None:
    with container.program() as idle, container.program() as other:
        ask(idle, f"code {CODE}")
        ask(other, f"fill {STEP}")
        full = container.on_card(idle, other)
        assert mib(LIMIT - STEP - 34) < full <= mib(LIMIT)


def test_it_goes_with_its_process(container: Container) -> None:
    with container.program() as first:
        count = ask(first, f"fill {STEP}")
        ask(first, "drop")
        ask(first, f"code {CODE}")
        assert ask(first, f"fill {STEP}") < count
    with container.program() as second:
        assert ask(second, f"fill {STEP}") == count


def test_a_process_that_nvml_lists_twice_is_counted_once(container: Container) -> None:
    container.machine.simulator("set", "--gpu", "1", "--process-list", "twice")
    try:
        with container.program() as program:
            ask(program, f"code {CODE}")
            before = ask(program, "free")
            ask(program, f"fill {STEP}")
            ask(program, "drop")
            assert ask(program, "free") == before
            assert container.machine.total(1) + implicit(container) == mib(LIMIT) - before
    finally:
        container.machine.simulator("set", "--gpu", "1", "--process-list", "once")


def implicit(container: Container) -> int:
    start = usage.TOTALS_OFFSET + usage.TOTAL_SIZE + 40
    return int.from_bytes(container.machine.usage_file.read_bytes()[start : start + 8], "little")


def test_nothing_is_assumed_where_nvml_tells_nothing(container: Container) -> None:
    container.machine.simulator("set", "--gpu", "1", "--process-memory", "hidden")
    try:
        with container.program() as program:
            before = ask(program, "free")
            ask(program, f"code {CODE}")
            assert ask(program, "free") == before
            assert implicit(container) == 0
    finally:
        container.machine.simulator("set", "--gpu", "1", "--process-memory", "shown")
