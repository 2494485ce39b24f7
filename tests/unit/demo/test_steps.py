"""The runner of long steps: real commands, real signals."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
    assert "failed with exit status 7" in str(caught.value)
    assert "the disk is full" in str(caught.value)
    assert (tmp_path / "broken-thing.log").read_text() == "the disk is full\n"


def test_when_one_of_a_group_fails_the_others_are_ended(tmp_path: Path) -> None:
    run, _ = runner(tmp_path, 2)
    script = f"echo $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600"
    with pytest.raises(steps.StepFailed, match="exit status 3"):
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


def test_a_step_does_not_outlive_the_runner(tmp_path: Path) -> None:
    """Not even when the runner is killed: a second one would meet it."""
    program = (
        "import sys, pathlib\n"
        "from demo import steps\n"
        "script = f'echo $$ > {sys.argv[1]}/pid.new && mv {sys.argv[1]}/pid.new {sys.argv[1]}/pid; exec sleep 600'\n"
        "steps.Runner(pathlib.Path(sys.argv[1]), 1).run([steps.Step('long', 'why', ('sh', '-c', script))])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "pid").exists)
        process.kill()
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether there is such a process that isn't only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_the_live_line_never_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps can't be written over."""
    monkeypatch.setenv("COLUMNS", "40")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal, os.fdopen(reader, "rb") as seen:
        run = steps.Runner(tmp_path, 2, terminal)
        run.run([shell("A step with a long name", "sleep 0.3"), shell("Another long one", "sleep 0.3")])
        terminal.write("end")
        terminal.flush()
        text = b""
        while not text.endswith(b"end"):
            text += os.read(seen.fileno(), 4096)
    live = [part for part in text.decode().split("\r\x1b[K") if part.endswith("…")]
    assert live
    assert all(len(part) < 40 for part in live)
