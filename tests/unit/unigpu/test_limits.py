from dataclasses import replace

import pytest

from unigpu import allocations, errors, limits, modes, names, policy
from unigpu.allocations import Allocation, Share
from unigpu.limits import Applied, Limit
from unigpu.requests import ComputePolicy, Request
from unigpu.units import Bytes, GpuUuid, MiB, Percent, to_bytes

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
HARD, SOFT, UNLIMITED = ComputePolicy.HARD, ComputePolicy.SOFT, ComputePolicy.UNLIMITED


def limit(
    memory: int | None = None,
    cores: int | None = None,
    ceiling: int | None = None,
    policy: ComputePolicy | None = None,
) -> Limit:
    return Limit(
        None if memory is None else MiB(memory),
        None if cores is None else Percent(cores),
        None if ceiling is None else Percent(ceiling),
        policy,
    )


def request(memory: int = 4096, cores: int = 30, policy: ComputePolicy = HARD, ceiling: int = 0) -> Request:
    return Request(gpus=1, memory=MiB(memory), cores=Percent(cores), policy=policy, ceiling=Percent(ceiling))


def share(memory: int = 4096, cores: int = 30, gpu: GpuUuid = A) -> Share:
    return Share(gpu, MiB(memory), Percent(cores))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" {} ", {}),
        ('{"main": {}}', {}),
        ('{"main": {"memory": "1Gi"}}', {"main": limit(memory=1024)}),
        ('{"main": {"memory": 1024}}', {"main": limit(memory=1024)}),
        ('{"main": {"memory": "1.5Gi"}}', {"main": limit(memory=1536)}),
        ('{"main": {"memory": "3k"}}', {"main": limit(memory=3000)}),
        ('{"main": {"memory": "1000Gi"}}', {"main": limit(memory=1024000)}),
        ('{"main": {"cores": 10, "ceiling": "80"}}', {"main": limit(cores=10, ceiling=80)}),
        (
            '{"main": {"policy": "unlimited"}, "side": {"cores": 1}}',
            {"main": limit(policy=UNLIMITED), "side": limit(cores=1)},
        ),
        (
            '{"main": {"memory": "1Gi", "cores": 10, "ceiling": 80, "policy": "soft"}}',
            {"main": limit(1024, 10, 80, SOFT)},
        ),
    ],
)
def test_parse(text: str, found: dict[str, Limit]) -> None:
    assert limits.parse(text, ["main", "side"]) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("memory=1Gi,cores=10,ceiling=80,policy=soft", limit(1024, 10, 80, SOFT)),
        (" memory = 512 ", limit(memory=512)),
        ("cores=10", limit(cores=10)),
    ],
)
def test_parse_the_plain_form(text: str, found: Limit) -> None:
    assert limits.parse(text, ["main"]) == {"main": found}


_MAIN = "container main: "
_PERCENT = "accepted: a whole percentage from 1 to 100"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"main": {"memory": "lots"}}', [_MAIN + "memory = lots: not a Kubernetes quantity", "such as 1Gi"]),
        ('{"main": {"memory": 0}}', [_MAIN + "memory = 0: out of range; accepted: MiB on each GPU, as"]),
        ('{"main": {"memory": "257Ti"}}', [_MAIN + "memory = 257Ti: out of range"]),
        ('{"main": {"memory": "1000Ki"}}', [_MAIN + "memory = 1000Ki: not a whole number"]),
        ('{"main": {"memory": -5}}', [_MAIN + "memory = -5: out of range"]),
        ('{"main": {"memory": true}}', [_MAIN + "memory = true: not a whole number"]),
        ('{"main": {"memory": null}}', [_MAIN + "memory = null: not a whole number"]),
        ('{"main": {"cores": 0}}', [_MAIN + "cores = 0: out of range", _PERCENT]),
        ('{"main": {"cores": 101}}', [_MAIN + "cores = 101: out of range", _PERCENT]),
        ('{"main": {"cores": 10.5}}', [_MAIN + "cores = 10.5: not a whole number", _PERCENT]),
        ('{"main": {"cores": "10%"}}', [_MAIN + "cores = 10%: not a Kubernetes quantity", _PERCENT]),
        ('{"main": {"ceiling": 101}}', [_MAIN + "ceiling = 101: out of range", _PERCENT]),
        ('{"main": {"policy": "fair"}}', [_MAIN + "policy = fair: unknown policy; accepted: hard, soft or unlimited"]),
        ('{"main": {"policy": 1}}', [_MAIN + "policy = 1: unknown policy"]),
        (
            '{"main": {"mem": "1Gi"}}',
            ["mem = 1Gi: unknown key; accepted: memory, cores,"],
        ),
        ('{"other": {"memory": 1}}', ["pod: annotation unigpu.dev/limits = other: no container", "accepted: main"]),
        ('{"main": 5}', [_MAIN + "annotation unigpu.dev/limits = 5: not an object"]),
        ('{"main": {"cores": 1, "cores": 2}}', ["not JSON: cores appears twice"]),
        ('{"main": {', ["pod: annotation unigpu.dev/limits", "not JSON"]),
        ("1Gi", ["1Gi is not KEY=VALUE"]),
        ("memory=1Gi,", ["an empty part is not KEY=VALUE"]),
        ("memory=1Gi,memory=2Gi", ["memory appears twice"]),
        ("memory=1Gi,cores=a", [_MAIN + "cores = a: not a Kubernetes quantity"]),
        (
            '{"main": {"memory": "x", "cores": 0, "policy": "no"}, "other": {"ceiling": 0}}',
            ["5 problems:", "memory = x", "cores = 0", "policy = no", "container other: ceiling = 0", "accepted: main"],
        ),
    ],
)
def test_refusals(text: str, said: list[str]) -> None:
    with pytest.raises(errors.Malformed) as caught:
        limits.parse(text, ["main"])
    assert [part for part in said if part not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    ("containers", "says"),
    [((), "no container of the pod has a share"), (("main", "side"), "the pod has 2 containers with a share")],
)
def test_the_plain_form_needs_a_pod_with_one_gpu_container(containers: tuple[str, ...], says: str) -> None:
    with pytest.raises(errors.Malformed, match=says):
        limits.parse("cores=10", containers)


def test_limits_of_a_pod_without_a_share() -> None:
    with pytest.raises(errors.Malformed, match="no container of the pod has a share of a GPU"):
        limits.parse('{"main": {"cores": 10}}', [])


def test_canonical_form() -> None:
    text = '{ "side": {"policy": "hard", "memory": "1Gi"}, "main": {"cores": "10"}, "none": {} }'
    found = limits.parse(text, ["main", "side", "none"])
    canonical = limits.dump(found)
    assert canonical == '{"main":{"cores":10},"side":{"memory":1024,"policy":"hard"}}'
    assert limits.parse(canonical, ["main", "side"]) == found


def test_applied_limits_read_back_and_equal_the_wanted_ones_if_nothing_is_held() -> None:
    wanted = {"main": limit(1024, 10, 80, SOFT)}
    held = Applied(wanted, {"main": {A: MiB(3000)}, "side": {B: MiB(5)}})
    assert limits.load_applied(limits.dump_applied(held)) == held
    assert limits.load_applied(limits.dump(wanted)) == Applied(wanted)
    assert limits.dump_applied(Applied(wanted, {"main": {}})) == limits.dump(wanted)
    assert limits.load_applied(None) == limits.NOTHING_APPLIED == limits.load_applied("{}")


@pytest.mark.parametrize(
    "text", ["", "[]", "5", '{"a": 1}', '{"a": {"held": 5}}', '{"a": {"held": {"GPU-a": 0}}}', '{"a": {"cores": 0}}']
)
def test_malformed_applied_limits(text: str) -> None:
    with pytest.raises(errors.Malformed, match=r"unigpu\.dev/limits-applied can't be read"):
        limits.load_applied(text)


@pytest.mark.parametrize(
    ("asked", "changed", "becomes"),
    [
        (request(), limit(), request()),
        (request(), limit(memory=1024), request(memory=1024)),
        (request(policy=SOFT, ceiling=80), limit(memory=1024), request(1024, policy=SOFT, ceiling=80)),
        (request(), limit(cores=10), request(cores=10)),
        (request(), limit(ceiling=80), request(policy=SOFT, ceiling=80)),
        (request(), limit(ceiling=30), request()),
        (request(), limit(cores=10, ceiling=80, policy=SOFT), request(cores=10, policy=SOFT, ceiling=80)),
        (request(), limit(policy=SOFT), request(policy=SOFT, ceiling=100)),
        (request(), limit(policy=UNLIMITED), request(policy=UNLIMITED)),
        (request(policy=SOFT, ceiling=80), limit(policy=HARD), request()),
        (request(policy=SOFT, ceiling=80), limit(cores=50), request(cores=50, policy=SOFT, ceiling=80)),
        (request(policy=SOFT, ceiling=80), limit(cores=90), request(cores=90)),
        (request(policy=SOFT, ceiling=80), limit(policy=SOFT), request(policy=SOFT, ceiling=80)),
        (request(policy=SOFT, ceiling=80), limit(ceiling=40), request(policy=SOFT, ceiling=40)),
        (request(cores=0, policy=UNLIMITED), limit(cores=10), request(cores=10)),
        (request(cores=0, policy=UNLIMITED), limit(memory=1), request(memory=1, cores=0, policy=UNLIMITED)),
        (request(cores=0, policy=UNLIMITED), limit(policy=HARD), request(cores=0, policy=UNLIMITED)),
        (request(policy=UNLIMITED), limit(ceiling=50), request(policy=SOFT, ceiling=50)),
        (request(policy=UNLIMITED), limit(cores=20, policy=HARD), request(cores=20)),
    ],
)
def test_effective_request(asked: Request, changed: Limit, becomes: Request) -> None:
    assert limits.effective(asked, changed) == becomes
    assert limits.effective(asked, None) is asked


def test_memory_replaces_a_percentage() -> None:
    percent = Request(gpus=1, memory_percent=Percent(50))
    assert limits.effective(percent, limit(memory=100)) == Request(gpus=1, memory=MiB(100))


@pytest.mark.parametrize("change", [{"whole": True, "memory": MiB(0)}, {"isolated": False}])
def test_containers_without_limits_keep_their_request(change: dict[str, bool]) -> None:
    asked = replace(request(), **change)  # type: ignore[arg-type]
    tight = limit(1, 1, 1, HARD)
    whole = (Share(A, MiB(16384), Percent(100), whole=True),)
    assert limits.effective(asked, tight) == asked
    assert limits.shares(asked, whole, tight) == whole
    (problem,) = limits.problems("main", asked, tight)
    assert "so it has no limits to change; accepted: no entry for this container" in str(problem)


def test_shares_of_every_gpu() -> None:
    allocated = [share(), share(gpu=B)]
    assert limits.shares(request(), allocated, None) == tuple(allocated)
    assert limits.shares(request(), allocated, limit(memory=1024)) == (share(1024), share(1024, gpu=B))
    assert limits.shares(request(), allocated, limit(cores=10)) == (share(cores=10), share(cores=10, gpu=B))


def test_the_policy_file_follows() -> None:
    changed = limit(1024, 10, 80, SOFT)
    decided = policy.build_policy(
        limits.effective(request(), changed),
        limits.shares(request(), [share()], changed),
        modes.Enforcement(memory=True, cores=True),
    )
    (held_to,) = decided.gpus
    assert (held_to.memory, held_to.cores, held_to.ceiling) == (to_bytes(MiB(1024)), 10, 80)
    assert (decided.compute, decided.cores_enforced) == (SOFT, True)


@pytest.mark.parametrize(
    ("asked", "changed", "said"),
    [
        (request(), limit(1024, 10, 80, SOFT), ""),
        (request(), limit(policy=UNLIMITED), ""),
        (request(), limit(ceiling=30, policy=HARD), ""),
        (request(), limit(ceiling=10), "ceiling = 10: below the container's share of 30 %; accepted: 30 to 100"),
        (request(), limit(cores=50, ceiling=40), "ceiling = 40: below the container's share of 50 %"),
        (request(), limit(ceiling=80, policy=HARD), "ceiling = 80: with policy hard, the ceiling is the share, 30 %"),
        (
            request(),
            limit(ceiling=80, policy=UNLIMITED),
            "ceiling = 80: a container with policy unlimited has no ceiling",
        ),
        (request(cores=0), limit(policy=HARD), "policy = hard: the container has no share of compute time"),
        (request(cores=0), limit(ceiling=50), "ceiling = 50: the container has no share of compute time"),
        (request(cores=0), limit(ceiling=50, policy=SOFT), "policy = soft: the container has no share of compute time"),
        (request(cores=0), limit(cores=10, policy=SOFT), ""),
    ],
)
def test_limits_that_contradict_the_request(asked: Request, changed: Limit, said: str) -> None:
    found = limits.problems("main", asked, changed)
    assert [said in str(problem) for problem in found] == ([True] if said else [])


MANY = to_bytes(MiB(3000))


@pytest.mark.parametrize(
    ("effective_shares", "used", "held"),
    [
        ([share(1024)], [MANY], {A: 3000}),
        ([share(3000)], [MANY], {}),
        ([share(2999)], [Bytes(MANY - 1)], {A: 3000}),
        ([share(0)], [MANY], {}),
        ([share(1024), share(4096, gpu=B)], [MANY, MANY], {A: 3000}),
        ([Share(A, MiB(1024), Percent(100), whole=True)], [MANY], {}),
    ],
)
def test_memory_held_beyond_a_limit(effective_shares: list[Share], used: list[Bytes], held: dict[GpuUuid, MiB]) -> None:
    assert limits.held_memory(effective_shares, used) == held


@pytest.mark.parametrize(
    ("wanted", "applied", "counts"),
    [
        pytest.param(limit(), Applied(), (4096, 30), id="as allocated"),
        pytest.param(limit(8192, 50), Applied(), (8192, 50), id="a raise counts at once"),
        pytest.param(limit(1024, 10), Applied(), (4096, 30), id="a lowering that isn't in force frees nothing"),
        pytest.param(limit(1024, 10), Applied({"main": limit(1024, 10)}), (1024, 10), id="in force, and memory free"),
        pytest.param(
            limit(1024, 10), Applied({"main": limit(1024, 10)}, {"main": {A: MiB(3000)}}), (3000, 10), id="still held"
        ),
        pytest.param(limit(), Applied({"main": limit(8192, 50)}), (8192, 50), id="a reset that isn't in force"),
        pytest.param(limit(), Applied({}, {"main": {A: MiB(8000)}}), (8000, 30), id="a reset, and memory held"),
        pytest.param(limit(2048), Applied({"main": limit(8192)}), (8192, 30), id="lowered twice, the first in force"),
        pytest.param(limit(8192, 10), Applied(), (8192, 30), id="one up, one down"),
    ],
)
def test_reserved_allocation(wanted: Limit, applied: Applied, counts: tuple[int, int]) -> None:
    allocation = Allocation("node", {"main": (share(),), "other": (share(1, 1, B),)})
    found = limits.reserved_allocation(allocation, {"main": request()}, {"main": wanted}, applied)
    assert found == Allocation("node", {"main": (share(*counts),), "other": (share(1, 1, B),)})
    assert allocations.pod_usage(found, {})[A].memory == counts[0]


@pytest.mark.parametrize(
    ("annotations", "memory", "ignored"),
    [
        ({}, 4096, ""),
        ({"limits": "memory=8Gi"}, 8192, ""),
        ({"limits": "memory=1Gi"}, 4096, ""),
        ({"limits": "memory=1Gi", "applied": '{"main":{"memory":1024}}'}, 1024, ""),
        ({"applied": '{"main":{"memory":8192}}'}, 8192, ""),
        ({"limits": "memory=8", "applied": "nonsense"}, 4096, "limits-applied can't be read"),
        ({"limits": "memory=8Gi", "applied": "nonsense"}, 8192, "limits-applied can't be read"),
        ({"limits": "lots", "applied": '{"main":{"memory":1024}}'}, 4096, "lots is not KEY=VALUE"),
    ],
)
def test_accounted(annotations: dict[str, str], memory: int, ignored: str) -> None:
    full = {"limits": names.ANNOTATION_LIMITS, "applied": names.ANNOTATION_LIMITS_APPLIED}
    found, said = limits.accounted(
        Allocation("node", {"main": (share(),)}),
        {"main": request()},
        {full[name]: text for name, text in annotations.items()},
    )
    assert found.containers["main"][0].memory == memory
    assert (ignored in said) if ignored else said == ""


@pytest.mark.parametrize(
    ("shares", "before", "reported", "used", "counted"),
    [
        pytest.param([1024], [4096], {}, {A: MiB(3000)}, {A: 3000}, id="lowered"),
        pytest.param([1024], [4096], {}, {A: MiB(23000)}, {A: 4096}, id="more than it was granted"),
        pytest.param([1024], [1024], {A: MiB(3000)}, {A: MiB(2000)}, {A: 2000}, id="some of it freed"),
        pytest.param([1024], [1024], {A: MiB(3000)}, {A: MiB(23000)}, {A: 3000}, id="more than it held"),
        pytest.param([1024], [1024], {}, {A: MiB(23000)}, {}, id="never had more"),
        pytest.param([2048], [1024], {}, {A: MiB(23000)}, {}, id="raised"),
        pytest.param([512], [1024], {A: MiB(3000)}, {A: MiB(3000)}, {A: 3000}, id="lowered twice"),
        pytest.param([1024], [4096], {}, {}, {}, id="nothing beyond"),
    ],
)
def test_a_container_holds_no_more_than_it_was_granted(
    shares: list[int],
    before: list[int],
    reported: dict[GpuUuid, MiB],
    used: dict[GpuUuid, MiB],
    counted: dict[GpuUuid, int],
) -> None:
    now, then = [share(memory) for memory in shares], [share(memory) for memory in before]
    assert limits.granted_memory(now, then, reported, used) == counted
