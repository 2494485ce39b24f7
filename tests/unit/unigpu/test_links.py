"""The best set of GPUs by their links, compared with all sets."""

import itertools
import random
from collections.abc import Iterator

import pytest

from unigpu import links, placement
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB

NVLINK, SAME_SWITCH, SAME_SOCKET, ACROSS = 100, 50, 30, 10


def table(size: int, link: object) -> list[list[int]]:
    return [[0 if one == other else link(one, other) for other in range(size)] for one in range(size)]  # type: ignore[operator]


def pairs(one: int, other: int) -> int:
    """NVLink bridges between neighbours, and two sockets."""
    if one // 2 == other // 2:
        return 2 * NVLINK
    return SAME_SOCKET if one // 8 == other // 8 else ACROSS


def crossed_pairs(one: int, other: int) -> int:
    """Bridges between GPUs that are not neighbours."""
    return 2 * NVLINK if abs(one - other) == 4 and min(one, other) % 8 < 4 else ACROSS


def nvswitch(one: int, other: int) -> int:
    return 12 * NVLINK


def sockets(one: int, other: int) -> int:
    """Four GPUs at each PCIe switch, two switches at each socket."""
    return SAME_SWITCH if one // 4 == other // 4 else SAME_SOCKET if one // 8 == other // 8 else ACROSS


def cube(one: int, other: int) -> int:
    """Hybrid cube mesh of eight GPUs, as in DGX-1; a second one across the sockets."""
    double, single = {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}, {(0, 1), (0, 2), (1, 3), (2, 6)}
    pair = (min(one, other) % 8, max(one, other) % 8)
    if one // 8 != other // 8:
        return ACROSS
    return (
        2 * NVLINK if pair in double else NVLINK if pair in single | {(3, 7), (4, 5), (4, 6), (5, 7)} else SAME_SOCKET
    )


TOPOLOGIES = {"pairs": pairs, "crossed": crossed_pairs, "NVSwitch": nvswitch, "sockets": sockets, "cube": cube}


def best_of_all(found: list[list[int]], count: int) -> tuple[int, ...]:
    def quality(chosen: tuple[int, ...]) -> tuple[int, int]:
        values = [found[one][other] for one, other in itertools.combinations(chosen, 2)]
        return (-min(values, default=0), -sum(values))

    return min(itertools.combinations(range(len(found)), count), key=quality)


@pytest.mark.parametrize("size", [2, 4, 8, 16])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_count_on_every_topology(topology: str, size: int) -> None:
    found = table(size, TOPOLOGIES[topology])
    for count in (1, 2, 3, 4, 6, 8, 12, 16):
        if count <= size:
            assert links.best(found, count) == best_of_all(found, count), count


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_with_some_gpus_taken(topology: str) -> None:
    chance = random.Random(topology)
    for _ in range(12):
        free = sorted(chance.sample(range(16), chance.randrange(3, 13)))
        found = table(len(free), lambda one, other, free=free: TOPOLOGIES[topology](free[one], free[other]))
        count = chance.randrange(1, len(free) + 1)
        assert links.best(found, count) == best_of_all(found, count), (free, count)


def scrambled(chance: random.Random, size: int, levels: list[int]) -> list[list[int]]:
    found = [[0] * size for _ in range(size)]
    for one, other in itertools.combinations(range(size), 2):
        found[one][other] = found[other][one] = chance.choice(levels)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_links_without_any_order(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randrange(2, 11)
    found = scrambled(chance, size, chance.choice([[10, 50, 100], list(range(40)), [0], [0, 100]]))
    for count in range(1, size + 1):
        assert links.best(found, count) == best_of_all(found, count), count


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_gpus_without_any_order_are_searched_to_the_end(seed: int) -> None:
    found = scrambled(random.Random(seed), 16, [10, 20, 30, 40, 50, 100, 200])
    chosen = links.best(found, 8)
    assert chosen == best_of_all(found, 8)
    assert links.best(found, 8, links.EFFORT // 4) == chosen
    assert links.best(found, 8, 10**9) == chosen


def test_a_search_that_is_cut_short_still_gives_a_set() -> None:
    for seed in range(5):
        assert len(set(links.best(scrambled(random.Random(seed), 12, [10, 50, 100]), 5, effort=1))) == 5


def groups(one: int, other: int) -> int:
    """Seven groups; only GPUs of different groups are linked well. No eight are, and to prove that takes a search
    through the sets with one GPU of each group."""
    return ACROSS if one % 7 == other % 7 else NVLINK


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("count", [4, 8, 16])
def test_links_that_a_node_made_up_are_searched_for_a_bounded_time(
    size: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 8 * links.EFFORT // size**2 + 4 * size * count
    """Each step goes through the candidates a few times, and so does the first guess."""
    asked = 0
    real = links._members

    def counted(bits: int) -> Iterator[int]:
        nonlocal asked
        asked += 1
        assert asked <= most
        return real(bits)

    monkeypatch.setattr(links, "_members", counted)
    for link in (groups, lambda one, other: random.Random(f"{min(one, other)} {max(one, other)}").choice((1, 2))):
        asked = 0
        assert len(set(links.best(table(size, link), count))) == count


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_placement_takes_the_best_set(topology: str) -> None:
    link = TOPOLOGIES[topology]
    node_gpus = [
        Gpu(
            GpuUuid(f"g{index:02}"),
            index,
            index,
            "X",
            MiB(100),
            links={GpuUuid(f"g{other:02}"): link(index, other) for other in range(16) if other != index},
        )
        for index in range(16)
    ]
    node = Node("n", tuple(map(GpuState, node_gpus)))
    for count in (2, 4, 8):
        wish = PodRequest({"main": Request(count, whole=True)})
        chosen = placement.place(node, wish, placement.Rules()).containers["main"]
        expected = best_of_all(table(16, link), count)
        assert [share.gpu for share in chosen] == [f"g{place:02}" for place in expected]
