"""`kubectl unigpu run`: a program under libvgpu with limits, on this machine, without a cluster."""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unigpu import errors, names, quantities, usage
from unigpu.units import BYTES_PER_MIB, FULL, MiB

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses with which shells say so."""
_SIGNALLED = 128
ABOUT = (
    "Runs a program on this machine under libvgpu, held to a part of the GPU's memory and compute time, without a "
    "cluster. The program and all that it starts share the limits. Programs that are linked statically aren't held. "
    "Exit status: the program's; 127 there is no such program, 1 libvgpu isn't there, 2 the arguments are wrong."
)
LIBRARIES = (
    Path(__file__).parents[1] / "build/lib/libvgpu.so",
    Path(names.CONTAINER_LIBRARY),
    Path(names.IMAGE_LIBRARY),
)
"""Where libvgpu is looked for, in this order."""
_GPUS = re.compile(r"[\w-]+(,[\w-]+)*")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "kubectl unigpu run [--memory AMOUNT] [--cores PERCENT] [--gpus LIST]\n"
        "                          [--library PATH] [--summary] -- PROGRAM [ARGUMENT ...]"
    )
    parser.add_argument(
        "--memory",
        type=_memory,
        default=None,
        metavar="AMOUNT",
        help="memory on each GPU: MiB, or a quantity such as 4Gi",
    )
    parser.add_argument(
        "--cores", type=_cores, default=None, metavar="PERCENT", help="part of each GPU's compute time: 1 to 100"
    )
    parser.add_argument(
        "--gpus",
        type=_gpus,
        default=None,
        metavar="LIST",
        help="indexes or UUIDs of the GPUs that the program sees, as in CUDA_VISIBLE_DEVICES (default: all)",
    )
    parser.add_argument(
        "--library",
        type=Path,
        default=None,
        metavar="PATH",
        help="libvgpu.so (default: where unigpu installs or builds it)",
    )
    parser.add_argument(
        "--summary", action="store_true", help="say on standard error at the end what the program used and was refused"
    )
    parser.add_argument("program", nargs="+", metavar="PROGRAM", help="program and its arguments, after --")


def _memory(text: str) -> MiB:
    try:
        found = quantities.amount(text, MiB(1))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}; accepted: 4096, 4Gi") from error
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no memory; accepted: 4096, 4Gi")
    return MiB(found)


def _cores(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= FULL:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of a GPU; accepted: 1 to {FULL}")
    return int(text)


def _gpus(text: str) -> str:
    if not _GPUS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of GPUs; accepted: 0 or 0,2 or UUIDs")
    return text


def run(given: argparse.Namespace) -> int:
    """Run the program; return the exit status."""
    library = find_library(given.library)
    if given.memory is None and given.cores is None:
        raise errors.Denied("nothing limits the program; accepted: --memory, --cores or both")
    program = shutil.which(given.program[0])
    if program is None:
        print(f"error: {given.program[0]}: there is no such program", file=sys.stderr)
        return NOT_FOUND
    with tempfile.TemporaryDirectory(prefix="unigpu-run-") as folder:
        account = Path(folder) / "usage"
        more = environment(os.environ, library, account, given.memory, given.cores, given.gpus)
        status = _wait([program, *given.program[1:]], given.program[0], more)
        if given.summary:
            for line in summary(account, given.memory):
                print(line, file=sys.stderr)
    return status


def find_library(given: Path | None) -> Path:
    """Return libvgpu's path. Raises Denied where it isn't there."""
    if given is not None:
        if not given.is_file():
            raise errors.Denied(f"--library = {given}: no such file; accepted: the path of libvgpu.so")
        return given.absolute()
    found = next((path for path in LIBRARIES if path.is_file()), None)
    if found is None:
        places = ", ".join(map(str, LIBRARIES))
        raise errors.Denied(f"libvgpu.so isn't there: not at {places}; accepted: another path with --library")
    return found


def environment(
    inherited: Mapping[str, str], library: Path, account: Path, memory: MiB | None, cores: int | None, gpus: str | None
) -> dict[str, str]:
    """Return the program's environment. Limits that it already has from an outer one are replaced."""
    mine = {
        name: value
        for name, value in inherited.items()
        if not name.startswith((names.ENV_MEMORY_LIMIT, names.ENV_CORE_LIMIT))
    }
    preload = inherited.get("LD_PRELOAD", "")
    mine["LD_PRELOAD"] = f"{library}:{preload}" if preload else str(library)
    mine[names.ENV_SHARED_CACHE] = str(account)
    if memory is not None:
        mine[names.ENV_MEMORY_LIMIT] = f"{memory}m"
    if cores is not None:
        mine[names.ENV_CORE_LIMIT] = str(cores)
    if gpus:
        mine["CUDA_VISIBLE_DEVICES"] = gpus
    return mine


def _wait(command: Sequence[str], name: str, more: Mapping[str, str]) -> int:
    """Run it to its end; its exit status, as a shell would have it."""
    try:
        process = subprocess.Popen([name, *command[1:]], executable=command[0], env=more)
    except OSError as error:
        print(f"error: {command[0]}: it can't be started: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE
    with _passing_signals(process):
        code = process.wait()
    return code if code >= 0 else _SIGNALLED - code


@contextlib.contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass on what asks to end, and leave what a terminal sends to the program, which gets it too."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, lambda which, _: process.send_signal(which))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summary(account: Path, limit: MiB | None) -> Iterator[str]:
    """Yield a line for each GPU that the program used."""
    try:
        found = usage.unpack(account.read_bytes(), usage.MAX_GPUS, lambda slot: False)
    except FileNotFoundError:
        found = usage.unpack(b"", usage.MAX_GPUS, lambda slot: False)
    except errors.Malformed as error:
        yield f"unigpu: what the program used isn't known: {error}"
        return
    used = [(index, gpu) for index, gpu in enumerate(found.gpus) if gpu.peak or gpu.compute_ns or gpu.refused]
    if not used:
        yield "unigpu: the program used no GPU, or isn't held: is it linked statically, or for musl?"
    for index, gpu in used:
        most = f"{gpu.peak // BYTES_PER_MIB}{f' of {limit}' if limit is not None else ''} MiB at most"
        waited = f", {gpu.waited_ns / 1e9:.1f} s waited in {gpu.waits} launches" if gpu.waits else ""
        refused = f", {gpu.refused} allocations refused" if gpu.refused else ""
        yield f"unigpu: GPU {index}: {most}{refused}, {gpu.compute_ns / 1e9:.2f} s of GPU time{waited}"
