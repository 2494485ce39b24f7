"""`make demo`: sets up what is missing, brings up a cluster, runs vendors' pods, and shows what each got.

Only the standard library: this runs before the project's Python environment exists, and makes it.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator

from cluster import build, settings
from demo import packages, preflight, steps

PYTHON = str(settings.ROOT / ".venv" / "bin" / "python")
LOGS = settings.BUILD / "logs" / "demo"
TABLE = LOGS / "table.txt"
PLAN = LOGS / "plan.json"
TOTAL = 8
NATIVE = ("simulator", "build/lib/libvgpu.so", "build/probe/probe")
"""Of `make native`, what the cluster and the images need; the rest is for the tests."""


def main() -> int:
    """Exit status 0, 1 after an error that was explained, 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # like Ctrl-C: what runs is ended first
        signal.signal(number, signal.default_int_handler)
    try:
        plan = preflight.plan(os.environ)
        preflight.require(plan, build=not plan.existing and not build.is_current())
        LOGS.mkdir(parents=True, exist_ok=True)
        with _alone():
            return _run(plan)
    except preflight.PreflightError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. `make demo` goes on from here; `make down` removes the local cluster.", file=sys.stderr)
        return 130


def _run(plan: preflight.Plan) -> int:
    runner = steps.Runner(LOGS, TOTAL)
    try:
        _set_up(runner, plan)
        _walkthrough(runner, plan)
    except steps.StepFailed as problem:
        print(f"\n{problem}\n\nMend that, then run `make demo` again: it goes on from here.", file=sys.stderr)
        return 1
    print(TABLE.read_text(), end="")
    runner.finish()
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the demo of this checkout; the lock ends with the process.

    Raises PreflightError when another one is at work.
    """
    with (LOGS / "lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise preflight.PreflightError(
                f"Another `make demo` of this checkout is at work (process {stream.read().strip()}): wait until it has"
                " ended, or interrupt it."
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def _set_up(runner: steps.Runner, plan: preflight.Plan) -> None:
    theirs = "not needed: the cluster is yours"
    absent = [] if plan.existing else packages.missing(tests=False)
    debian = steps.Step(
        "Debian packages",
        f"installing {', '.join(package.name for package in absent)}",
        (sys.executable, "-m", "demo.packages"),
        skip=lambda: theirs if plan.existing else None if absent else "all that are needed are installed",
    )
    python = steps.Step("Python environment", "pinned packages, in .venv", ("make", "--no-print-directory", "setup"))
    kubernetes = steps.Step(
        "Kubernetes and containerd",
        "from source, into build/bin",
        (sys.executable, "-m", "cluster", "build"),
        skip=lambda: theirs if plan.existing else "sources are unchanged" if build.is_current() else None,
    )
    processors = len(os.sched_getaffinity(0))
    native = steps.Step(
        "libvgpu and simulated driver",
        "in C; only what changed",
        ("make", "--no-print-directory", f"--jobs={processors}", *NATIVE),
        skip=lambda: theirs if plan.existing else None,
    )
    images = steps.Step(
        "Images",
        "unigpu, kube-scheduler, the examples' program",
        (PYTHON, "-m", "cluster", "images"),
        skip=lambda: theirs if plan.existing else None,
    )
    cluster = steps.Step(
        "Cluster",
        "etcd, API server, kubelet; four GPUs of 24 GiB",
        (PYTHON, "-m", "cluster", "up", "--gpus", str(preflight.LOCAL.gpus), "--profile", preflight.LOCAL.profile),
        skip=lambda: theirs if plan.existing else None,
    )
    for package in absent:
        runner.say(f"{'':<8}{package.name} is missing: {package.reason}")
    runner.run([debian])
    runner.run([python, kubernetes])
    for step in (native, images, cluster):  # a node that starts when the images are there begins with them
        runner.run([step])


def _walkthrough(runner: steps.Runner, plan: preflight.Plan) -> None:
    PLAN.write_text(json.dumps(dataclasses.asdict(plan), default=str))
    command = (PYTHON, "-m", "demo.walkthrough", str(PLAN))
    runner.run([steps.Step("Chart", "webhook, scheduler, node agent", (*command, "install"))])
    runner.run([steps.Step("Pods", "vendors' own pod specs", (*command, "pods", str(TABLE)))])


if __name__ == "__main__":
    sys.exit(main())
