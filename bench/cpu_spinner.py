"""Keep CPUs busy while something is measured, so that none of them sleeps.

An idle CPU halts, and waking it takes time: on a virtual machine the host must first find a real CPU for it, often a
millisecond. A request that crosses two processes pays that several times. To measure the cost of the programs alone,
keep the CPUs busy with work that yields to everything else.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator


def spin(cpu: int, parent: int) -> None:
    """Spin on one CPU at idle priority for as long as the parent lives."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:
        for _ in range(100_000):
            pass


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """Keep every CPU that this process may use busy until the context ends."""
    context = multiprocessing.get_context("spawn")
    spinners = [context.Process(target=spin, args=(cpu, os.getpid())) for cpu in sorted(os.sched_getaffinity(0))]
    for process in spinners:
        process.start()
    try:
        yield
    finally:
        for process in spinners:
            process.terminate()
        for process in spinners:
            process.join()
