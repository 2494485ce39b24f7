"""Of urgent pods at once each gets a GPU, and no more pods are evicted than they need, however events are mixed.

A kube-scheduler is played as version 1.36 behaves: it counts totals, evicts in the background, knows at once whom it
has nominated, sees pods leave later, and tries a pod again once one has left. The extender sees that later, too.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler import filter_prioritize, wire
from scheduler.fit_cache import FitCache
from scheduler.preemption import Preemptor
from tests.unit.scheduler.test_preemption import RULES, Cluster, Json, asks, on
from unigpu import allocations, api_objects, names, placement
from unigpu.placement import Unschedulable

GPUS, URGENT, GPU = 4, 88, 100
MEMORY = names.RESOURCE_MEMORY
PREEMPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["try", "evict", "end", "kube", "extender"]), st.integers(0, GPUS)), max_size=60
)


SWIFT: list[Step] = [
    *(("try", 0), ("evict", 0), ("extender", 0), ("extender", 0), ("try", 0), ("end", 0), ("evict", 1), ("end", 0)),
    *(4 * [("kube", 0)]),
]
"""A victim is gone before the kube-scheduler has an answer to its eviction, and the other one went for another pod."""


@dataclass
class Low:
    """A pod that may be evicted, as somebody sees it."""

    gpu: int
    deleting: bool = False


@dataclass
class Played:
    """One node, the pods on it, and who knows what of them."""

    size: int
    urgent: int
    backwards: bool
    """Order in which the kube-scheduler considers pods of which none is more important."""
    cluster: Cluster = field(default_factory=lambda: Cluster(GPUS, memory=GPUS * GPU))
    evicted: set[str] = field(default_factory=set)
    evictions: dict[str, list[str]] = field(default_factory=dict)
    """Which pods are about to be evicted, one after the other, by the pod for which."""
    unanswered: set[str] = field(default_factory=set)
    """For which pods the API server has just deleted one, and hasn't answered that yet."""
    kube_events: deque[Callable[[], None]] = field(default_factory=deque)
    extender_events: deque[Callable[[], None]] = field(default_factory=deque)
    nominated: set[str] = field(default_factory=set)
    bound: dict[str, str] = field(default_factory=dict)
    """GPU of each urgent pod."""

    def __post_init__(self) -> None:
        self.fits = FitCache(self.cluster.cache.ledger, RULES)
        each = GPU // self.size
        # In an order that isn't that of their UIDs.
        self.kube = {f"low-{(5 * at + 3) % 8}": Low(at // each) for at in range(GPUS * each)}
        self.there = {name: Low(low.gpu) for name, low in self.kube.items()}
        self.waiting = [f"urgent-{at}" for at in range(self.urgent)]
        self.asleep: set[str] = set()
        for name in self.there:
            self._show_low(name)

    def _show_low(self, name: str) -> None:
        low = self.there[name]
        metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if low.deleting else {}
        status = {"conditions": [PREEMPTED]} if low.deleting else {}
        self.cluster.run(name, on(low.gpu, self.size), amounts={MEMORY: self.size}, metadata=metadata, status=status)

    def document(self, name: str) -> Json:
        wanted = asks(URGENT, amounts={MEMORY: URGENT})
        wanted["metadata"] |= {"name": name, "uid": name}
        if name in self.nominated:
            wanted["status"]["nominatedNodeName"] = "n"
        return wanted

    def act(self, step: Step) -> None:
        kind, at = step
        if kind == "try":
            awake = [name for name in self.waiting if name not in self.bound and name not in self.asleep]
            awake = [name for name in awake if name not in self.evictions]
            if awake:
                self.attempt(awake[at % len(awake)])
        elif kind == "evict" and self.evictions:
            self.evict(list(self.evictions)[at % len(self.evictions)])
        elif kind == "end":
            going = [name for name, low in self.there.items() if low.deleting]
            if going:
                self.end(going[at % len(going)])
        elif kind == "kube" and self.kube_events:
            self.kube_events.popleft()()
        elif kind == "extender" and self.extender_events:
            self.extender_events.popleft()()

    def evict(self, preemptor: str) -> None:
        if preemptor in self.unanswered:
            self.unanswered.remove(preemptor)
            del self.evictions[preemptor][0]
            if not self.evictions[preemptor]:
                del self.evictions[preemptor]
            return
        self.unanswered.add(preemptor)
        name = self.evictions[preemptor][0]
        self.evicted.add(name)
        if name in self.there and not self.there[name].deleting:
            self.there[name].deleting = True
            self.kube_events.append(lambda: setattr(self.kube[name], "deleting", True))
            self.extender_events.append(lambda: self._show_low(name) if name in self.there else None)

    def end(self, name: str) -> None:
        del self.there[name]

        def seen() -> None:
            del self.kube[name]
            self.asleep = {pod for pod in self.asleep if self.evicts(pod)}

        self.kube_events.append(seen)
        self.extender_events.append(lambda: self.cluster.cache.pod_gone(name))

    def evicts(self, name: str) -> bool:
        """Whether the kube-scheduler won't take the pod up, as it evicts for it still (`isRunningPreemption`).

        What happens in that time it never hears of.
        """
        left = self.evictions.get(name, [])
        return len(left) > 1 or any(not self.kube[victim].deleting for victim in left if victim in self.kube)

    def nominate(self, name: str, *, to_it: bool) -> None:
        if to_it != (name in self.nominated):
            (self.nominated.add if to_it else self.nominated.discard)(name)
            shown = self.document(name)
            self.extender_events.append(lambda: self.cluster.cache.pod_changed(api_objects.pod(shown)))

    def free(self, name: str, without: set[str]) -> int:
        """What the kube-scheduler counts as free for the pod."""
        lows = sum(self.size for low in self.kube if low not in without)
        others = sum(URGENT for other in self.nominated | self.bound.keys() if other != name)
        return GPUS * GPU - lows - others

    def attempt(self, name: str) -> None:
        self.asleep.add(name)
        if self.free(name, set()) >= URGENT:
            found = self.filtered(name)
            if found["NodeNames"]:
                self.bind(name)
            elif name not in self.nominated:
                if self.extender_events:
                    self.asleep.discard(name)  # some event of the cluster, which isn't played, has it tried again
            elif "FailedNodes" not in found:  # beyond help, and there is no other node
                self.nominate(name, to_it=False)
        elif name in self.nominated and any(low.deleting for low in self.kube.values()):
            pass  # it waits for one that leaves by preemption
        elif self.free(name, set(self.kube)) < URGENT:
            self.nominate(name, to_it=False)
        else:
            self.preempt(name)

    def filtered(self, name: str) -> wire.FilterResult:
        """As `scheduler.server` answers."""
        pod = self.document(name)

        def answer() -> wire.FilterResult:
            request = api_objects.request(pod)
            found = filter_prioritize.filter_nodes(self.fits, request, ["n"])
            cluster = self.cluster
            filter_prioritize.spare_waiting(cluster.cache.ledger, RULES, cluster.cache.waiting, found, pod, request)
            return found

        found = answer()
        if found["NodeNames"] or name not in self.nominated:
            return found
        for low in list(self.cluster.cache.ledger.bookings_on("n")):  # the node's pods are read
            if low in self.evicted:
                self._show_low(low) if low in self.there else self.cluster.cache.pod_gone(low)
        found = answer()
        if self.cluster.preemption.goes_on(name, "n"):
            filter_prioritize.keep_nomination(found, "n")
        return found

    def bind(self, name: str) -> None:
        cache = self.cluster.cache
        pod = self.document(name)
        request = api_objects.request(pod)
        node = cache.ledger.node("n")
        assert node is not None
        try:
            allocation = placement.place(node, request, RULES)
        except Unschedulable:
            return
        ((share,),) = allocation.containers.values()
        assert share.gpu not in self.bound.values()
        assert not any(f"g{low.gpu}" == share.gpu and low for low in self.there.values()), "given twice"
        cache.assume(name, f"default/{name}", request, allocation)
        self.bound[name] = share.gpu
        self.nominated.discard(name)
        pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] = allocations.dump(allocation)
        pod["spec"]["nodeName"] = "n"
        self.extender_events.append(lambda: cache.pod_changed(api_objects.pod(pod)))

    def preempt(self, name: str) -> None:
        victims: set[str] = set(self.kube)
        for low in sorted(self.kube, reverse=self.backwards):  # all run as long
            if self.free(name, victims - {low}) >= URGENT:
                victims.discard(low)
        offered: wire.MetaVictims = {"Pods": [{"UID": low} for low in victims], "NumPDBViolations": 0}
        pod = self.document(name)
        preemptor = Preemptor(pod, api_objects.request(pod))
        found = dict(self.cluster.preemption.choose(preemptor, {"n": offered}))["n"]
        if found is None:
            return
        if any(one["UID"] not in self.kube for one in found["Pods"]):
            self.asleep.discard(name)  # an error, after which it tries again
            return
        left = [one["UID"] for one in found["Pods"] if not self.kube[one["UID"]].deleting]
        if left:
            self.evictions[name] = left
        self.nominate(name, to_it=True)

    def settle(self) -> None:
        """Whatever is under way arrives, and each pod is tried whenever the kube-scheduler would."""
        for _ in range(200):
            for kind in ("evict", "end", "evict", "kube", "kube", "extender", "extender", "try"):
                self.act((kind, 0))


@pytest.mark.parametrize(("size", "urgent", "needed"), [(URGENT, 2, 2), (URGENT, 3, 3), (URGENT // 2, 2, 4)])
@settings(deadline=None)
@given(backwards=st.booleans(), steps=STEPS)
@example(backwards=False, steps=SWIFT)
def test_no_more_are_evicted_than_they_need(
    size: int, urgent: int, needed: int, backwards: bool, steps: list[Step]
) -> None:
    played = Played(size, urgent, backwards)
    for step in steps:
        played.act(step)
    played.settle()
    assert sorted(played.bound) == played.waiting, "all urgent pods run"
    assert len(played.evicted) == needed, played.evicted
