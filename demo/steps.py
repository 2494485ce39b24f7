"""Long work that shows where it is: named steps with elapsed time, their output kept in files.

Only the standard library: this runs before the project's Python environment exists.
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
"""Seconds between lines that say a step still runs, where the output is no terminal."""
POLL = 0.1
"""Seconds between looks at the children."""
TAIL = 25
"""Lines of a failed step's output that are shown."""


class StepFailed(Exception):
    """A step ended badly; the text is what a person should read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the way."""

    name: str
    why: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    skip: Callable[[], str | None] = lambda: None
    """Says why there is nothing to do, or None."""


@dataclass(slots=True)
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    started: float


class Runner:
    """Runs steps in order, those of one group side by side, and keeps the time of each."""

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

        Raises StepFailed when one ends badly, after the others of the group have been ended; KeyboardInterrupt passes
        on after the children have been told and have gone.
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
                    # Whatever ends this process, also a kill, the step doesn't go on behind the user's back.
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
        """Print the time of the whole."""
        self._line(f"{'':<44} {_elapsed(time.monotonic() - self._began):>7}  in all")

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
                columns = shutil.get_terminal_size().columns  # a line that wraps could not be written over
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
    """Interrupt a step and what it started, then insist."""
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
    ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    told = "\n".join(f"    {line}" for line in lines) or "    (it printed nothing)"
    return f"The step “{one.step.name}” {ended}. Its last words:\n\n{told}\n\nAll of it: {one.log}"


def _last_words(log: Path) -> str:
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - 400))
        lines = source.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:70] if lines else ""


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{seconds:.1f}s"
