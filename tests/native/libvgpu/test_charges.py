"""What kernels on several streams are charged while other containers have turns on the GPU: the time that the container
had of it, whichever kernels were interrupted."""

import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.native.libvgpu import turns
from tests.native.libvgpu.machine import ROOT
from tests.native.libvgpu.turns import WHOLE, Kernel

PARTS = ("samples_read", "sample_store", "reading", "estimate", "cost_cache", "streams", "ends")
SOURCES = [str(ROOT / f"libvgpu/compute/{name}.c") for name in PARTS]
US = 1000
MS = 1000 * US
EIGHTH = WHOLE // 8

LEARNT = 30
NAMED = 16
"""Lower numbers name the default streams."""


def told(kernel: Kernel, before: int, after: int, late: int = 0) -> str:
    """A line of the program: a kernel that the GPU has done, as the driver says `late` ns later."""
    return f"kernel {kernel.length // US % 4096} {kernel.stream + NAMED} {kernel.part} {before} {after} {after + late}"


def learnt(kernel: Kernel) -> list[str]:
    """Lines by which libvgpu learns what the kernel takes: on one stream, without others."""
    one, length = turns.Kernel(0, 0, kernel.length, kernel.part), kernel.length
    return [*(told(one, place * length, (place + 1) * length) for place in range(LEARNT)), f"read {LEARNT * length}"]


@pytest.fixture(scope="module")
def charge(compiled: Callable[..., Path]) -> Callable[..., int]:
    program = compiled("charges", *SOURCES)

    def charged(done: Sequence[turns.Run], *, every: int = MS, late: int = 0) -> int:
        """Return what is charged; libvgpu looks each `every` ns, and the driver is up to `late` ns late."""
        dice = random.Random(3)
        kinds = {run.kernel.length: run.kernel for run in done}
        words = [line for kernel in kinds.values() for line in learnt(kernel)]
        start = now = LEARNT * max(kinds) + MS
        waiting = sorted((run.before, place, run) for place, run in enumerate(done))
        while waiting or now <= start + late + max(run.after for run in done):
            now += every
            while waiting and start + waiting[0][0] <= now:
                run = waiting.pop(0)[2]
                words.append(told(run.kernel, start + run.before, start + run.after, dice.randint(0, late)))
            words.append(f"read {now}")
        said = subprocess.run([program], input="\n".join(words) + "\n", capture_output=True, text=True, check=True)
        answers = [int(word) for word in said.stdout.split()]
        return answers[-1] - answers[len(kinds) - 1]

    return charged


def paced(streams: int, count: int, length: int, part: int, gap: int = 0) -> list[Kernel]:
    """Launches that go round the streams, `gap` ns apart; 0: all at once."""
    return [Kernel(place % streams, place * gap, length, part) for place in range(count)]


SHORT = ([190 * US, 330 * US, 120 * US], [60 * US, 210 * US, 100 * US, 40 * US])
"""Turns little longer than a kernel of 100 µs, the container's own and the others'."""
LONG = ([1900 * US, 2100 * US], [2000 * US])
ALONE = ([60_000 * MS], [MS])
MIXED = ([40 * US, 730 * US, 250 * US], [2000 * US, 35 * US])


@pytest.mark.parametrize("lengths", [SHORT, LONG, MIXED], ids=["short turns", "long turns", "mixed turns"])
@pytest.mark.parametrize(
    "kernels",
    [
        pytest.param(paced(8, 4000, 100 * US, EIGHTH, gap=13 * US), id="side by side, one after another"),
        pytest.param(paced(8, 4000, 100 * US, EIGHTH), id="side by side, all at once"),
        pytest.param(paced(8, 2000, 100 * US, EIGHTH, gap=45 * US), id="now and then side by side"),
        pytest.param(paced(3, 2000, 100 * US, EIGHTH, gap=90 * US), id="three streams"),
        pytest.param(paced(8, 2000, 100 * US, WHOLE), id="queued"),
        pytest.param(paced(2, 1000, 100 * US, WHOLE, gap=150 * US), id="queued now and then"),
        pytest.param(paced(8, 3000, 100 * US, WHOLE // 4), id="four at a time of eight streams"),
        pytest.param(paced(8, 3000, 100 * US, WHOLE // 2 + 1), id="room for one, not for two"),
    ],
)
def test_an_interrupted_kernel_is_charged_once(
    charge: Callable[..., int], kernels: list[Kernel], lengths: tuple[list[int], list[int]]
) -> None:
    done, busy = turns.run(kernels, turns.alternate(*lengths))
    assert charge(done) == pytest.approx(busy, rel=0.01)


@pytest.mark.parametrize("lengths", [SHORT, LONG, MIXED], ids=["short turns", "long turns", "mixed turns"])
def test_the_order_in_which_ends_are_seen_does_not_matter(
    charge: Callable[..., int], lengths: tuple[list[int], list[int]]
) -> None:
    done, busy = turns.run(paced(8, 4000, 100 * US, EIGHTH, gap=13 * US), turns.alternate(*lengths))
    assert charge(done, every=200 * US, late=300 * US) == pytest.approx(busy, rel=0.015)


@pytest.mark.parametrize(
    "lengths", [ALONE, SHORT, LONG, MIXED], ids=["alone", "short turns", "long turns", "mixed turns"]
)
def test_a_long_kernel_beside_short_ones_is_charged_once(
    charge: Callable[..., int], lengths: tuple[list[int], list[int]]
) -> None:
    """A short one that begins and ends while the long one runs takes nothing from what that is charged."""
    long = [Kernel(0, place * 7 * MS, 1 * MS, EIGHTH) for place in range(200)]
    short = [Kernel(1 + place % 2, place * 1700 * US, 100 * US, EIGHTH) for place in range(800)]
    done, busy = turns.run([*long, *short], turns.alternate(*lengths))
    assert charge(done) == pytest.approx(busy, rel=0.02)
