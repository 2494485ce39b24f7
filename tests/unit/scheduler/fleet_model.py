"""A cluster for property tests: an API server that is played by two dictionaries, and the extender's memory of it.

Nodes join, leave and change; pods are placed, bound and end; the extender is killed and its watches expire.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from scheduler.cache import ClusterCache
from scheduler.fit_cache import FitCache
from unigpu import (
    allocations,
    api_objects,
    cordons,
    gpus,
    limits,
    names,
    placement,
    requests,
)
from unigpu.allocations import Allocation, GpuUsage
from unigpu.cordons import Cordon
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules(shares_per_gpu=3)
NODES = ("n0", "n1", "n2")
MEMORY = MiB(100)
Json = dict[str, Any]

shares = st.builds(
    Request,
    gpus=st.integers(1, 2),
    memory=st.sampled_from([MiB(0), MiB(10), MiB(40), MiB(70)]),
    cores=st.sampled_from([Percent(0), Percent(30), Percent(60)]),
    role=st.sampled_from(Role),
)
wholes = st.builds(Request, gpus=st.integers(1, 2), whole=st.just(True), role=st.sampled_from(Role))
wishes = st.lists(shares | wholes, min_size=1, max_size=3).map(
    lambda found: PodRequest({f"c{number}": one for number, one in enumerate(_main_last(found))})
)
running = st.builds(
    Request,
    gpus=st.integers(1, 2),
    memory=st.sampled_from([MiB(20), MiB(40), MiB(70)]),
    cores=st.sampled_from([Percent(0), Percent(30), Percent(60)]),
    policy=st.just(ComputePolicy.SOFT),
    ceiling=st.just(Percent(100)),
).map(lambda request: PodRequest({"c0": request}))


def _main_last(found: list[Request]) -> list[Request]:
    return sorted(found, key=lambda one: one.role is Role.MAIN)


class PlayedCluster(RuleBasedStateMachine):
    """What happens to nodes and pods. The extender's memory can be lost at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.requests: dict[str, PodRequest] = {}
        self.pending: dict[str, tuple[Booking, Allocation]] = {}
        self.number = 0
        self.restart()

    @initialize()
    def start(self) -> None:
        for name in NODES:
            self.add_node(name, 2, set())

    @rule(name=st.sampled_from(NODES), count=st.integers(0, 3), unhealthy=st.sets(st.integers(0, 2)))
    def add_node(self, name: str, count: int, unhealthy: set[int]) -> None:
        """A node joins, or gains or loses GPUs or their health."""
        node_gpus = [
            Gpu(GpuUuid(f"{name}-{index}"), index, index, "X", MEMORY, index not in unhealthy) for index in range(count)
        ]
        node = self.nodes.setdefault(name, {"metadata": {"name": name, "annotations": {}}})
        node["metadata"]["annotations"][names.ANNOTATION_INVENTORY] = gpus.dump(node_gpus)
        self.cache.node_changed(api_objects.node(node))

    @rule(name=st.sampled_from(NODES))
    def remove_node(self, name: str) -> None:
        if self.nodes.pop(name, None) is not None:
            self.cache.node_gone(name)

    @rule(name=st.sampled_from(NODES), index=st.integers(0, 2), readable=st.booleans())
    def cordon(self, name: str, index: int, readable: bool) -> None:
        if name in self.nodes:
            text = cordons.dump({GpuUuid(f"{name}-{index}"): Cordon("test")}) if readable else "?"
            self.nodes[name]["metadata"]["annotations"][names.ANNOTATION_CORDONED] = text
            self.cache.node_changed(api_objects.node(self.nodes[name]))

    @rule(name=st.sampled_from(NODES))
    def uncordon(self, name: str) -> None:
        if name in self.nodes:
            self.nodes[name]["metadata"]["annotations"].pop(names.ANNOTATION_CORDONED, None)
            self.cache.node_changed(api_objects.node(self.nodes[name]))

    @rule(found=st.lists(wishes, min_size=1, max_size=6))
    def create_and_assume(self, found: list[PodRequest]) -> None:
        """Pods are filtered one after the other, and the binding of each to the first node that fits is sent."""
        for wish in found:
            self._place(wish)

    @rule(found=st.lists(running, min_size=1, max_size=6))
    def create_and_bind(self, found: list[PodRequest]) -> None:
        """Pods are bound, and the watch shows each before the next one: a cluster that is in use."""
        for wish in found:
            before = set(self.pending)
            self._place(wish)
            for uid in self.pending.keys() - before:
                self._bind(uid)
                del self.pending[uid]
                self.cache.pod_changed(api_objects.pod(self.pods[uid]))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), shown=st.booleans())
    def binding_is_written(self, data: st.DataObject, shown: bool) -> None:
        """The API server carries out a binding; the watch shows it now, or not before the next list."""
        uid = data.draw(st.sampled_from(sorted(self.pending)))
        self._bind(uid)
        if shown:
            del self.pending[uid]
            self.cache.pod_changed(api_objects.pod(self.pods[uid]))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def binding_is_refused(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.pending)))
        if not self.pods[uid]["spec"].get("nodeName"):
            booking, _ = self.pending.pop(uid)
            del self.pods[uid]
            self.cache.withdraw(uid, booking)

    @precondition(lambda self: self.pods)
    @rule(data=st.data(), gone=st.booleans())
    def pod_ends(self, data: st.DataObject, gone: bool) -> None:
        uid = data.draw(st.sampled_from(sorted(self.pods)))
        self._end(uid, gone)

    @rule()
    def list_again(self) -> None:
        """The watches expire: nodes and pods are listed; bindings that the list doesn't show are asked for."""
        self.cache.nodes_listed([api_objects.node(node) for node in self.nodes.values()])
        facts, unreadable = api_objects.pods(self.pods.values())
        assert not unreadable
        self.cache.pods_listed(facts)
        for uid in [uid for uid in self.pending if self.pods[uid]["spec"].get("nodeName")]:
            del self.pending[uid]

    @rule()
    def restart(self) -> None:
        """The extender is killed: bindings that weren't written never will be."""
        for uid in [uid for uid in self.pending if not self.pods[uid]["spec"].get("nodeName")]:
            del self.pods[uid]
        self.pending.clear()
        self.cache = ClusterCache(CapacityLedger())
        self.fits = FitCache(self.cache.ledger, RULES)
        self.list_again()

    def _bind(self, uid: str) -> None:
        """The API server carries out the binding."""
        _, allocation = self.pending[uid]
        self.pods[uid]["spec"]["nodeName"] = allocation.node
        self.pods[uid]["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] = allocations.dump(allocation)

    def _place(self, wish: PodRequest) -> None:
        fitting = self.fits.of(wish, NODES).fitting
        closed = {name: self._closed(name) for name in NODES}
        for name in fitting:
            node = self.cache.ledger.node(name)
            assert node is not None
            allocation = placement.place(node, wish, RULES)
            chosen = {share.gpu for parts in allocation.containers.values() for share in parts}
            assert not chosen & closed[name], "nothing new on a cordoned or unhealthy GPU"
            uid = f"u{self.number}"
            self.number += 1
            self.requests[uid] = wish
            self.pods[uid] = self._pod(uid, wish)
            self.pending[uid] = (self.cache.assume(uid, f"default/{uid}", wish, allocation), allocation)
            return

    def _end(self, uid: str, gone: bool) -> None:
        self.pending.pop(uid, None)
        pod = self.pods.pop(uid)
        if gone:
            self.cache.pod_gone(uid)
        else:
            pod["status"] = {"phase": "Succeeded"}
            self.cache.pod_changed(api_objects.pod(pod))

    def _pod(self, uid: str, wish: PodRequest) -> Json:
        return {
            "metadata": {
                "name": uid,
                "namespace": "default",
                "uid": uid,
                "annotations": {names.ANNOTATION_REQUEST: requests.dump(wish)},
            },
            "spec": {"containers": [{"name": name} for name in wish.containers], "priority": self.number % 3},
        }

    def _fits(self, name: str, gone: set[str], wish: PodRequest) -> bool:
        node = self.cache.ledger.without(name, gone)
        return node is not None and placement.reason(node, wish, RULES) is None

    def _bound(self) -> list[str]:
        """Pods that the API server shows as bound, and the extender knows to be."""
        return sorted(uid for uid, pod in self.pods.items() if pod["spec"].get("nodeName") and uid not in self.pending)

    def _truth(self) -> dict[str, tuple[str, dict[GpuUuid, GpuUsage]]]:
        """What each pod takes, by its annotation, or by the binding that was sent for it."""
        found = {}
        for uid, pod in self.pods.items():
            text = pod["metadata"]["annotations"].get(names.ANNOTATION_ALLOCATION)
            allocation = self.pending[uid][1] if text is None else allocations.load(text)
            allocation, ignored = limits.accounted(
                allocation, self.requests[uid].containers, pod["metadata"]["annotations"]
            )
            assert not ignored
            roles = {name: one.role for name, one in self.requests[uid].containers.items()}
            found[uid] = (allocation.node, allocations.pod_usage(allocation, roles))
        return found

    def _uses(self) -> dict[GpuUuid, list[GpuUsage]]:
        found: dict[GpuUuid, list[GpuUsage]] = {}
        for _, uses in self._truth().values():
            for uuid, use in uses.items():
                found.setdefault(uuid, []).append(use)
        return found

    def _cordoned(self, name: str) -> set[str]:
        text = self.nodes[name]["metadata"]["annotations"].get(names.ANNOTATION_CORDONED)
        return {f"{name}-{index}" for index in range(3)} if text == "?" else set(cordons.load(text))

    def _closed(self, name: str) -> set[str]:
        if name not in self.nodes:
            return set()
        found = gpus.load(self.nodes[name]["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
        return self._cordoned(name) | {gpu.uuid for gpu in found if not gpu.healthy}
