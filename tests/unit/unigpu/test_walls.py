"""Which walls a node has."""

import pytest

from unigpu import errors, walls
from unigpu.walls import Wall, Walls


@pytest.mark.parametrize("found", [Walls(), Walls({Wall.DRIVER: "too old", Wall.COMPARISON: "blind"})])
def test_what_is_written_is_read(found: Walls) -> None:
    assert walls.load(walls.dump(found)) == found


def test_the_text_is_for_people_too() -> None:
    text = walls.dump(Walls({Wall.DRIVER: "too old"}))
    assert text == '{"version":1,"standing":["libvgpu","comparison"],"missing":{"driver":"too old"}}'


def test_a_wall_of_a_later_version_is_left_out() -> None:
    text = '{"version":1,"standing":["libvgpu","moat"],"missing":{"hedge":"dry"}}'
    found = walls.load(text)
    assert found.standing == (Wall.LIBVGPU,)
    assert found.missing[Wall.DRIVER] == "the node agent doesn't say why"


@pytest.mark.parametrize("text", ["", "{}", '{"version":2,"standing":[],"missing":{}}', '{"version":1,"standing":[1]}'])
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(errors.Malformed):
        walls.load(text)
