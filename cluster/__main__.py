"""The command line: `python -m cluster COMMAND`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from cluster import build, doctor, errors, progress, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 after an error that was printed, or 130 after Ctrl-C."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        return int(chosen.run(chosen))
    except errors.ClusterError as problem:
        progress.note(str(problem))
        return 1
    except KeyboardInterrupt:
        progress.note("\nInterrupted. `up` resumes from here; `down` removes what was started.")
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Run a local Kubernetes cluster built from source."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--name", default=settings.DEFAULT_NAME, help="name of the cluster (default: %(default)s)")
        return sub

    def sized(sub: argparse.ArgumentParser) -> None:
        default = settings.Settings()
        sub.add_argument("--nodes", type=int, default=default.nodes, help="number of nodes (default: %(default)s)")
        sub.add_argument(
            "--gpus", type=int, default=default.gpus, help="simulated GPUs per node; 0 for none (default: %(default)s)"
        )
        sub.add_argument(
            "--profile",
            default=default.profile,
            help="GPU model to simulate, see `unigpu-sim create --help` (default: %(default)s)",
        )
        versioned(sub)

    def versioned(sub: argparse.ArgumentParser) -> None:
        older = ", ".join(settings.OLDER_KUBERNETES)
        sub.add_argument(
            "--kubernetes",
            default="",
            metavar="VERSION",
            help=f"an older Kubernetes: {older} (default: the newest)",
        )

    sub = commands.add_parser("build", help="build the programs whose sources have changed")
    sub.add_argument("--kwok", action="store_true", help="and kwok, which plays thousands of nodes")
    sub.add_argument("--kueue", action="store_true", help="only kueue-counts, which says what Kueue counts for a pod")
    versioned(sub)
    sub.set_defaults(run=_build)
    sub = command("up", "start the cluster, or repair it if it is running")
    sized(sub)
    sub.set_defaults(run=_up)
    sub = command("down", "stop the cluster and remove every trace of it")
    sub.set_defaults(run=_down)
    sub = command("status", "show which parts of the cluster run and where their logs are")
    sub.set_defaults(run=_status)
    sub = command("images", "build the missing images, load them into the running cluster, and print their names")
    sub.set_defaults(run=_images)
    sub = command("doctor", "check whether this machine can run a cluster")
    sized(sub)
    sub.set_defaults(run=_doctor)
    sub = command("enter", "run a command inside a node")
    sub.add_argument("--node", type=int, default=1, help="number of the node, from 1 (default: %(default)s)")
    sub.add_argument("command", nargs=argparse.REMAINDER, help="command and its arguments (default: /bin/bash)")
    sub.set_defaults(run=_enter)
    return parser


def _wanted(chosen: argparse.Namespace) -> settings.Settings:
    return settings.Settings(
        name=chosen.name,
        nodes=chosen.nodes,
        gpus=chosen.gpus,
        profile=chosen.profile,
        kubernetes=chosen.kubernetes,
    )


def _build(chosen: argparse.Namespace) -> int:
    settings.check_kubernetes(chosen.kubernetes)
    if chosen.kueue:
        build.build_if_needed(build.kueue())
        return 0
    if not build.is_current() or (chosen.kubernetes and not build.kubernetes(chosen.kubernetes).is_current()):
        doctor.raise_for(doctor.build_problems())
    build.build_all()
    if chosen.kubernetes:
        build.build_kubernetes(chosen.kubernetes)
    if chosen.kwok:
        build.build_if_needed(build.kwok())
    return 0


def _up(chosen: argparse.Namespace) -> int:
    from cluster import lifecycle

    wanted = _wanted(chosen)
    lifecycle.up(wanted)
    kubeconfig = settings.Layout(wanted.name).published_kubeconfig
    progress.note(f"Cluster {wanted.name} is up: export KUBECONFIG={kubeconfig}")
    return 0


def _down(chosen: argparse.Namespace) -> int:
    from cluster import lifecycle

    if not lifecycle.down(chosen.name):
        progress.note(f"There is no cluster {chosen.name}.")
    return 0


def _status(chosen: argparse.Namespace) -> int:
    from cluster import status

    lines, healthy = status.describe(settings.Layout(chosen.name))
    print("\n".join(lines))
    return 0 if healthy else 1


def _images(chosen: argparse.Namespace) -> int:
    from cluster import images, project_images, state, store

    layout = settings.Layout(chosen.name)
    known = state.load(layout)
    made = project_images.make_all(known.settings.kubernetes if known else "")
    store.fill(made.values())
    for node in known.nodes if known else ():
        images.load(layout, node, made.values())
    for role, image in made.items():
        print(f"{role}={image.name}")
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    wanted = _wanted(chosen)
    wanted.check()
    problems = [*doctor.build_problems(), *doctor.run_problems(wanted)]
    for problem in dict.fromkeys(problems):
        progress.note(problem)
    if not problems:
        progress.note("This machine can run the local cluster.")
    return 1 if problems else 0


def _enter(chosen: argparse.Namespace) -> int:
    from cluster import nsenter

    command = [word for word in chosen.command if word != "--"] or ["/bin/bash"]
    return subprocess.call(nsenter.command(settings.Layout(chosen.name), chosen.node, command), env=dict(os.environ))


if __name__ == "__main__":
    sys.exit(main())
