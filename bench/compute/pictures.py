"""Measure what docs/pictures/share-over-time.svg shows."""

from pathlib import Path
from typing import Final

from bench.compute import alone, criteria, lending, picture, scenarios, testbed
from bench.compute.cells import MS

STEP: Final = 100 * MS
"""Step of a curve, ns."""


async def measure(folder: Path) -> str:
    """Draw a container at 30 %, two at 30 % and 70 %, and a soft one whose neighbour stops and returns, as SVG."""
    seconds = criteria.WINDOW / 1e9
    single = await alone.measure(folder / "alone", scenarios.PROFILE, testbed.Limit(30), {"kernel": 1 * MS})
    pair = await scenarios.together(folder / "pair", (30, 70), {"kernel": 1 * MS})
    swings = await lending.swing(folder / "soft", 1)
    (_, stop), (_, back) = swings.moments
    end = back + int((lending.PAUSE - 0.3) * criteria.SECOND)
    panels = [
        picture.Panel(
            "One container at 30 %, alone on the GPU, kernels of 1 ms",
            STEP / 1e9,
            [
                picture.Curve(
                    "30 %",
                    single.series.shares(single.group, single.first, single.first + criteria.WINDOW, STEP),
                    [(0, seconds, 30)],
                )
            ],
        ),
        picture.Panel(
            "Two containers at 30 % and 70 %, kernels of 1 ms",
            STEP / 1e9,
            [
                picture.Curve(
                    f"{limit} %",
                    pair.series.shares(group, pair.first, pair.first + criteria.WINDOW, STEP),
                    [(0, seconds, limit)],
                )
                for limit, group in zip((30, 70), pair.groups, strict=True)
            ],
        ),
        picture.Panel(
            "A soft container of 30 % lends what its neighbour of 70 % leaves idle",
            STEP / 1e9,
            [
                picture.Curve("30 %, soft", swings.series.shares(swings.borrower, swings.first, end, STEP)),
                picture.Curve("70 %", swings.series.shares(swings.neighbour, swings.first, end, STEP)),
            ],
            [((stop - swings.first) / 1e9, "stops"), ((back - swings.first) / 1e9, "returns")],
        ),
    ]
    return picture.draw(panels)
