"""`unigpu-sim`: create a machine of simulated GPUs, show it, inject faults into it, and heal it."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from simulator import machine

DEFAULT_FOLDER: Final = "/run/unigpu-sim"
MIB: Final = 1 << 20


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
    change.add_argument("--mig", choices=("on", "off"), help="MIG mode; no instances are simulated")
    change.add_argument(
        "--process-memory", choices=("shown", "hidden"), help="hidden: NVML lists processes without their memory"
    )
    change.add_argument("--process-list", choices=("once", "twice"), help="twice: NVML lists each process twice")

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
    execute.add_argument("program", nargs="+", metavar="PROGRAM", help="the program and its arguments, after --")

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
    """Return the machine that `create` asks for; raise MachineError with the accepted values otherwise."""
    known = machine.profiles()
    if arguments.profile not in known:
        raise machine.MachineError(f"--profile = {arguments.profile}: no such GPU model; accepted: {', '.join(known)}")
    if not 1 <= arguments.gpus <= 16:
        raise machine.MachineError(f"--gpus = {arguments.gpus}: a machine has at most 16; accepted: 1 to 16")
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
    )
    if wanted != machine.GpuSettings():
        every = [gpu["minor"] for gpu in machine.describe(folder)["gpus"]]
        for gpu in every if arguments.gpu is None else [arguments.gpu]:
            machine.set_gpu(folder, gpu, wanted)


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
        "MIG": gpu["mig"],
        "memory of processes hidden": gpu["memory_hidden"],
        "processes listed twice": gpu["listed_twice"],
    }
    return ", ".join(parts + [text for text, true in notes.items() if true])


def run(arguments: argparse.Namespace) -> str:
    """Run the command and return the text to print."""
    folder: Path = arguments.dir
    if arguments.command == "run":
        execute(folder, arguments.program)
    if arguments.command == "env":
        return shell_text(machine.environment(folder, os.environ.get("LD_LIBRARY_PATH")))
    if arguments.command == "create":
        machine.create(folder, plan_of(arguments))
        return table(machine.describe(folder))
    if arguments.command == "show":
        found = machine.describe(folder)
        return json.dumps(found, indent=2) if arguments.json else table(found)
    if arguments.command == "set":
        change(folder, arguments)
        return table(machine.describe(folder))
    if arguments.command == "reset":
        machine.heal(folder)
        return table(machine.describe(folder))
    if arguments.lost or arguments.found:
        machine.lose(folder, arguments.gpu, lost=arguments.lost)
    if arguments.hang or arguments.release:
        machine.hang(folder, arguments.gpu, hanging=arguments.hang)
    if arguments.xid is not None:
        machine.report_xid(folder, arguments.gpu, arguments.xid)
    if arguments.ecc_corrected or arguments.ecc_uncorrected:
        machine.report_ecc(
            folder, arguments.gpu, corrected=arguments.ecc_corrected, uncorrected=arguments.ecc_uncorrected
        )
    return table(machine.describe(folder))


def shell_text(variables: dict[str, str]) -> str:
    """Format environment variables as commands of a shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def execute(folder: Path, program: list[str]) -> NoReturn:
    """Become the program, on the machine in this folder; raise MachineError if it can't be started."""
    variables = machine.environment(folder, os.environ.get("LD_LIBRARY_PATH"))
    try:
        os.execvpe(program[0], program, os.environ | variables)
    except OSError as error:
        raise machine.MachineError(f"{program[0]}: {error.strerror}") from error


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
