"""Draw the figures of a fleet against its nodes, as SVG: a panel below the other for each kind of figure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.chart import BOTTOM, COLOURS, HEIGHT, LEFT, TOP, WIDTH
from bench.fleet.report import Run, Size

PARTS: Final = ("kube-apiserver", "kube-scheduler", "webhook", "extender", "etcd", "kwok")
TICKS: Final = 4
RIGHT: Final = 160


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: a value for each size; None where there is none."""

    name: str
    values: Sequence[float | None]
    dashed: bool = False


def draw(sizes: Sequence[Size]) -> str:
    """Draw pods a second, CPU for a pod, times of the extender, and memory, each against nodes."""
    panels = [
        ("Pods bound a second", [_line("unigpu", sizes, lambda one: one.unigpu.bound), _stock(sizes)]),
        ("CPU for a pod, ms", [*_cpu(sizes, "unigpu"), *_cpu(sizes, "stock")]),
        (
            "Filter, median, ms",
            [
                _line("kube-scheduler's", sizes, lambda one: one.extender.verbs["filter"][0]),
                _line("of all nodes, HTTP", sizes, lambda one: one.extender.rest[0]),
                _line("of a new shape, HTTP", sizes, lambda one: one.extender.new[0]),
            ],
        ),
        ("Memory with unigpu, MiB", _memory(sizes)),
    ]
    nodes = [size.nodes for size in sizes]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT * len(panels)}" fill="white"/>',
    ]
    for place, (title, lines) in enumerate(panels):
        parts += [f'<g transform="translate(0 {place * HEIGHT})">', *_panel(title, lines, nodes), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _line(name: str, sizes: Sequence[Size], of: Callable[[Size], float | None], *, dashed: bool = False) -> Line:
    return Line(name, [of(size) for size in sizes], dashed)


def _stock(sizes: Sequence[Size]) -> Line:
    return _line("stock scheduler", sizes, lambda one: one.stock.bound, dashed=True)


def _run(size: Size, side: str) -> Run:
    return size.unigpu if side == "unigpu" else size.stock


def _cpu(sizes: Sequence[Size], side: str) -> list[Line]:
    """All parts together, and of unigpu its own two."""
    dashed = side != "unigpu"
    found = [_line(f"all, {side}", sizes, lambda one: _run(one, side).cpu_ms, dashed=dashed)]
    for name in () if dashed else ("webhook", "extender"):

        def of(one: Size, name: str = name) -> float:
            return one.unigpu.costs[name].cpu / one.unigpu.pods * 1000

        found.append(_line(name, sizes, of))
    return found


def _memory(sizes: Sequence[Size]) -> list[Line]:
    found = []
    for name in PARTS:

        def of(one: Size, name: str = name) -> float | None:
            cost = one.unigpu.costs.get(name)
            return None if cost is None else cost.memory / 2**20

        line = _line(name, sizes, of)
        found += [line] if any(value is not None for value in line.values) else []
    return found


def _panel(title: str, lines: Sequence[Line], nodes: Sequence[int]) -> list[str]:
    """Nodes are on a logarithmic axis; values begin at 0."""
    top = _round_up(max(value for line in lines for value in line.values if value is not None))
    first, last = math.log(nodes[0]), math.log(nodes[-1])

    def x(count: int) -> float:
        part = (math.log(count) - first) / (last - first) if last > first else 0.5
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for tick in range(TICKS + 1):
        level = top * tick / TICKS
        parts.append(f'<path d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end" fill="#6b7280">{level:g}</text>')
    for count in nodes:
        parts.append(
            f'<text x="{x(count):.1f}" y="{HEIGHT - 14}" text-anchor="middle" fill="#6b7280">{count:,} nodes</text>'
        )
    for place, line in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        points = [(x(count), y(value)) for count, value in zip(nodes, line.values, strict=True) if value is not None]
        joined = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for across, down in points]
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 12 + 18 * place}" fill="{colour}">{escape(line.name)}</text>'
        )
    return parts


def _round_up(value: float) -> float:
    """Return the next 1, 2, 4 or 8 of a power of ten that isn't below the value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
