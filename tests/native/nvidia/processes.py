"""Run tests in child processes, a process for each file, and one more for what remains after a crash or a hang."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.native.nvidia.causes import Cause, Outcome, cause

PLUGIN_FOLDER: Final = Path(__file__).with_name("child")
POLL_S: Final = 0.1


def find_test_files(folder: Path) -> list[Path]:
    """Return the files of tests in a folder, as pytest names them."""
    found = [path for path in folder.rglob("*.py") if re.fullmatch(r"test_.*|.*_tests?\.py", path.name)]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def run_file(
    command: Sequence[str | Path], file: Path, folder: Path, environment: Mapping[str, str], limit_s: float
) -> Iterator[Outcome]:
    """Run one file's tests and yield what became of each; `folder` keeps the reports and the last output."""
    finished: list[str] = []
    while True:
        report = folder / "outcomes.jsonl"
        report.write_text("")
        deselected = [f"--deselect={test}" for test in finished]
        hung, code, output = _run(
            [*command, "-p", "unigpu_outcomes", *deselected, str(file)],
            folder,
            {**environment, "UNIGPU_OUTCOMES": str(report)},
            limit_s,
        )
        events = [json.loads(line) for line in report.read_text().splitlines()]
        ended = {event["test"] for event in events if event["event"] == "end"}
        yield from (Outcome(each["test"], cause(each), each["text"]) for each in events if each["event"] == "end")
        open_tests = [event["test"] for event in events if event["event"] == "start" and event["test"] not in ended]
        broken = _broken(hung, code)
        if broken is None:
            if code in _NOT_RUN and not events:
                report_of = {"outcome": "failed", "text": output, "kernels": False}
                yield Outcome(f"{file.name} (outside of its tests)", cause(report_of), output)
            return
        place = open_tests[-1] if open_tests else f"{file.name} (outside of its tests)"
        yield Outcome(place, broken[0], f"{output}\n{broken[1]}")
        if not open_tests or place in finished:
            return
        finished += [*ended, place]


def run_program(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], limit_s: float) -> Outcome:
    """Run a program that has to end with status 0."""
    hung, code, output = _run(command, folder, environment, limit_s)
    name = Path(command[0]).name
    if broken := _broken(hung, code if code < 0 or code == _GO_PANIC else 0):
        return Outcome(name, broken[0], output)
    report: dict[str, Any] = {"outcome": "failed" if code else "passed", "text": output, "kernels": False}
    return Outcome(name, cause(report), output if code else "")


_GO_PANIC: Final = 2
_PYTEST_CODES: Final = range(6)
_NOT_RUN: Final = {3, 4}
"""Of these, what pytest says that couldn't begin."""


def _broken(hung: bool, code: int) -> tuple[Cause, str] | None:
    if hung:
        return Cause.HANG, "took too long"
    if code < 0:
        return Cause.CRASH, signal.Signals(-code).name
    return None if code in _PYTEST_CODES else (Cause.CRASH, f"the process ended with status {code}")


def _run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], limit_s: float
) -> tuple[bool, int, str]:
    """Run a command until it ends, or until it has reported nothing for `limit_s`: hung?, status, output."""
    log, report = folder / "output.txt", Path(environment.get("UNIGPU_OUTCOMES", folder / "none"))
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        seen, since, hung = -1, time.monotonic(), False
        while process.poll() is None and not hung:
            size = report.stat().st_size if report.exists() else 0
            if size != seen:
                seen, since = size, time.monotonic()
            hung = time.monotonic() - since > limit_s
            time.sleep(POLL_S)
        # Its children too: tests start processes, and those of a killed test would stay.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return hung, process.returncode, log.read_text(errors="replace")[-4000:]
