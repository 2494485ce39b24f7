"""`unigpu-sim`: builds a machine of simulated GPUs, shows it, breaks it, heals it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from simulator import machine

DEFAULT_FOLDER: Final = "/run/unigpu-sim"
MIB: Final = 1 << 20


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="unigpu-sim", description="Simulated NVIDIA GPUs.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument(
            "--dir",
            type=Path,
            default=Path(os.environ.get("UNIGPU_SIM_DIR") or DEFAULT_FOLDER),
            help=f"folder of the machine (default: $UNIGPU_SIM_DIR, else {DEFAULT_FOLDER})",
        )
        return made

    create = command("create", "Build a machine.")
    create.add_argument(
        "--profile",
        default="a100-40",
        help="card: t4, p40, v100, a10, a40, a100-40, a100-80, h100, l40s, rtx4090, rtxpro6000",
    )
    create.add_argument("--gpus", type=int, default=1, help="number of cards, 1 to 16")
    create.add_argument("--links", choices=("none", "pairs", "full"), help="NVLinks (default: as the card's boards)")
    create.add_argument("--driver-version", help="as nvidia-smi shows it, such as 575.57.08")
    create.add_argument("--cuda-version", help="highest CUDA version that the driver speaks, such as 12.9")
    create.add_argument("--seed", type=int, default=0, help="same UUIDs each time for the same number; 0: random")
    create.add_argument("--force", action="store_true", help="build over a machine that exists")

    show = command("show", "Show the cards and who uses them.")
    show.add_argument("--json", action="store_true", help="everything, as JSON")

    inject = command("inject", "Break a card.")
    inject.add_argument("--gpu", type=int, required=True, help="the card's number, as in its node gpu<N>")
    inject.add_argument("--xid", type=int, help="report this XID")
    inject.add_argument("--lost", action="store_true", help="the card falls off the bus")
    inject.add_argument("--found", action="store_true", help="the card is back")
    inject.add_argument("--ecc-corrected", type=int, default=0, help="so many corrected memory errors")
    inject.add_argument("--ecc-uncorrected", type=int, default=0, help="so many uncorrected memory errors")

    command("reset", "Heal every card: lost ones are back, error counts are zero.")
    return top


def cuda_number(text: str | None) -> int:
    """`12.9` as the driver counts: 12090; 0 for None."""
    if text is None:
        return 0
    major, dot, minor = text.partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise machine.MachineError(f"--cuda-version {text}: write it as MAJOR.MINOR, such as 12.9")
    return 1000 * int(major) + 10 * int(minor)


def plan_of(arguments: argparse.Namespace) -> machine.Plan:
    """What `create` was asked for, or a MachineError that says what would do."""
    known = machine.profiles()
    if arguments.profile not in known:
        raise machine.MachineError(f"--profile {arguments.profile}: known cards are {', '.join(known)}")
    if not 1 <= arguments.gpus <= 16:
        raise machine.MachineError(f"--gpus {arguments.gpus}: a machine has 1 to 16")
    return machine.Plan(
        profile=arguments.profile,
        gpus=arguments.gpus,
        links=arguments.links,
        driver_version=arguments.driver_version,
        cuda_version=cuda_number(arguments.cuda_version),
        seed=arguments.seed,
        replace=arguments.force,
    )


def table(found: dict[str, Any]) -> str:
    """The machine for people: a line a card, indented lines for its processes."""
    lines = [f"driver {found['driver']}, CUDA {found['cuda'] // 1000}.{found['cuda'] % 1000 // 10}"]
    for gpu in found["gpus"]:
        used, total = gpu["used"] // MIB, (gpu["total"] - gpu["reserved"]) // MIB
        health = "LOST" if gpu["lost"] else f"ecc {gpu['ecc_corrected']}/{gpu['ecc_uncorrected']}"
        busy = f"{gpu['busy_ns'] / 1e9:.3f} s busy"
        lines.append(f"gpu{gpu['minor']}  {gpu['uuid']}  {gpu['name']}  {used} / {total} MiB  {busy}  {health}")
        for process in gpu["processes"]:
            pid = process["pid"] or "elsewhere"
            held, busy = (process["memory"] + process["contexts"]) // MIB, process["busy_ns"] / 1e9
            lines.append(f"      pid {pid}  {held} MiB  {busy:.3f} s busy")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> str:
    """Does what was asked and answers what to print."""
    folder: Path = arguments.dir
    if arguments.command == "create":
        machine.create(folder, plan_of(arguments))
        return table(machine.describe(folder))
    if arguments.command == "show":
        found = machine.describe(folder)
        return json.dumps(found, indent=2) if arguments.json else table(found)
    if arguments.command == "reset":
        machine.heal(folder)
        return table(machine.describe(folder))
    if arguments.lost or arguments.found:
        machine.lose(folder, arguments.gpu, lost=arguments.lost)
    if arguments.xid is not None:
        machine.report_xid(folder, arguments.gpu, arguments.xid)
    if arguments.ecc_corrected or arguments.ecc_uncorrected:
        machine.report_ecc(
            folder, arguments.gpu, corrected=arguments.ecc_corrected, uncorrected=arguments.ecc_uncorrected
        )
    return table(machine.describe(folder))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 1 with one sentence on stderr."""
    try:
        print(run(parser().parse_args(argv)))
    except machine.MachineError as error:
        print(f"unigpu-sim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
