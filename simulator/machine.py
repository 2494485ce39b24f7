"""Create, read and change a machine through libunigpu-sim.so, which `make simulator` builds."""

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LIBRARY_FOLDER: Final = "UNIGPU_SIM_LIBRARIES"
"""Environment variable: folder of the built libraries, if it is not `build/simulator` next to this package."""
LIBRARY: Final = "libunigpu-sim.so"

SINGLE_BIT_EVENT: Final = 0x1
DOUBLE_BIT_EVENT: Final = 0x2

_EXISTS: Final = 5
_REASONS: Final = {
    2: "the state file is damaged or belongs to another version; remove the folder, or use `create --force`",
    3: "the machine has no free process slot",
    6: "the description is too long",
}


class MachineError(Exception):
    """Raised when the machine can't be created, found or changed; the text says what to do."""


class NoMachineError(MachineError):
    """Raised when the folder holds no machine."""


class MachineExistsError(MachineError):
    """Raised when the folder holds a machine already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A machine to create."""

    profile: str
    """Key of a GPU model, see `profiles()`."""
    gpus: int
    """1 to 16."""
    links: str | None = None
    """`none`, `full` or `pairs`; None: as on boards with this GPU."""
    driver_version: str | None = None
    cuda_version: int = 0
    """1000 · major + 10 · minor; 0: the newest known."""
    seed: int = 0
    """Seed of the UUIDs; 0: random ones."""
    replace: bool = False
    """Replace an existing machine; programs that use the old one keep it to themselves."""
    latencies: bool = True
    """Launches, records and completions take the time that they take on a GPU."""


def library_path() -> Path:
    """Return the path of the built library; raise MachineError, with how to build it, if it is missing."""
    folder = os.environ.get(LIBRARY_FOLDER)
    path = Path(folder) if folder else Path(__file__).resolve().parent.parent / "build" / "simulator"
    if not (path / LIBRARY).exists():
        raise MachineError(
            f"{path / LIBRARY} is missing: run `make simulator`, or set {LIBRARY_FOLDER} to the folder that holds it"
        )
    return path / LIBRARY


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()), use_errno=True)
    text, number, long = ctypes.c_char_p, ctypes.c_uint, ctypes.c_ulonglong
    library.unigpu_sim_create.argtypes = [
        text,
        text,
        number,
        text,
        text,
        ctypes.c_int,
        long,
        ctypes.c_int,
        ctypes.c_int,
    ]
    library.unigpu_sim_set_latencies.argtypes = [text, ctypes.c_int]
    library.unigpu_sim_describe.argtypes = [text, text, ctypes.c_size_t]
    library.unigpu_sim_event.argtypes = [text, number, long, long]
    library.unigpu_sim_xid.argtypes = [text, number, number]
    library.unigpu_sim_hang.argtypes = [text, number, ctypes.c_int]
    library.unigpu_sim_set_gpu.argtypes = [text, number, *([ctypes.c_int] * 5)]
    library.unigpu_sim_set_instances.argtypes = [text, number, ctypes.POINTER(number), number]
    library.unigpu_sim_lose.argtypes = [text, number, ctypes.c_int]
    library.unigpu_sim_ecc.argtypes = [text, number, long, long]
    library.unigpu_sim_heal.argtypes = [text]
    library.unigpu_sim_profile_row.argtypes = [number, ctypes.c_int, text, ctypes.c_size_t]
    library.unigpu_sim_profile.argtypes = [number]
    library.unigpu_sim_profile.restype = text
    return library


def _check(status: int, folder: Path) -> None:
    if status == 0:
        return
    if status == _EXISTS:
        raise MachineExistsError(f"{folder} already holds a machine: use --force to replace it")
    if status not in _REASONS and ctypes.get_errno() == errno.ENOENT:
        raise NoMachineError(f"{folder} holds no machine: make one with `unigpu-sim create --dir {folder}`")
    reason = _REASONS.get(status) or os.strerror(ctypes.get_errno())
    raise MachineError(f"{folder}: {reason}")


def environment(folder: Path, library_folders: str | None) -> dict[str, str]:
    """Return the variables with which programs run on the machine in `folder`.

    `library_folders` is the LD_LIBRARY_PATH so far; the driver's folder goes in front of it.
    """
    drivers = str(library_path().parent)
    others = [each for each in (library_folders or "").split(":") if each and each != drivers]
    return {"UNIGPU_SIM_DIR": str(folder.absolute()), "LD_LIBRARY_PATH": ":".join([drivers, *others])}


def profiles() -> tuple[str, ...]:
    """Return the keys of the GPU models that can be simulated."""
    library = _library()
    keys: list[str] = []
    while (key := library.unigpu_sim_profile(len(keys))) is not None:
        keys.append(key.decode())
    return tuple(keys)


def create(folder: Path, plan: Plan) -> None:
    """Create a machine in `folder`, and the folder if it is missing."""

    def optional(value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    folder.parent.mkdir(parents=True, exist_ok=True)
    status = _library().unigpu_sim_create(
        os.fsencode(folder),
        plan.profile.encode(),
        plan.gpus,
        optional(plan.links),
        optional(plan.driver_version),
        plan.cuda_version,
        plan.seed,
        plan.replace,
        plan.latencies,
    )
    if status != 0 and status not in (_EXISTS, *_REASONS):
        raise MachineError(f"{folder} can't be made: {os.strerror(ctypes.get_errno())}")
    _check(status, folder)
    for node in folder.glob("gpu[0-9]*"):
        if int(node.name.removeprefix("gpu")) >= plan.gpus:
            node.unlink()


def profile_table(driver_version: str = "") -> list[dict[str, Any]]:
    """Return the rows of the table of GPU models, with the latencies under a driver of that version's branch."""
    library, text = _library(), ctypes.create_string_buffer(1 << 12)
    branch = driver_version.partition(".")[0]
    rows = []
    for index in range(len(profiles())):
        library.unigpu_sim_profile_row(index, int(branch) if branch.isdigit() else 0, text, len(text))
        rows.append(json.loads(text.value))
    return rows


def ensure(folder: Path) -> None:
    """Check the machine in the folder; create one with an A100, as the first program would, if there is none."""
    try:
        describe(folder)
    except NoMachineError:
        with contextlib.suppress(MachineExistsError):
            create(folder, Plan("a100-40", 1))


def describe(folder: Path) -> dict[str, Any]:
    """Return the machine as it is now: driver, GPUs, and the processes on each GPU by pid. Sizes are in bytes.

    `busy_ns` of a GPU is the time since its creation in which a kernel ran; `busy_ns` of a process on a GPU, the time
    in which one of its own kernels ran. A call takes well under a millisecond, so frequent polling is fine.
    """
    text = ctypes.create_string_buffer(1 << 22)
    _check(_library().unigpu_sim_describe(os.fsencode(folder), text, len(text)), folder)
    answer: dict[str, Any] = json.loads(text.value)
    return answer


def set_latencies(folder: Path, *, on: bool) -> None:
    """Let launches, records and completions take the time that they take on a GPU, or no time."""
    _check(_library().unigpu_sim_set_latencies(os.fsencode(folder), on), folder)


def report_xid(folder: Path, gpu: int, xid: int) -> None:
    """Report this XID of the GPU to readers of NVML events.

    A fatal one ends all contexts on the GPU and makes it unusable until a reset; 79 also takes it off the bus.
    """
    _check(_library().unigpu_sim_xid(os.fsencode(folder), gpu, xid), folder)


def hang(folder: Path, gpu: int, *, hanging: bool) -> None:
    """Let NVML's calls for the GPU wait until it is released, or release it."""
    _check(_library().unigpu_sim_hang(os.fsencode(folder), gpu, hanging), folder)


@dataclasses.dataclass(frozen=True, slots=True)
class GpuSettings:
    """How an administrator sets a GPU, and how its driver lists processes; None: as it is."""

    compute_mode: str | None = None
    """`default`, `prohibited` or `exclusive-process`."""
    mig: bool | None = None
    """MIG mode; off ends all instances."""
    memory_hidden: bool | None = None
    """Memory of processes is not available, as in guests of a hypervisor."""
    listed_twice: bool | None = None
    """Every process is listed twice."""
    mps: bool | None = None
    """Processes are clients of the multi-process service: in NVML's list for them, too."""


COMPUTE_MODES: Final = {"default": 0, "prohibited": 2, "exclusive-process": 3}


def set_gpu(folder: Path, gpu: int, wanted: GpuSettings) -> None:
    """Change settings of the GPU."""

    def number(value: bool | None) -> int:
        return -1 if value is None else int(value)

    mode = -1 if wanted.compute_mode is None else COMPUTE_MODES[wanted.compute_mode]
    flags = (wanted.mig, wanted.memory_hidden, wanted.listed_twice, wanted.mps)
    _check(_library().unigpu_sim_set_gpu(os.fsencode(folder), gpu, mode, *map(number, flags)), folder)


def set_instances(folder: Path, gpu: int, slices: Sequence[int]) -> None:
    """Make MIG instances of so many slices, in place of the GPU's others; raise MachineError if they don't fit."""
    sizes = (ctypes.c_uint * len(slices))(*slices)
    if _library().unigpu_sim_set_instances(os.fsencode(folder), gpu, sizes, len(slices)):
        wanted = ",".join(f"{each}g" for each in slices)
        raise MachineError(f"--mig-instances = {wanted}: GPU {gpu} isn't in MIG mode, or has no room for them")


def lose(folder: Path, gpu: int, *, lost: bool) -> None:
    """Take the GPU off the bus, or put it back."""
    _check(_library().unigpu_sim_lose(os.fsencode(folder), gpu, lost), folder)


def report_ecc(folder: Path, gpu: int, *, corrected: int, uncorrected: int) -> None:
    """Add memory errors to the GPU's counts, and report an event for each kind."""
    library, name = _library(), os.fsencode(folder)
    _check(library.unigpu_sim_ecc(name, gpu, corrected, uncorrected), folder)
    if corrected:
        _check(library.unigpu_sim_event(name, gpu, SINGLE_BIT_EVENT, 0), folder)
    if uncorrected:
        _check(library.unigpu_sim_event(name, gpu, DOUBLE_BIT_EVENT, 0), folder)


def heal(folder: Path) -> None:
    """Reset every GPU, put lost ones back and release hanging ones."""
    _check(_library().unigpu_sim_heal(os.fsencode(folder)), folder)
