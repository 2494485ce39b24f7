"""`unigpu-sim`: create a machine of simulated GPUs, show it, inject faults into it, and heal it."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from simulator import install, machine

DEFAULT_FOLDER: Final = "/run/unigpu-sim"
MIB: Final = 1 << 20
DRIVER_VERSION: Final = re.compile(r"\d{3}(\.\d{1,3}){1,2}")
MOST_XID: Final = 999
"""Known ones have three digits at most."""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="unigpu-sim",
        description="Create and control simulated NVIDIA GPUs. Programs load their driver from build/simulator.",
        epilog="Run a program on the machine with `unigpu-sim run -- PROGRAM`.",
    )
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

    create = command("create", "Create a machine.")
    create.add_argument(
        "--profile",
        default="a100-40",
        help="GPU model: t4, p40, v100, a10, a40, a100-40, a100-80, h100, l40s, rtx4090, rtxpro6000 (default: a100-40)",
    )
    create.add_argument("--gpus", type=int, default=1, help="number of GPUs, 1 to 16 (default: 1)")
    create.add_argument(
        "--links", choices=("none", "pairs", "full"), help="NVLinks between GPUs (default: as on boards with this GPU)"
    )
    create.add_argument("--driver-version", help="driver version, as nvidia-smi prints it: 575.57.08")
    create.add_argument("--cuda-version", help="highest CUDA version that the driver supports: 12.9")
    create.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the UUIDs: the same seed gives the same UUIDs; 0, the default, gives random ones",
    )
    create.add_argument("--force", action="store_true", help="replace an existing machine")

    create.add_argument("--latencies", choices=("on", "off"), default="on", help="as of `set` (default: on)")

    change = command("set", "Change how the machine behaves; running programs follow at once.")
    change.add_argument(
        "--latencies",
        choices=("on", "off"),
        help="on: launches, recorded events and completions take the microseconds that they take on a GPU; off: none",
    )

    change.add_argument("--gpu", type=int, help="number of the GPU that the following set (default: every GPU)")
    change.add_argument("--compute-mode", choices=tuple(machine.COMPUTE_MODES), help="who may have contexts on it")
    change.add_argument("--mig", choices=("on", "off"), help="MIG mode; off ends all instances")
    change.add_argument(
        "--mig-instances",
        type=instances,
        metavar="LIST",
        help="MIG instances by their slices, such as 3g,2g,1g, in place of those that there are; none: no instance",
    )
    change.add_argument(
        "--process-memory", choices=("shown", "hidden"), help="hidden: NVML lists processes without their memory"
    )
    change.add_argument("--process-list", choices=("once", "twice"), help="twice: NVML lists each process twice")
    change.add_argument("--mps", choices=("on", "off"), help="on: NVML lists processes as clients of MPS")

    node = command("install", "Make a node a machine of simulated GPUs; a machine that is there stays as it is.")
    node.add_argument("--libraries", type=Path, required=True, help="folder to copy the driver's libraries into")
    node.add_argument("--profile", default="a100-40", help="GPU model, as of `create` (default: a100-40)")
    node.add_argument("--gpus", type=int, default=1, help="number of GPUs, 1 to 16 (default: 1)")
    listed = commands.add_parser("profiles", help="List the GPU models.", description="List the GPU models.")
    listed.add_argument("--json", action="store_true", help="print every figure, as `gpucheck --json` reports them")

    show = command("show", "Show the GPUs and the processes that use them.")
    show.add_argument("--json", action="store_true", help="print every field as JSON")

    inject = command("inject", "Inject faults into a GPU.")
    inject.add_argument("--gpu", type=int, required=True, help="number of the GPU: N of its device node gpuN")
    inject.add_argument("--xid", type=int, help="report this XID to readers of NVML events")
    inject.add_argument("--hang", action="store_true", help="let NVML's calls for the GPU wait")
    inject.add_argument("--release", action="store_true", help="end the hang")
    inject.add_argument("--lost", action="store_true", help="take the GPU off the bus")
    inject.add_argument("--found", action="store_true", help="put a lost GPU back")
    inject.add_argument("--ecc-corrected", type=int, default=0, help="number of corrected memory errors to add")
    inject.add_argument("--ecc-uncorrected", type=int, default=0, help="number of uncorrected memory errors to add")

    execute = command("run", "Run a program on the machine. Without a machine in the folder, one A100 is created.")
    execute.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the program and its arguments, after --"
    )

    command("env", 'Print what a shell needs to run programs on the machine: eval "$(unigpu-sim env)".')

    command("reset", "Heal every GPU: reset it, release a hanging one, put a lost one back.")
    return top


def cuda_number(text: str | None) -> int:
    """Convert a version to the driver's number: `12.9` to 12090, None to 0."""
    if text is None:
        return 0
    major, dot, minor = text.partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise machine.MachineError(f"--cuda-version = {text}: no CUDA version; accepted: MAJOR.MINOR, such as 12.9")
    return 1000 * int(major) + 10 * int(minor)


def plan_of(arguments: argparse.Namespace) -> machine.Plan:
    """Return the machine that `create` or `install` asks for; raise MachineError with the accepted values otherwise."""
    known = machine.profiles()
    if arguments.profile not in known:
        raise machine.MachineError(f"--profile = {arguments.profile}: no such GPU model; accepted: {', '.join(known)}")
    if not 1 <= arguments.gpus <= 16:
        raise machine.MachineError(f"--gpus = {arguments.gpus}: a machine has at most 16; accepted: 1 to 16")
    if arguments.command == "install":
        return machine.Plan(profile=arguments.profile, gpus=arguments.gpus)
    if arguments.driver_version is not None and not DRIVER_VERSION.fullmatch(arguments.driver_version):
        raise machine.MachineError(
            f"--driver-version = {arguments.driver_version}: no version of a driver; accepted: BRANCH.MINOR, with a"
            " patch number or without, such as 575.57.08"
        )
    return machine.Plan(
        profile=arguments.profile,
        gpus=arguments.gpus,
        links=arguments.links,
        driver_version=arguments.driver_version,
        cuda_version=cuda_number(arguments.cuda_version),
        seed=arguments.seed,
        replace=arguments.force,
        latencies=arguments.latencies == "on",
    )


def table(found: dict[str, Any]) -> str:
    """Format the machine for people: a line for each GPU, and an indented line for each of its processes."""
    lines = [f"driver {found['driver']}, CUDA {found['cuda'] // 1000}.{found['cuda'] % 1000 // 10}"]
    for gpu in found["gpus"]:
        used, total = gpu["used"] // MIB, (gpu["total"] - gpu["reserved"]) // MIB
        busy = f"{gpu['busy_ns'] / 1e9:.3f} s busy"
        lines.append(f"gpu{gpu['minor']}  {gpu['uuid']}  {gpu['name']}  {used} / {total} MiB  {busy}  {health(gpu)}")
        for process in gpu["processes"]:
            pid = process["pid"] or "elsewhere"
            held, busy = (process["memory"] + process["contexts"]) // MIB, process["busy_ns"] / 1e9
            lines.append(f"      pid {pid}  {held} MiB  {busy:.3f} s busy")
    return "\n".join(lines)


def change(folder: Path, arguments: argparse.Namespace) -> None:
    """Change how the machine behaves, as `set` says."""

    def flag(value: str | None, true: str) -> bool | None:
        return None if value is None else value == true

    if arguments.latencies is not None:
        machine.set_latencies(folder, on=arguments.latencies == "on")
    wanted = machine.GpuSettings(
        compute_mode=arguments.compute_mode,
        mig=flag(arguments.mig, "on"),
        memory_hidden=flag(arguments.process_memory, "hidden"),
        listed_twice=flag(arguments.process_list, "twice"),
        mps=flag(arguments.mps, "on"),
    )
    if wanted == machine.GpuSettings() and arguments.mig_instances is None:
        if arguments.latencies is None:
            raise machine.MachineError("set: nothing to change; name a setting, such as --compute-mode default")
        return
    gpus = machine.describe(folder)["gpus"] if arguments.gpu is None else [one_gpu(folder, arguments.gpu)]
    if unable := {gpu["name"] for gpu in gpus if wanted.mig and not gpu["mig_capable"]}:
        raise machine.MachineError(f"--mig = on: {', '.join(unable)} can't be partitioned; accepted: off")
    for gpu in gpus:
        machine.set_gpu(folder, gpu["minor"], wanted)
        if arguments.mig_instances is not None:
            machine.set_instances(folder, gpu["minor"], arguments.mig_instances)


def instances(text: str) -> list[int]:
    """Read `3g,2g,1g`, or `none`, as numbers of slices; raise ArgumentTypeError if it is neither."""
    sizes = [] if text == "none" else text.split(",")
    if unknown := [size for size in sizes if not re.fullmatch(r"[1-7]g", size)]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: no size of an instance; accepted: 1g to 7g, or none")
    return [int(size[0]) for size in sizes]


def one_gpu(folder: Path, number: int) -> dict[str, Any]:
    """Return what is known of the machine's GPU with this number; raise MachineError if there is none."""
    gpus: list[dict[str, Any]] = machine.describe(folder)["gpus"]
    if not 0 <= number < len(gpus):
        raise machine.MachineError(f"--gpu = {number}: no such GPU; accepted: 0 to {len(gpus) - 1}")
    return gpus[number]


def inject(folder: Path, arguments: argparse.Namespace) -> None:
    """Inject the faults into the GPU; raise MachineError, before anything is changed, if they make no sense."""
    counts = {"--ecc-corrected": arguments.ecc_corrected, "--ecc-uncorrected": arguments.ecc_uncorrected}
    if arguments.lost and arguments.found:
        raise machine.MachineError("--lost and --found exclude each other: name one")
    if arguments.hang and arguments.release:
        raise machine.MachineError("--hang and --release exclude each other: name one")
    if arguments.xid is not None and not 1 <= arguments.xid <= MOST_XID:
        raise machine.MachineError(f"--xid = {arguments.xid}: no XID; accepted: 1 to {MOST_XID}")
    for name, count in counts.items():
        if count < 0:
            raise machine.MachineError(f"{name} = {count}: errors can only be added; accepted: 0 and more")
    flags = (arguments.lost, arguments.found, arguments.hang, arguments.release)
    if arguments.xid is None and not any((*flags, *counts.values())):
        raise machine.MachineError("inject: no fault named; name one, such as --xid 79, --hang or --lost")
    one_gpu(folder, arguments.gpu)
    if arguments.lost or arguments.found:
        machine.lose(folder, arguments.gpu, lost=arguments.lost)
    if arguments.hang or arguments.release:
        machine.hang(folder, arguments.gpu, hanging=arguments.hang)
    if arguments.xid is not None:
        machine.report_xid(folder, arguments.gpu, arguments.xid)
    if any(counts.values()):
        machine.report_ecc(
            folder, arguments.gpu, corrected=arguments.ecc_corrected, uncorrected=arguments.ecc_uncorrected
        )


def health(gpu: dict[str, Any]) -> str:
    """Format what is wrong with the GPU, and settings that aren't the usual ones."""
    parts = ["LOST" if gpu["lost"] else f"ecc {gpu['ecc_corrected']}/{gpu['ecc_uncorrected']}"]
    if gpu["fatal_xid"]:
        parts.append(f"XID {gpu['fatal_xid']} until reset")
    elif gpu["xid"]:
        parts.append(f"XID {gpu['xid']}")
    modes = {number: name for name, number in machine.COMPUTE_MODES.items()}
    notes = {
        "hanging": gpu["hanging"],
        "rows to remap": gpu["rows_pending"],
        f"compute mode {modes.get(gpu['compute_mode'])}": gpu["compute_mode"],
        " ".join(["MIG", *gpu["instances"]]): gpu["mig"],
        "memory of processes hidden": gpu["memory_hidden"],
        "processes listed twice": gpu["listed_twice"],
        "MPS": gpu["mps"],
    }
    return ", ".join(parts + [text for text, true in notes.items() if true])


def run(arguments: argparse.Namespace) -> str:
    """Run the command and return the text to print."""
    if arguments.command == "profiles":
        rows = machine.profile_table()
        return json.dumps(rows, indent=2) if arguments.json else "\n".join(map(profile_line, rows))
    folder: Path = arguments.dir
    if arguments.command == "run":
        execute(folder, arguments.program)
    if arguments.command == "env":
        return shell_text(machine.environment(folder, os.environ.get("LD_LIBRARY_PATH")))
    if arguments.command == "create":
        machine.create(folder, plan_of(arguments))
        return table(machine.describe(folder))
    if arguments.command == "install":
        new = install.install(arguments.libraries, folder, plan_of(arguments))
        return f"{'Created' if new else 'Kept'} the machine in {folder}.\n{table(machine.describe(folder))}"
    if arguments.command == "show":
        found = machine.describe(folder)
        return json.dumps(found, indent=2) if arguments.json else table(found)
    if arguments.command == "set":
        change(folder, arguments)
        return table(machine.describe(folder))
    if arguments.command == "reset":
        machine.heal(folder)
        return table(machine.describe(folder))
    inject(folder, arguments)
    return table(machine.describe(folder))


def profile_line(row: dict[str, Any]) -> str:
    """Format a row of the table of GPU models for people."""
    memory = f"{row['memory_mib']} MiB, {row['reserved_mib']} of them the driver's"
    return f"{row['key']:11} {row['name']:45} {memory:40} {row['multiprocessors']} multiprocessors"


def shell_text(variables: dict[str, str]) -> str:
    """Format environment variables as commands of a shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def execute(folder: Path, program: list[str]) -> NoReturn:
    """Become the program, on the machine in this folder; raise MachineError if it can't be started."""
    command = program[1:] if program[:1] == ["--"] else program
    if not command:
        raise machine.MachineError("run: no program named; accepted: unigpu-sim run -- PROGRAM ARGUMENTS")
    machine.ensure(folder)
    variables = machine.environment(folder, os.environ.get("LD_LIBRARY_PATH"))
    try:
        os.execvpe(command[0], command, os.environ | variables)
    except OSError as error:
        raise machine.MachineError(f"{command[0]}: {error.strerror}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing a sentence to stderr."""
    try:
        print(run(parser().parse_args(argv)))
    except machine.MachineError as error:
        print(f"unigpu-sim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
