"""Draw parts of a whole over a count of events, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 760
HEIGHT: Final = 230
LEFT: Final = 52
RIGHT: Final = 130
TOP: Final = 34
BOTTOM: Final = 34
COLOURS: Final = ("#6b7280", "#d97706", "#dc2626", "#7c3aed", "#2563eb", "#059669")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    name: str
    values: Sequence[float]
    """0 to 1, at equal distances."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves with the same axes."""

    title: str
    lines: Sequence[Line]
    events: int
    """Length of the horizontal axis."""


def draw(panels: Sequence[Panel]) -> str:
    """Draw the panels below each other, each with a vertical axis that ends just above its highest value."""
    height = HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {place * HEIGHT})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    highest = max(max(line.values) for line in panel.lines)
    top = min(next(level for level in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if level >= highest), 1.0)

    def x(event: float) -> float:
        return LEFT + event / panel.events * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(panel.title)}</text>']
    for quarter in range(5):
        level = top * quarter / 4
        parts.append(f'<path d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end" fill="#6b7280">{level:.3g}</text>')
        event = panel.events * quarter // 4
        parts.append(
            f'<text x="{x(event):.1f}" y="{HEIGHT - 14}" text-anchor="middle" fill="#6b7280">{event:,} pods</text>'
        )
    for place, line in enumerate(panel.lines):
        colour = COLOURS[place % len(COLOURS)]
        step = panel.events / len(line.values)
        points = " ".join(f"{x((at + 0.5) * step):.1f},{y(value):.1f}" for at, value in enumerate(line.values))
        width = 2.5 if place == len(panel.lines) - 1 else 1.2
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 12 + 18 * place}" fill="{colour}">{escape(line.name)}</text>'
        )
    return parts
