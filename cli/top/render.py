"""What containers use, as a table. Pure."""

from collections.abc import Iterator, Sequence

from cli import text
from cli.text import Column, Style
from cli.top.samples import Use

_COLUMNS = (
    Column("POD", shrink=True),
    Column("CONTAINER", shrink=True),
    Column("NODE", shrink=True),
    Column("GPU", right=True),
    Column("MEMORY (MiB)", right=True),
    Column("COMPUTE", right=True),
    Column("SHARE", right=True),
    Column("WAIT", right=True),
)
_NEARLY_FULL = 0.95


def lines(found: Sequence[Use], notes: Sequence[str], style: Style) -> Iterator[str]:
    """Yield the table and what is missing from it."""
    for note in notes:
        yield from (style.mark(line, "warn") for line in text.wrap(note, style, first="Note: "))
    if not found:
        yield "No container with a GPU runs."
        return
    rows = [tuple(map(text.safe, _row(one))) for one in found]
    drawn = list(text.table(_COLUMNS, rows, style, gap=1 if style.width < 100 else 2))
    yield drawn[0]
    for one, line in zip(found, drawn[1:], strict=True):
        yield style.mark(line, "warn") if _tight(one) else line


def _row(one: Use) -> tuple[str, ...]:
    namespace, pod, container, uuid = one.key
    return (
        f"{namespace}/{pod}",
        container,
        one.node,
        one.gpu or uuid,
        f"{one.used}/{one.limit or 'any'}",
        _percent(one.compute),
        _percent(one.share) if one.share else "any",
        "-" if one.waiting is None else f"{one.waiting:.1f}s",
    )


def _tight(one: Use) -> bool:
    return bool(one.limit) and one.used > one.limit * _NEARLY_FULL


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio * 100:.0f} %"
