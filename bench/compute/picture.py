"""Draw shares over time as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
HEIGHT: Final = 190
LEFT: Final = 48
RIGHT: Final = 120
TOP: Final = 34
BOTTOM: Final = 30
COLOURS: Final = ("#2563eb", "#d97706", "#059669")


@dataclass(frozen=True, slots=True)
class Curve:
    """A container's share over time."""

    name: str
    shares: Sequence[float]
    """Percent, one for each step."""
    due: Sequence[tuple[float, float, float]] = ()
    """Expected shares: from and until in seconds, and percent."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One measurement."""

    title: str
    step: float
    """Seconds."""
    curves: Sequence[Curve]
    marks: Sequence[tuple[float, str]] = ()
    """Times in seconds, each with its label."""


def draw(panels: Sequence[Panel]) -> str:
    """Draw the panels below each other."""
    height = HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, panel in enumerate(panels):
        parts.append(f'<g transform="translate(0 {place * HEIGHT})">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    seconds = max(len(curve.shares) for curve in panel.curves) * panel.step

    def x(at: float) -> float:
        return LEFT + at / seconds * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share / 100 * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(panel.title)}</text>']
    for level in range(0, 101, 25):
        parts.append(f'<path d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end" fill="#6b7280">{level} %</text>')
    for second in range(int(seconds) + 1):
        parts.append(
            f'<text x="{x(second):.1f}" y="{HEIGHT - 12}" text-anchor="middle" fill="#6b7280">{second} s</text>'
        )
    for at, name in panel.marks:
        parts.append(f'<path d="M{x(at):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#9ca3af" stroke-dasharray="2 3"/>')
        parts.append(f'<text x="{x(at) + 4:.1f}" y="{TOP + 8}" fill="#6b7280">{escape(name)}</text>')
    for place, curve in enumerate(panel.curves):
        colour = COLOURS[place % len(COLOURS)]
        for start, end, share in curve.due:
            parts.append(
                f'<path d="M{x(start):.1f} {y(share):.1f}H{x(end):.1f}" stroke="{colour}" stroke-dasharray="4 4" '
                'opacity="0.5"/>'
            )
        points = " ".join(
            f"{x((at + 0.5) * panel.step):.1f},{y(min(max(share, 0), 100)):.1f}"
            for at, share in enumerate(curve.shares)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 12 + 18 * place}" fill="{colour}">{escape(curve.name)}</text>'
        )
    return parts
