"""The runner of long steps: real commands, real signals."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest

from demo import steps


def runner(folder: Path, total: int) -> tuple[steps.Runner, io.StringIO]:
    out = io.StringIO()
    return steps.Runner(folder, total, out), out


def shell(name: str, script: str) -> steps.Step:
    return steps.Step(name, f"why {name}", ("sh", "-c", script))


def test_steps_of_a_group_run_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other's file: one after the other they would never end."""
    run, out = runner(tmp_path / "logs", 2)
    run.run(
        [
            shell("first", f"touch {tmp_path}/a; until [ -e {tmp_path}/b ]; do sleep 0.02; done"),
            shell("second", f"touch {tmp_path}/b; until [ -e {tmp_path}/a ]; do sleep 0.02; done"),
        ]
    )
    assert "[ 1/2] first" in out.getvalue()
    assert "[ 2/2] second" in out.getvalue()


def test_a_failed_step_shows_its_last_words_and_where_all_of_them_are(tmp_path: Path) -> None:
    run, _ = runner(tmp_path, 1)
    with pytest.raises(steps.StepFailed) as caught:
        run.run([shell("Broken thing", "echo the disk is full >&2; exit 7")])
    assert "ended with status 7" in str(caught.value)
    assert "the disk is full" in str(caught.value)
    assert (tmp_path / "broken-thing.log").read_text() == "the disk is full\n"


def test_when_one_of_a_group_fails_the_others_are_ended(tmp_path: Path) -> None:
    run, _ = runner(tmp_path, 2)
    script = f"echo $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600"
    with pytest.raises(steps.StepFailed, match="status 3"):
        run.run([shell("long", script), shell("short", f"until [ -e {tmp_path}/pid ]; do sleep 0.02; done; exit 3")])
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interrupt_reaches_the_step_before_it_is_passed_on(tmp_path: Path) -> None:
    run, _ = runner(tmp_path, 1)
    script = (
        "import os, signal, sys, pathlib, time\n"
        "def told(*_): pathlib.Path(sys.argv[1], 'told').write_text('yes'); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, told)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        run.run([steps.Step("long", "why", (sys.executable, "-c", script, str(tmp_path)))])
    assert (tmp_path / "told").read_text() == "yes"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_step_with_nothing_to_do_says_why(tmp_path: Path) -> None:
    run, out = runner(tmp_path, 1)
    run.run([steps.Step("packages", "why", ("false",), skip=lambda: "all are there")])
    assert "all are there" in out.getvalue()
