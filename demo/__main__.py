"""`make demo`: sets up what is missing, brings up a cluster, runs vendors' pods, and shows what each got.

Only the standard library: this runs before the project's Python environment exists, and makes it.
"""

import dataclasses
import json
import os
import sys

from cluster import build, settings
from demo import ground, packages, steps

PYTHON = str(settings.ROOT / ".venv" / "bin" / "python")
LOGS = settings.BUILD / "logs" / "demo"
TABLE = LOGS / "table.txt"
PLAN = LOGS / "plan.json"
TOTAL = 8


def main() -> int:
    """Exit status 0, 1 after an error that was explained, 130 after Ctrl-C."""
    try:
        plan = ground.plan(os.environ)
        ground.require(plan, build=not plan.existing and not build.is_current())
    except ground.BadGround as problem:
        print(problem, file=sys.stderr)
        return 1
    runner = steps.Runner(LOGS, TOTAL)
    try:
        _set_up(runner, plan)
        _tour(runner, plan)
    except steps.StepFailed as problem:
        print(f"\n{problem}\n\nMend that, then run `make demo` again: it goes on from here.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. `make demo` goes on from here; `make down` removes what there is.", file=sys.stderr)
        return 130
    print(TABLE.read_text(), end="")
    runner.finish()
    return 0


def _set_up(runner: steps.Runner, plan: ground.Plan) -> None:
    theirs = "the cluster is yours"
    debian = steps.Step(
        "Debian packages",
        "what the cluster is made of",
        (sys.executable, "-m", "demo.packages"),
        skip=lambda: (
            theirs if plan.existing else None if packages.missing(tests=False) else "all that are needed are installed"
        ),
    )
    python = steps.Step("Python environment", "pinned packages, in .venv", ("make", "--no-print-directory", "setup"))
    kubernetes = steps.Step(
        "Kubernetes and containerd",
        "from source, into build/bin",
        (sys.executable, "-m", "cluster", "build"),
        skip=lambda: theirs if plan.existing else "sources are unchanged" if build.is_current() else None,
    )
    native = steps.Step(
        "libvgpu and simulated driver", "in C; only what changed", ("make", "--no-print-directory", "native")
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
        (PYTHON, "-m", "cluster", "up", "--gpus", "4", "--profile", "p40"),
        skip=lambda: theirs if plan.existing else None,
    )
    runner.run([debian])
    runner.run([python, kubernetes])
    for step in (native, images, cluster):  # a node that starts when the images are there begins with them
        runner.run([step])


def _tour(runner: steps.Runner, plan: ground.Plan) -> None:
    PLAN.write_text(json.dumps(dataclasses.asdict(plan), default=str))
    command = (PYTHON, "-m", "demo.tour", str(PLAN))
    runner.run([steps.Step("Chart", "webhook, scheduler, node agent", (*command, "install"))])
    runner.run([steps.Step("Pods", "vendors' own pod specs", (*command, "pods", str(TABLE)))])


if __name__ == "__main__":
    sys.exit(main())
