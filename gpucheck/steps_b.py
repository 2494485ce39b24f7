"""Part B: GPU time, and kinds of memory that appear late. Known kernels by the GPU's own clock are the measure."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from gpucheck import processes
from gpucheck.driver import MIB
from gpucheck.outcome import Differs, Figures, Place, Skipped, Step
from gpucheck.processes import Container, answer, children, container, need, said, start
from unigpu.requests import ComputePolicy

Found = TypeVar("Found")
US: Final = 1000
MS: Final = 1000 * US
SLACK: Final = 64 * MIB


def settled(measure: Callable[[], Found], fits: Callable[[Found], str]) -> Found:
    """Measure up to three times until it fits: a host that is busy with other things spoils a measurement.

    `fits` says what doesn't, or nothing. Raises Differs with what it said last.
    """
    why = ""
    for _ in range(3):
        found = measure()
        why = fits(found)
        if not why:
            return found
    raise Differs(why)


def a_cost(ns: int, gap_us: int) -> Step:
    """Make the step that compares what libvgpu charges for kernels with what they took by the GPU's clock."""

    def ask(place: Place) -> Figures:
        count = max(20, min(2000, int(place.seconds * 0.2 * 1e9 / (ns + gap_us * US + 5 * US))))

        def measure() -> tuple[int, int]:
            with container(place) as mine:
                child = start(place, "kernels", str(ns), str(count), str(gap_us), extra=mine.environment())
                with children(child):
                    learnt, before = answer(child)["took"], mine.account().compute_ns
                    took = said(child, "go")["took"] - learnt
                return took // count, (mine.account().compute_ns - before) // count

        def fits(found: tuple[int, int]) -> str:
            took, charged = found
            close = 0.9 <= charged / took <= 1.1 or abs(charged - took) <= 4 * US
            return "" if close else f"{charged} ns charged for {took} ns"

        took, charged = settled(measure, fits)
        return {"kernels": count, "took_ns": took, "charged_ns": charged, "ratio": round(charged / took, 3)}

    return Step(f"cost of {ns / US:g} us every {gap_us} us", ask)


def pools(place: Place) -> Figures:
    """The account follows a pool: taken at once, kept by its threshold, given back by a trim; also CUDA 13's calls."""
    told = processes.once(place, "pools", extra=processes.limited(place))
    need(told["taken"]["account"] >= 256 * MIB, f"{told['taken']} after 256 MiB were taken")
    need(told["trimmed"]["account"] <= -256 * MIB, f"{told['trimmed']} after the trim")
    need(not any(told["newer"].values()), f"CUDA 13's calls: {told['newer']}")
    for name in ("taken", "freed", "trimmed"):
        follows(name, told[name])
    return {"kept_mib": (told["taken"]["account"] + told["freed"]["account"]) // MIB}


def follows(name: str, grown: dict[str, int]) -> None:
    """Raise Differs if NVML's figure grew by more than the account."""
    need(
        grown["account"] + SLACK >= grown["listed"],
        f"{name}: account {grown['account'] // MIB} MiB, NVML {grown['listed'] // MIB} MiB",
    )


def code(place: Place) -> Figures:
    """Memory of code is counted when it is taken: at the load, or at the first launch where loading is lazy."""
    figures: Figures = {}
    for mode in ("LAZY", "EAGER"):
        told = processes.once(place, "code", extra=processes.limited(place) | {"CUDA_MODULE_LOADING": mode})
        for name in ("loaded", "launched"):
            follows(f"{mode} {name}", told[name])
            figures[f"{mode.lower()}_{name}_kib"] = told[name]["listed"] // 1024
    return figures


def reserves(place: Place) -> Figures:
    """Memory for stacks, printf and the heap of kernels is counted."""
    told = processes.once(place, "reserves", extra=processes.limited(place))
    for name, grown in told.items():
        follows(name, grown)
    return {f"{name}_mib": grown["listed"] // MIB for name, grown in told.items()}


@contextlib.contextmanager
def loads(place: Place, *wanted: tuple[Container, int, int]) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start a load in each container: kernels of so many ns, in so many streams."""
    started = [start(place, "load", str(ns), str(streams), extra=each.environment()) for each, ns, streams in wanted]
    with children(*started):
        for child in started:
            answer(child)
        yield started


def shares(started: Sequence["subprocess.Popen[str]"], seconds: float, settle: float = 0.5) -> list[float]:
    """Return the part of the GPU's time that each child's kernels take, after it has settled."""
    time.sleep(settle)
    first = [said(child, "now") for child in started]
    time.sleep(seconds)
    second = [said(child, "now") for child in started]

    def part(before: dict[str, Any], after: dict[str, Any]) -> float:
        return float((after["took"] - before["took"]) / (after["clock"] - before["clock"]))

    return [part(before, after) for before, after in zip(first, second, strict=True)]


def a_share(percent: int, ns: int, streams: int) -> Step:
    """Make the step that holds a load to a share of the GPU's time.

    It is measured from the start, because what launches of unknown cost take too much is taken off afterwards.
    """

    def ask(place: Place) -> Figures:
        seconds = place.seconds if streams == 1 else max(place.seconds, 2.0)

        def measure() -> tuple[float, float]:
            with container(place) as free, loads(place, (free, ns, streams)) as started:
                (unlimited,) = shares(started, seconds, settle=0)
            with container(place, cores=percent) as mine, loads(place, (mine, ns, streams)) as started:
                (found,) = shares(started, seconds, settle=0)
            return found, unlimited

        def fits(both: tuple[float, float]) -> str:
            found, unlimited = both
            held = min(percent / 100, unlimited) * 0.7 - 0.02 <= found <= percent / 100 + 0.05
            text = f"{found:.1%} of the GPU's time under {percent} %, {unlimited:.1%} without a limit"
            return "" if held else text

        found, unlimited = settled(measure, fits)
        return {"share": round(found, 3), "unlimited": round(unlimited, 3)}

    return Step(f"{percent} % in {streams} streams of {ns / US:g} us", ask)


def two_shares(place: Place) -> Figures:
    """Two containers with 30 and 70 % get that."""

    def measure() -> list[float]:
        with (
            container(place, cores=30) as small,
            container(place, cores=70) as large,
            loads(place, (small, MS, 2), (large, MS, 2)) as started,
        ):
            return shares(started, place.seconds)

    def fits(found: list[float]) -> str:
        held = all(0.7 * due <= part <= due + 0.05 for part, due in zip(found, (0.3, 0.7), strict=True))
        return "" if held else f"{found[0]:.1%} under 30 %, {found[1]:.1%} under 70 %"

    small, large = settled(measure, fits)
    return {"small": round(small, 3), "large": round(large, 3)}


@contextlib.contextmanager
def lender(*between: Container) -> Iterator[None]:
    """Run the node agent's own lending over these containers."""
    try:
        from deviceplugin.lending.lending_loop import LendingRound
    except ImportError as error:
        raise Skipped(f"the node agent's lending can't be imported: {error}") from error
    rounds, stop = LendingRound(), threading.Event()

    def work() -> None:
        folders = frozenset(each.folder for each in between)
        while not stop.is_set():
            stop.wait(rounds.run(folders) or 0.01)
        rounds.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def lending(place: Place) -> Figures:
    """A soft container gets what another leaves idle, and gives it back when that one returns."""

    def measure() -> tuple[float, float, float]:
        with (
            container(place, cores=30, ceiling=100, compute=ComputePolicy.SOFT) as soft,
            container(place, cores=70) as owner,
            lender(soft, owner),
            loads(place, (soft, MS, 2)) as first,
        ):
            (alone,) = shares(first, place.seconds)
            with loads(place, (owner, MS, 2)) as second:
                beside, returned = shares([*first, *second], place.seconds, settle=1.0)
        return alone, beside, returned

    def fits(found: tuple[float, float, float]) -> str:
        alone, beside, returned = found
        held = alone >= 0.6 and returned >= 0.5 and beside <= 0.4
        return "" if held else f"{alone:.1%} alone; {beside:.1%} beside {returned:.1%} of the owner of 70 %"

    alone, beside, returned = settled(measure, fits)
    return {"lent": round(alone, 3), "beside": round(beside, 3), "returned": round(returned, 3)}


def priority(place: Place) -> Figures:
    """A container of low priority (1) yields to one of high priority (0)."""

    def measure() -> list[float]:
        soft = ComputePolicy.SOFT
        with (
            container(place, cores=50, ceiling=100, compute=soft, priority=1) as low,
            container(place, cores=50, ceiling=100, compute=soft, priority=0) as high,
            lender(low, high),
            loads(place, (low, MS, 2), (high, MS, 2)) as started,
        ):
            return shares(started, place.seconds, settle=1.0)

    def fits(found: list[float]) -> str:
        held = found[1] >= 0.6 and found[0] <= 0.35
        return "" if held else f"low priority gets {found[0]:.1%}, high {found[1]:.1%}"

    low, high = settled(measure, fits)
    return {"low": round(low, 3), "high": round(high, 3)}


def start_up(place: Place) -> Figures:
    """libvgpu delays the first launch of a process by less than half a second."""

    def measure() -> list[float]:
        return [processes.once(place, "first_launch", extra=each)["seconds"] for each in ({}, processes.limited(place))]

    def fits(found: list[float]) -> str:
        return "" if found[1] - found[0] < 0.5 else f"{found[0]} s without libvgpu, {found[1]} s under it"

    bare, under = settled(measure, fits)
    return {"bare_s": bare, "under_s": under}


TORCH: Final = {
    "import": "import torch; torch.zeros(1, device='cuda'); torch.cuda.synchronize()",
    "matmul": """import torch, time
a = torch.randn(4096, 4096, device='cuda', dtype=torch.float16)
def step(): torch.mm(a, a)
""",
    "training step": """import torch, time
m = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(8))).cuda()
o, x = torch.optim.AdamW(m.parameters()), torch.randn(256, 1024, device='cuda')
def step(): o.zero_grad(); m(x).square().mean().backward(); o.step()
""",
    "decoding": """import torch, time
w, x = [torch.randn(512, 512, device='cuda') for _ in range(24)], torch.randn(1, 512, device='cuda')
def step():
    y = x
    for each in w: y = torch.tanh(y @ each)
""",
}
LOOP: Final = """
for _ in range(20): step()
torch.cuda.synchronize(); begun = time.time(); count = 0
while time.time() - begun < %f:
    step(); torch.cuda.synchronize(); count += 1
print(count / (time.time() - begun))
"""


def torch_start(place: Place) -> Figures:
    """PyTorch's first use of the GPU is delayed by less than a second."""
    times = []
    for extra in ({}, processes.limited(place)):
        begun = time.monotonic()
        run_torch("import", "", extra)
        times.append(time.monotonic() - begun)
    need(times[1] - times[0] < 1, f"{times[0]:.2f} s without libvgpu, {times[1]:.2f} s under it")
    return {"bare_s": round(times[0], 2), "under_s": round(times[1], 2)}


def run_torch(name: str, loop: str, extra: dict[str, str]) -> str:
    """Run a program of PyTorch; return what it prints. Raises Skipped without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        raise Skipped("PyTorch isn't installed")
    done = subprocess.run(
        [sys.executable, "-c", TORCH[name] + loop], env=os.environ | extra, capture_output=True, text=True, timeout=120
    )
    need(done.returncode == 0, (done.stderr.strip().splitlines() or ["it failed"])[-1])
    return done.stdout.strip()


def a_torch_share(name: str) -> Step:
    """Make the step that holds a loop of PyTorch to 50 %: half as many turns as without a limit."""

    def ask(place: Place) -> Figures:
        with container(place, cores=50) as mine:
            bare = float(run_torch(name, LOOP % place.seconds, {}))
            half = float(run_torch(name, LOOP % place.seconds, mine.environment()))
        need(0.35 <= half / bare <= 0.6, f"{half:.0f} turns/s under 50 %, {bare:.0f} without a limit")
        return {"bare_per_s": round(bare, 1), "ratio": round(half / bare, 3)}

    return Step(f"torch {name} under 50 %", ask)


STEPS: Final = (
    *(a_cost(ns, gap) for ns, gap in ((2 * US, 0), (2 * US, 100), (50 * US, 0), (50 * US, 20), (MS, 10), (50 * MS, 0))),
    *(a_share(percent, 500 * US, 1) for percent in (10, 25, 50, 90)),
    a_share(50, 500 * US, 2),
    a_share(50, 100 * US, 8),
    a_share(50, 10 * US, 1),
    Step("two shares", two_shares),
    Step("pools", pools),
    Step("code", code),
    Step("stacks, printf, heap", reserves),
    Step("start-up", start_up),
    Step("torch start-up", torch_start),
    *(a_torch_share(name) for name in ("matmul", "training step", "decoding")),
    Step("lending", lending),
    Step("priority", priority),
)
