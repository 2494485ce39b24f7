"""Processors that stay awake while something is measured.

A processor with nothing to do is halted, and to wake it takes time: on a virtual machine its host must first find it a
real one, often a millisecond. A request that crosses two processes meets that several times. Whoever asks what the
programs cost keeps the processors busy with work that gives way to any other.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator


def spin(processor: int, parent: int) -> None:
    """Work that yields to all other, on one processor, for as long as the parent lives."""
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:
        for _ in range(100_000):
            pass


@contextlib.contextmanager
def processors() -> Iterator[None]:
    """Keep awake those that this process may run on."""
    context = multiprocessing.get_context("spawn")
    spinning = [context.Process(target=spin, args=(each, os.getpid())) for each in sorted(os.sched_getaffinity(0))]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.terminate()
        for process in spinning:
            process.join()
