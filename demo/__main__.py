"""`make demo`: install what is missing, start a cluster, run vendors' pods, and show the GPU share of each.

Uses only the standard library, because it runs before the project's Python environment exists, and creates it.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from cluster import build, settings
from demo import packages, preflight, steps

PYTHON = str(settings.ROOT / ".venv" / "bin" / "python")
LOGS = settings.BUILD / "logs" / "demo"
TABLE = LOGS / "table.txt"
PLAN = LOGS / "plan.json"
TOTAL = 8
NATIVE = ("simulator", "build/lib/libvgpu.so", "build/probe/probe")
"""The targets of `make native` that the cluster and the images need; the others are for the tests."""


_EPILOG = "Without KUBECONFIG it builds a local cluster. Variables for a cluster of your own: docs/install.md."


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; return 0, 1 after an error that was printed, or 130 after Ctrl-C.

    It takes no arguments; `--help` and unknown ones end it before anything is installed.
    """
    about = "Install what is missing, start a cluster, run vendors' pods, and show the GPU share of each."
    argparse.ArgumentParser(prog="make demo", description=about, epilog=_EPILOG).parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as on Ctrl-C, end running steps first
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
        print("\nInterrupted. `make demo` resumes from here; `make down` removes the local cluster.", file=sys.stderr)
        return 130


def _run(plan: preflight.Plan) -> int:
    runner = steps.Runner(LOGS, TOTAL)
    try:
        _set_up(runner, plan)
        _walkthrough(runner, plan)
    except steps.StepFailed as problem:
        print(f"\n{problem}\n\nFix the problem, then run `make demo` again: it resumes from here.", file=sys.stderr)
        return 1
    print(TABLE.read_text(), end="")
    runner.finish()
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Lock the demo of this checkout until the process ends.

    Raises PreflightError when another demo is running.
    """
    with (LOGS / "lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise preflight.PreflightError(
                f"Another `make demo` of this checkout is running (process {stream.read().strip()}): wait for it to"
                " finish, or interrupt it."
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def _set_up(runner: steps.Runner, plan: preflight.Plan) -> None:
    theirs = "not needed for your own cluster"
    absent = [] if plan.existing else packages.missing(tests=False)
    debian = steps.Step(
        "Debian packages",
        f"installing {', '.join(package.name for package in absent)}",
        (sys.executable, "-m", "demo.packages"),
        skip=lambda: theirs if plan.existing else None if absent else "all installed already",
    )
    python = steps.Step("Python environment", "pinned packages in .venv", ("make", "--no-print-directory", "setup"))
    kubernetes = steps.Step(
        "Kubernetes and containerd",
        "built from source into build/bin",
        (sys.executable, "-m", "cluster", "build"),
        skip=lambda: theirs if plan.existing else "sources are unchanged" if build.is_current() else None,
    )
    processors = len(os.sched_getaffinity(0))
    native = steps.Step(
        "libvgpu and simulated driver",
        "C code; only changed files",
        ("make", "--no-print-directory", f"--jobs={processors}", *NATIVE),
        skip=lambda: theirs if plan.existing else None,
    )
    images = steps.Step(
        "Images",
        "unigpu, kube-scheduler, and the program of the examples",
        (PYTHON, "-m", "cluster", "images"),
        skip=lambda: theirs if plan.existing else None,
    )
    cluster = steps.Step(
        "Cluster",
        "etcd, API server, kubelet; four simulated GPUs",
        (PYTHON, "-m", "cluster", "up", "--gpus", str(preflight.LOCAL.gpus), "--profile", preflight.LOCAL.profile),
        skip=lambda: theirs if plan.existing else None,
    )
    for package in absent:
        runner.say(f"{'':<8}{package.name} is not installed: {package.reason}")
    runner.run([debian])
    runner.run([python, kubernetes])
    for step in (native, images, cluster):  # images first: a node that starts later already has them
        runner.run([step])


def _walkthrough(runner: steps.Runner, plan: preflight.Plan) -> None:
    PLAN.write_text(json.dumps(dataclasses.asdict(plan), default=str))
    command = (PYTHON, "-m", "demo.walkthrough", str(PLAN))
    runner.run([steps.Step("Chart", "webhook, scheduler, node agent", (*command, "install"))])
    runner.run([steps.Step("Pods", "pod specs of several vendors", (*command, "pods", str(TABLE)))])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
