"""Which limits were lowered, what that frees, and who may have theirs back."""

import pytest

from deviceplugin import pods
from deviceplugin.limits import lowered
from deviceplugin.limits.lowered import Counted
from deviceplugin.node.node_state import Node
from unigpu import allocations, limits, lowering, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.limits import Applied, Limit
from unigpu.lowering import Amounts, Freed, Keep, Lowerable
from unigpu.requests import PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

GPU, TOTAL = GpuUuid("GPU-0"), MiB(24576)
NODE = Node("n", "boot", gpus={GPU: Gpu(GPU, 0, 0, "X", TOTAL)})
HALF = MiB(12288)


def pod(
    name: str,
    memory: int = HALF,
    *,
    to: int | None = None,
    in_force: bool = True,
    at: int = 1000,
    before: str | None = None,
    role: Role = Role.MAIN,
) -> pods.Pod:
    """A pod on the GPU; lowered `to` so many MiB, if that is given."""
    request = Request(1, MiB(memory), role=role)
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": request})),
        names.ANNOTATION_ALLOCATION: allocations.dump(
            Allocation("n", {"main": (Share(GPU, MiB(memory), Percent(0)),)})
        ),
    }
    if before is not None:
        annotations[names.ANNOTATION_LIMITS] = before
    if to is not None:
        changed = lowering.lower(annotations, {"main": request}, {"main": Amounts(MiB(to))}, "ns/urgent", at)
        assert changed is not None
        annotations |= changed
        if in_force:
            annotations[names.ANNOTATION_LIMITS_APPLIED] = limits.dump_applied(Applied({"main": Limit(MiB(to))}))
    return pods.Pod("ns", name, f"uid-{name}", node="n", annotations=annotations, order=("main",))


@pytest.mark.parametrize(
    ("now", "expected"),
    [(1000, []), (1059, []), (1060, ["a"]), (999, []), (941, []), (939, ["a"])],
    ids=["at once", "too early", "due", "a clock behind the scheduler's", "much behind", "a clock that was set back"],
)
def test_limits_are_raised_again_after_a_pause(now: int, expected: list[str]) -> None:
    assert [one.name for one, _ in lowered.due([pod("a", to=4096), pod("b")], now, 60.0)] == expected


def test_who_was_lowered_first_comes_first() -> None:
    found = [pod("late", to=4096, at=20), pod("early", to=4096, at=10)]
    assert [one.name for one, _ in lowered.due(found, 1000, 60.0)] == ["early", "late"]


@pytest.mark.parametrize(
    ("one", "freed"),
    [
        (pod("as requested"), 0),
        (pod("lowered", to=4096), HALF - 4096),
        (pod("not in force yet", to=4096, in_force=False), 0),
        (pod("had less before", to=4096, before='{"main":{"memory":8192}}'), HALF - 4096),
        (pod("by hand", before='{"main":{"memory":4096}}'), 0),
    ],
    ids=lambda value: value.name if isinstance(value, pods.Pod) else "",
)
def test_what_lowered_limits_free(one: pods.Pod, freed: int) -> None:
    assert lowered.freed([one], NODE.gpus.values()) == Freed(MiB(freed), 0)


def test_nothing_is_freed_of_a_gpu_that_is_gone() -> None:
    assert lowered.freed([pod("lowered", to=4096)], []) == Freed()


def test_a_record_is_void_once_somebody_has_changed_the_limits() -> None:
    changed = pod("a", to=4096)
    annotations = {**changed.annotations, names.ANNOTATION_LIMITS: "memory=2Gi"}
    other = pods.Pod("ns", "b", "uid-b", annotations=annotations)
    assert lowered.void([changed, other, pod("c")]) == [other]
    assert lowered.due([other], 5000, 60.0) == []


def test_room_counts_pods_that_have_not_started_and_raises_that_are_not_in_force() -> None:
    first, second = pod("first", to=4096), pod("second", to=4096)
    ((_, record), _) = lowered.due([first, second], 5000, 60.0)
    assert Counted([first, second]).has_room(NODE, first, record)
    assert not Counted([first, second, pod("bound a moment ago", 2 * 4096 + 1)]).has_room(NODE, first, record)
    counted = Counted([first, second, pod("urgent", 4096)])
    assert counted.has_room(NODE, first, record)
    raised = pod("first")
    counted.raised(raised)
    assert not counted.has_room(NODE, second, record), "the first has it"


def test_what_a_pod_offers() -> None:
    keep = Keep(10, 5)
    idle = {"main": [MiB(0)]}
    expected = Lowerable("uid-a", "main", (GPU,), Amounts(HALF), Amounts(MiB(1536)))
    assert lowered.offers(pod("a"), {}, idle, keep) == [expected]
    assert lowered.offers(pod("a"), {}, {}, keep) == [], "it hasn't run for long"
    assert lowered.offers(pod("a"), {"unigpu.dev/mode": "share"}, idle, keep) == [], "nobody would hold it to less"
    assert lowered.offers(pod("a", role=Role.INIT), {}, idle, keep) == []
    assert lowered.offers(pod("a", to=4096, in_force=False), {}, idle, keep) == [], "its limits are being changed"
    assert lowered.offers(pods.Pod("ns", "x", "u"), {}, idle, keep) == []


def test_only_other_containers_or_limits_are_published_at_once() -> None:
    def offer(now: int, least: int) -> list[Lowerable]:
        return [Lowerable("u", "main", (GPU,), Amounts(MiB(now)), Amounts(MiB(least)))]

    assert not lowered.urgent(offer(4096, 512), offer(4096, 1024))
    assert lowered.urgent(offer(4096, 512), offer(2048, 512))
    assert lowered.urgent(offer(4096, 512), [])
