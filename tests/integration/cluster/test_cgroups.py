"""Control groups of a unit, on the machine's own hierarchies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import cgroups, settings


@pytest.fixture
def layout() -> Iterator[settings.Layout]:
    one = settings.Layout("groups")
    yield one
    cgroups.remove(one)
    assert not cgroups.exists(one)


def test_a_unit_begins_without_the_pods_of_the_one_that_was_killed(layout: settings.Layout) -> None:
    joined = [Path(folder) for folder in cgroups.make(layout, "node")]
    left = [folder.parent / "kubepods" / "pod1" / "container" for folder in joined]
    for folder in left:
        folder.mkdir(parents=True)
    assert [Path(folder) for folder in cgroups.make(layout, "node")] == joined
    assert all(folder.exists() for folder in joined)
    assert not any((folder.parent / "kubepods").exists() for folder in joined)
