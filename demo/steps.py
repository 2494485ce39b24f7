"""Run long commands as named steps that show their progress and elapsed time, with their output in log files.

Uses only the standard library, because it runs before the project's Python environment exists.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cluster import linux

HEARTBEAT = 20.0
"""Seconds between progress lines of a running step when the output is not a terminal."""
POLL = 0.1
"""Seconds between two checks of the running steps."""
TAIL = 25
"""Number of lines shown of a failed step's output."""


class StepFailed(Exception):
    """A step failed; the text explains it to the user."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command."""

    name: str
    why: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    skip: Callable[[], str | None] = lambda: None
    """Return why there is nothing to do, or None."""


@dataclass(slots=True)
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    started: float


class Runner:
    """Run steps in order, those of one group in parallel, and show the time of each."""

    def __init__(self, folder: Path, total: int, out: TextIO = sys.stdout) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._total = total
        self._out = out
        self._live = out.isatty()
        self._number = 0
        self._began = time.monotonic()

    def run(self, group: Sequence[Step]) -> None:
        """Run one group to its end.

        Raises StepFailed when a step fails, after the others of the group have been terminated; KeyboardInterrupt
        propagates after the steps were interrupted and have ended.
        """
        running: list[tuple[str, _Running]] = []
        for step in group:
            self._number += 1
            reason = step.skip()
            label = f"[{self._number:>2}/{self._total}] {step.name}"
            if reason is not None:
                self._line(f"{label:<44} {'—':>7}  {reason}")
                continue
            log = self._folder / f"{step.name.lower().replace(' ', '-')}.log"
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    step.command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **step.environment},
                    start_new_session=True,
                    # When this process ends for any reason, even SIGKILL, the step must not continue in the background.
                    preexec_fn=_die_with_runner,
                )
            running.append((label, _Running(step, process, log, time.monotonic())))
        try:
            self._wait(running)
        except BaseException:
            for _, one in running:
                _end(one.process)
            raise

    def say(self, text: str) -> None:
        """Print a line between the steps."""
        self._line(text)

    def finish(self) -> None:
        """Print the total time."""
        self._line(f"{'':<44} {_elapsed(time.monotonic() - self._began):>7}  total")

    def _wait(self, running: Sequence[tuple[str, _Running]]) -> None:
        left = list(running)
        spoke = time.monotonic()
        for label, one in left:
            if not self._live:
                self._line(f"{label:<44} {'':>7}  {one.step.why} …")
        while left:
            for item in list(left):
                label, one = item
                code = one.process.poll()
                if code is None:
                    continue
                left.remove(item)
                took = _elapsed(time.monotonic() - one.started)
                if code != 0:
                    self._line(f"{label:<44} {took:>7}  failed")
                    for other, it in left:
                        self._line(f"{other:<44} {_elapsed(time.monotonic() - it.started):>7}  stopped")
                    raise StepFailed(_explain(one, code))
                self._line(f"{label:<44} {took:>7}  {one.step.why}")
            if not left:
                return
            now = time.monotonic()
            if self._live:
                words = "  ".join(f"{label} {_elapsed(now - one.started)}" for label, one in left)
                if len(left) == 1:
                    words = f"{words}  {_last_words(left[0][1].log)}"
                columns = shutil.get_terminal_size().columns  # a wrapped line couldn't be overwritten
                self._out.write(f"\r\x1b[K{words[: columns - 3]} …")
                self._out.flush()
            elif now - spoke > HEARTBEAT:
                spoke = now
                for label, one in left:
                    self._line(f"{label:<44} {_elapsed(now - one.started):>7}  … {_last_words(one.log)}")
            time.sleep(POLL)

    def _line(self, text: str) -> None:
        if self._live:
            self._out.write("\r\x1b[K")
        self._out.write(text.rstrip() + "\n")
        self._out.flush()


def _die_with_runner() -> None:
    linux.die_with_parent(signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a step and its children, then terminate, then kill them."""
    for number, patience in ((signal.SIGINT, 15.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _explain(one: _Running, code: int) -> str:
    lines = one.log.read_text(errors="replace").rstrip().splitlines()[-TAIL:]
    ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit status {code}"
    output = "\n".join(f"    {line}" for line in lines) or "    (no output)"
    return f"The step “{one.step.name}” {ended}. Its last lines of output:\n\n{output}\n\nComplete output: {one.log}"


def _last_words(log: Path) -> str:
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - 400))
        lines = source.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:70] if lines else ""


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{seconds:.1f}s"
