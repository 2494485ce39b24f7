"""A GPU that several containers have in turns, as one of them sees it: its kernels run in its own turns alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """A launch on one of the container's streams; all times in ns."""

    stream: int
    launched: int
    length: int
    """What it takes alone."""
    part: int
    """Of the GPU, of WHOLE; kernels run at the same time as long as their parts fit."""


@dataclass(slots=True)
class Run:
    """When the GPU did a kernel, by the events before and after it."""

    kernel: Kernel
    before: int = 0
    after: int = 0
    left: int = 0
    ready: int = 0


WHOLE = 1024


def _start(running: list[Run], waiting: list[Run], now: int) -> None:
    """Start what is launched, is the next of its stream, and fits."""
    for each in sorted(waiting, key=lambda run: (run.ready, run.kernel.launched)):
        if each.ready <= now and sum(run.kernel.part for run in running) + each.kernel.part <= WHOLE:
            running.append(each)
            waiting.remove(each)


def run(kernels: Sequence[Kernel], turns: Iterable[tuple[int, int]]) -> tuple[list[Run], int]:
    """Return when the GPU did each kernel, in the order of their ends, and how long any of them ran."""
    queues: dict[int, list[Kernel]] = {}
    for kernel in kernels:
        queues.setdefault(kernel.stream, []).append(kernel)
    waiting: list[Run] = []
    running: list[Run] = []
    done: list[Run] = []

    def follow(stream: int, ended: int) -> None:
        """Let the stream's next kernel wait for the GPU."""
        if queues[stream]:
            kernel = queues[stream].pop(0)
            ready = max(kernel.launched, ended)
            waiting.append(Run(kernel, before=ready, left=kernel.length, ready=ready))

    for stream in queues:
        follow(stream, 0)
    busy = 0
    for begin, end in turns:
        now = begin
        while now < end:
            _start(running, waiting, now)
            moments = [now + run.left for run in running] + [each.ready for each in waiting if each.ready > now]
            until = min([end, *moments])
            busy += until - now if running else 0
            for each in running:
                each.left -= until - now
            now = until
            for each in [run for run in running if run.left == 0]:
                running.remove(each)
                each.after = now
                done.append(each)
                follow(each.kernel.stream, now)
        if not running and not waiting:
            return done, busy
    raise ValueError("the turns end before the kernels do")


def alternate(own: Sequence[int], others: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the container's turns; it and the others have them by turns, of these lengths again and again."""
    now = turn = 0
    while now < 60_000_000_000:
        length = own[turn % len(own)]
        yield now, now + length
        now += length + others[turn % len(others)]
        turn += 1
