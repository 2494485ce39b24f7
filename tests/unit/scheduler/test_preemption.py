"""The extender's preempt: which victims it keeps, adds and spares, next to what the kube-scheduler offers."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from scheduler import named_victims, wire
from scheduler.budget_cache import BudgetCache
from scheduler.cache import ClusterCache
from scheduler.named_victims import NamedVictims
from scheduler.preemption import Preemption, Preemptor
from unigpu import allocations, api_objects, budgets, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

Json = dict[str, Any]
RULES = Rules()
GPU = MiB(100)
VENDORS = {"nvidia.com/gpu"}


class Cluster:
    """One node, `n`, of GPUs with 100 MiB, and what runs there."""

    def __init__(self, gpus_of_node: int = 2, clock: Callable[[], float] = lambda: 0.0, **totals: int) -> None:
        """The clock stands still, so that no node is left out because the machine is slow."""
        self.clock = clock
        self.cache = ClusterCache(CapacityLedger(), clock)
        self.budgets = BudgetCache()
        self.budgets.listed([])
        inventory = gpus.dump([Gpu(GpuUuid(f"g{at}"), at, at, "X", GPU) for at in range(gpus_of_node)])
        node: Json = {"metadata": {"name": "n", "annotations": {names.ANNOTATION_INVENTORY: inventory}}}
        if totals:
            node["status"] = {"allocatable": {f"unigpu.dev/{name}": str(amount) for name, amount in totals.items()}}
        self.cache.node_changed(api_objects.node(node))
        self.preemption = self.started()

    def started(self) -> Preemption:
        """As of an extender that has named nobody yet."""
        self.cache.named = NamedVictims(self.cache.waiting, self.clock)
        return Preemption(self.cache, RULES, self.budgets, VENDORS, self.clock)

    def run(self, name: str, *shares: Share, priority: int = 0, started: int = 0, **more: Any) -> None:
        """A pod on the node."""
        status = more.pop("status", {})
        document = pod(name, [Request(len(shares), shares[0].memory)], priority, **more)
        annotations = document["metadata"]["annotations"]
        annotations[names.ANNOTATION_ALLOCATION] = allocations.dump(Allocation("n", {"c0": shares}))
        document["spec"]["nodeName"] = "n"
        start = datetime.datetime.fromtimestamp(1_000_000 + started, datetime.UTC)
        document["status"] = {"startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ"), **status}
        self.cache.pod_changed(api_objects.pod(document))

    def protect(self, allowed: int, **labels: str) -> None:
        self.budgets.changed(
            budgets.load(
                {
                    "metadata": {"namespace": "default", "name": "-".join(labels)},
                    "spec": {"selector": {"matchLabels": labels}},
                    "status": {"disruptionsAllowed": allowed},
                }
            )
        )

    def preempt(self, wanted: Json, *offered: str, violations: int = 0) -> list[str] | None:
        """The victims for the pod in place of these, whatever was asked before."""
        self.preemption = self.started()
        return self.preempt_next(wanted, *offered, violations=violations)

    def preempt_next(self, wanted: Json, *offered: str, violations: int = 0) -> list[str] | None:
        """The victims for the pod in place of these, right after those that were asked for before."""
        found = self.answer(wanted, *offered, violations=violations)
        return None if found is None else [victim["UID"] for victim in found["Pods"]]

    def answer(self, wanted: Json, *offered: str, violations: int = 0) -> wire.MetaVictims | None:
        victims: wire.MetaVictims = {"Pods": [{"UID": uid} for uid in offered], "NumPDBViolations": violations}
        preemptor = Preemptor(wanted, api_objects.request(wanted))
        return dict(self.preemption.choose(preemptor, {"n": victims}))["n"]


def pod(name: str, wishes: list[Request], priority: int = 9, **more: Any) -> Json:
    containers = {f"c{at}": request for at, request in enumerate(wishes)}
    resources = {"requests": {key: str(value) for key, value in more.pop("amounts", {}).items()}}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": more.pop("labels", {}),
            "annotations": {names.ANNOTATION_REQUEST: requests.dump(PodRequest(containers))},
            **more.pop("metadata", {}),
        },
        "spec": {"priority": priority, "containers": [{"name": one, "resources": resources} for one in containers]}
        | more,
        "status": {},
    }


def on(gpu: int, memory: int, cores: int = 0) -> Share:
    return Share(GpuUuid(f"g{gpu}"), MiB(memory), Percent(cores))


def asks(memory: int, **more: Any) -> Json:
    return pod("urgent", [Request(1, MiB(memory))], **more)


def whole(**more: Any) -> Json:
    return pod("urgent", [Request(1, whole=True)], **more)


def test_one_victim_in_place_of_two() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 50), started=5)
    cluster.run("b", on(0, 50), started=6)
    cluster.run("most", on(1, 80), started=1)
    assert cluster.preempt(whole(), "b", "a") == ["most"]


def test_victims_on_the_wrong_gpu_are_replaced() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 50), priority=3)
    cluster.run("a2", on(0, 40), priority=2)
    cluster.run("b", on(1, 50), priority=1)
    cluster.run("c", on(1, 40), priority=1)
    assert cluster.preempt(asks(55), "a2") == ["b"]
    assert cluster.preempt(asks(55, priority=2), "c") == ["b"]
    assert cluster.preempt(pod("urgent", [Request(2, MiB(50))]), "c") == ["a2", "b"]


def test_a_node_where_no_victims_suffice_is_left_out() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), priority=5)
    cluster.run("b", on(1, 60), priority=9)
    both = pod("urgent", [Request(2, MiB(60))])
    assert cluster.preempt(both, "a") is None
    cluster.run("b", on(1, 60), priority=5)
    assert cluster.preempt(both, "a") == ["a", "b"]


def test_a_pod_whose_binding_isn_t_seen_yet_is_no_candidate() -> None:
    cluster = Cluster(1)
    assumed = PodRequest({"c0": Request(1, MiB(60))})
    cluster.cache.assume("a", "default/a", assumed, Allocation("n", {"c0": (on(0, 60),)}))
    assert cluster.preempt(asks(60)) is None, "not known to the kube-scheduler"
    assert cluster.preempt(asks(60), "a") == ["a"], "known to the kube-scheduler"


def test_victims_without_a_share_are_kept() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), priority=2)
    cluster.run("b", on(1, 60), priority=1)
    assert cluster.preempt(asks(60), "plain", "a", "other") == ["plain", "other", "b"]
    assert cluster.preempt(asks(30), "plain") == ["plain"]


def test_the_most_important_victim_comes_first() -> None:
    cluster = Cluster()
    for name, gpu, priority in (("a", 0, 1), ("b", 0, 3), ("c", 1, 4)):
        cluster.run(name, on(gpu, 50), priority=priority)
    assert cluster.preempt(whole(), "b", "plain", "a") == ["b", "plain", "a"]


def test_other_resources_are_freed_as_the_kube_scheduler_freed_them() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), started=1, amounts={"cpu": "4", "memory": "1Gi"})
    cluster.run("b", on(1, 60), started=9, amounts={"cpu": "1"})
    cluster.run("c", on(1, 10), started=9, amounts={"cpu": "3500m"})
    assert cluster.preempt(asks(60), "a") == ["b"], "it asks for no CPU"
    assert cluster.preempt(asks(60, amounts={"cpu": "1"}), "a") == ["b"], "as much as it asks for"
    assert cluster.preempt(asks(60, amounts={"cpu": "4500m"}), "a") == ["a"], "as much as was freed"
    assert cluster.preempt(asks(60, amounts={"cpu": "8"}, priority=9), "a") == ["a"]
    cluster.run("a", on(0, 60), priority=3, amounts={"cpu": "4"})
    assert cluster.preempt(asks(60, amounts={"cpu": "8"}), "a") == ["b", "c"]


def test_vendors_resources_aren_t_counted() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), started=1, amounts={"nvidia.com/gpu": 1})
    cluster.run("b", on(1, 60), started=9)
    assert cluster.preempt(asks(60, amounts={"nvidia.com/gpu": 1}), "a") == ["b"]


def test_what_the_totals_lack_is_known() -> None:
    """A whole GPU counts 100 MiB; of 200, 180 are taken, so that 80 must be freed; beside 30 free, 50 would do."""
    cluster = Cluster(memory=200)
    memory = "unigpu.dev/memory"
    cluster.run("a", on(0, 50), amounts={memory: 50})
    cluster.run("b", on(0, 50), amounts={memory: 50})
    cluster.run("c", on(1, 80), amounts={memory: 80})
    assert cluster.preempt(whole(amounts={memory: 100}), "a", "b") == ["c"]
    cluster.run("c", on(1, 80), amounts={memory: 70})
    assert sorted(cluster.preempt(whole(amounts={memory: 100}), "a", "b") or ()) == ["c"]
    cluster.run("c", on(1, 80), amounts={memory: 40})
    assert cluster.preempt(whole(amounts={memory: 100}), "a", "b") == ["c"], "60 are free"
    cluster.run("d", on(1, 20), priority=9, amounts={memory: 60})
    assert sorted(cluster.preempt(asks(80, amounts={memory: 100}), "a", "b") or ()) == ["a", "b"]


ANTI = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}}
PORT = [{"name": "c0", "ports": [{"hostPort": 80}]}]
CLAIM = [{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}]


@pytest.mark.parametrize(
    ("victim", "wish", "kept"),
    [
        ({}, {}, False),
        ({"affinity": ANTI}, {}, True),
        ({"volumes": CLAIM}, {}, False),
        ({"volumes": CLAIM}, {"volumes": CLAIM}, True),
        ({"containers": PORT}, {}, False),
        ({"containers": PORT}, {"containers": PORT}, True),
        ({}, {"affinity": ANTI}, True),
        ({}, {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}, True),
        ({}, {"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}, False),
        ({}, {"resourceClaims": [{"name": "c"}]}, True),
    ],
)
def test_what_may_stand_in_the_way_beside_resources_is_kept(victim: Json, wish: Json, kept: bool) -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), started=1, **victim)
    cluster.run("b", on(1, 60), started=9)
    assert cluster.preempt(asks(60, **wish), "a") == (["a"] if kept else ["b"])


def test_budgets_are_spared_and_counted() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), labels={"app": "web"})
    cluster.run("b", on(1, 60), labels={"app": "batch"}, priority=5)
    cluster.protect(0, app="web")
    assert cluster.answer(asks(60), "a", violations=1) == {"Pods": [{"UID": "b"}], "NumPDBViolations": 0}
    assert cluster.answer(pod("urgent", [Request(2, MiB(60))]), "a", violations=1) == {
        "Pods": [{"UID": "b"}, {"UID": "a"}],
        "NumPDBViolations": 1,
    }
    cluster.preemption = cluster.started()
    found = cluster.answer(asks(60), "plain", "a", violations=3)
    assert found is not None
    assert found["NumPDBViolations"] == 2, "two are of pods that only the kube-scheduler knows"


def test_until_budgets_are_known_victims_are_only_added() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), priority=2)
    cluster.run("b", on(1, 60), priority=1)
    cluster.budgets.known = False
    assert cluster.answer(asks(60), "a", violations=1) == {"Pods": [{"UID": "a"}], "NumPDBViolations": 1}
    assert cluster.preempt(pod("urgent", [Request(2, MiB(60))]), "a") == ["a", "b"]


def test_who_leaves_anyway_is_preferred() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60), priority=5, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    cluster.run("b", on(1, 60), priority=1)
    assert cluster.preempt(asks(60), "b") == ["a"]


def test_room_that_another_pod_waits_for_isn_t_counted() -> None:
    cluster = Cluster()
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.run("a", on(0, 60), metadata=leaving)
    cluster.run("b", on(1, 60), priority=1)
    first = asks(60)
    first["metadata"]["uid"] = "first"
    first["status"]["nominatedNodeName"] = "n"
    cluster.cache.pod_changed(api_objects.pod(first))
    assert cluster.preempt(asks(60), "a") == ["b"]
    assert cluster.preempt(first, "a") == ["a"], "it is the one that waits"
    assert cluster.preempt(asks(60, priority=10), "a") == ["a"], "it is more important than the one that waits"
    cluster.cache.pod_gone("first")
    assert cluster.preempt(asks(60), "a") == ["a"]


def test_where_time_runs_out_one_node_with_victims_is_enough() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60))
    cluster.run("b", on(1, 60))
    now = iter(range(100))
    chooser = Preemption(cluster.cache, RULES, cluster.budgets, (), clock=lambda: 0.6 * next(now))
    victims: wire.MetaVictims = {"Pods": [{"UID": "a"}], "NumPDBViolations": 0}
    preemptor = Preemptor(asks(60), api_objects.request(asks(60)))
    offered = {"none": victims, "nothing": victims, "n": victims, "late": victims, "later": victims}
    assert [name for name, _ in chooser.choose(preemptor, offered)] == ["none", "nothing", "n", "late"]


def test_a_lack_that_only_the_kube_scheduler_sees_is_left_to_it() -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 10))
    assert cluster.preempt(asks(60), "a") == ["a"]


def test_victims_of_one_aren_t_named_for_another() -> None:
    """Nobody has seen yet that the first one's victim is evicted; if it is still there later, it wasn't."""
    now = [0.0]
    cluster = Cluster(clock=lambda: now[0])
    cluster.run("a", on(0, 60))
    cluster.run("b", on(1, 60), started=1)
    first, second = pod("first", [Request(1, MiB(60))]), pod("second", [Request(1, MiB(60))])
    assert cluster.preempt_next(first, "b") == ["b"]
    assert cluster.preempt_next(second, "b") == ["a"]
    assert cluster.preempt_next(first, "b") == ["b"], "the same again"
    now[0] += named_victims.UNSEEN
    assert cluster.preempt_next(second, "b") == ["b"]


def test_who_only_waits_for_totals_evicts_nobody() -> None:
    """There is room on the first GPU; the totals lack what leaves for another pod."""
    cluster = Cluster(memory=200)
    memory = "unigpu.dev/memory"
    cluster.run("a", on(1, 70), amounts={memory: 70})
    cluster.run("b", on(1, 20), amounts={memory: 20}, started=1)
    first, second = (pod(name, [Request(1, MiB(60))], amounts={memory: 60}) for name in ("first", "second"))
    for one in (first, second):
        one["status"]["nominatedNodeName"] = "n"
        cluster.cache.pod_changed(api_objects.pod(one))
    assert cluster.preempt(first, "b") == ["b"], "nobody leaves"
    assert cluster.preempt(second, "a") == ["a"]
    assert cluster.preempt_next(first, "b") is None


@pytest.mark.parametrize("end", ["is bound", "is gone"])
def test_what_was_named_for_a_pod_ends_with_its_wait(end: str) -> None:
    cluster = Cluster()
    cluster.run("a", on(0, 60))
    cluster.run("b", on(1, 60), started=1)
    assert cluster.preempt_next(pod("first", [Request(1, MiB(60))]), "b") == ["b"]
    assert cluster.cache.named.on("n", "second").victims.keys() == {"b"}
    cluster.cache.pod_gone("b")
    if end == "is bound":
        cluster.run("first", on(1, 60), priority=9)
    else:
        cluster.cache.pod_gone("first")
    assert cluster.cache.named.on("n", "second") == named_victims.Going()
