"""Lines that are put together piece by piece are those that are put together at once."""

import random

from exporter.collector import _GROUP, _MOVING, Moving

COLUMNS = len(_MOVING)


def whole(rows: list[tuple[bytes, ...]]) -> bytes:
    return b"".join(family.head + b"".join(row[column] for row in rows) for column, family in enumerate(_MOVING))


def row(dice: random.Random) -> tuple[bytes, ...]:
    return tuple(b"%d\n" % dice.randrange(3) for _ in range(COLUMNS))


def test_pieces_are_those_of_the_whole() -> None:
    dice = random.Random(1)
    moving = Moving()
    rows: list[tuple[bytes, ...]] = []
    for turn in range(300):
        act = dice.randrange(6)
        if act == 0:
            rows = [*rows, *(row(dice) for _ in range(dice.randrange(3 * _GROUP)))]
        elif act == 1:
            rows = rows[dice.randrange(_GROUP) :]
        elif act == 2:
            rows = [*rows[1:], row(dice)] if rows else []
        elif rows:
            rows = list(rows)
            rows[dice.randrange(len(rows))] = row(dice)
        moving.take(rows)
        assert b"".join(moving.pieces()) == whole(rows), turn


def test_what_stays_is_not_put_together_again() -> None:
    dice = random.Random(2)
    rows = [row(dice) for _ in range(3 * _GROUP)]
    moving = Moving()
    moving.take(rows)
    before = list(moving.pieces())
    changed = list(rows)
    changed[_GROUP] = (b"other\n", *rows[_GROUP][1:])
    moving.take(changed)
    pairs = enumerate(zip(before, moving.pieces(), strict=True))
    differing = [place for place, (one, other) in pairs if one is not other and not one.startswith(b"#")]
    # Of the first metric, whose head and first group come before it.
    assert differing == [2]
