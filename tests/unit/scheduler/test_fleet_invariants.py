"""Any sequence of pods, nodes, faults, cordons, limits, shrinks, preemptions and restarts: nothing is given twice.

And everything comes back when pods end, or when their limits return to what was requested.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler import wire
from scheduler.budget_cache import BudgetCache
from scheduler.cache import ClusterCache
from scheduler.fit_cache import FitCache
from scheduler.preemption import Preemption, Preemptor
from unigpu import (
    allocations,
    api_objects,
    cordons,
    gpus,
    limits,
    lowering,
    names,
    placement,
    requests,
    shrinks,
)
from unigpu.allocations import Allocation, GpuUsage
from unigpu.cordons import Cordon
from unigpu.cover import Steps
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.limits import Applied, Limit
from unigpu.lowering import Amounts, Lowerable
from unigpu.placement import Rules
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules(shares_per_gpu=3)
NODES = ("n0", "n1", "n2")
LIMITS = names.ANNOTATION_LIMITS
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


class Cluster(RuleBasedStateMachine):
    """An API server that is played by two dictionaries, and the extender's memory, which can be lost at any time."""

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

    @precondition(lambda self: self._bound())
    @rule(
        data=st.data(),
        memory=st.sampled_from([None, *map(MiB, (5, 30, 60, 90))]),
        cores=st.sampled_from([None, *map(Percent, (10, 50, 90))]),
    )
    def limits_are_changed(self, data: st.DataObject, memory: MiB | None, cores: Percent | None) -> None:
        """Somebody lowers or raises limits; a raise that has no room is refused, as the webhook does."""
        uid = data.draw(st.sampled_from(self._bound()))
        name = data.draw(st.sampled_from(sorted(self.requests[uid].containers)))
        request, limit = self.requests[uid].containers[name], Limit(memory, cores)
        if not limits.problems(name, request, limit):
            self._write_limits(uid, limits.dump({name: limit}))

    @precondition(lambda self: self._bound())
    @rule(data=st.data())
    def limits_return_to_the_request(self, data: st.DataObject) -> None:
        self._write_limits(data.draw(st.sampled_from(self._bound())), None)

    @precondition(lambda self: self._bound())
    @rule(data=st.data(), holds=st.integers(0, 100))
    def limits_come_into_force(self, data: st.DataObject, holds: int) -> None:
        """The node agent reports; of what a container may have had before, it may still hold some."""
        uid = data.draw(st.sampled_from(self._bound()))
        pod = self.pods[uid]
        annotations = pod["metadata"]["annotations"]
        containers = self.requests[uid].containers
        wanted = limits.from_annotations(annotations, containers)
        allocation = allocations.load(annotations[names.ANNOTATION_ALLOCATION])
        counted, _ = limits.accounted(allocation, containers, annotations)
        held = {}
        for name, before in counted.containers.items():
            after = limits.shares(containers[name], allocation.containers[name], wanted.get(name))
            over = {
                new.gpu: MiB(min(old.memory, holds))
                for new, old in zip(after, before, strict=True)
                if not new.whole and min(old.memory, holds) > new.memory > 0
            }
            held.update({name: over} if over else {})
        annotations[names.ANNOTATION_LIMITS_APPLIED] = limits.dump_applied(Applied(wanted, held))
        self.cache.pod_changed(api_objects.pod(pod))

    @rule(wish=wishes, priority=st.integers(1, 3), name=st.sampled_from(NODES))
    def preempt(self, wish: PodRequest, priority: int, name: str) -> None:
        """Victims are chosen on one node and end: then there is room, and each of them was needed."""
        wanted = self._pod("urgent", wish)
        wanted["spec"]["priority"] = priority
        budgets = BudgetCache()
        budgets.listed([])
        chooser = Preemption(self.cache.ledger, RULES, self.cache.waiting, budgets, ())
        offered: wire.MetaVictims = {"Pods": [], "NumPDBViolations": 0}
        found = dict(chooser.choose(Preemptor(wanted, wish), {name: offered}))[name]
        lower = {
            uid
            for uid, booking in self.cache.ledger.confirmed_on(name).items()
            if booking.priority < priority and booking.evictee is not None
        }
        if found is None:
            assert not self._fits(name, lower, wish)
            return
        victims = [victim["UID"] for victim in found["Pods"]]
        assert set(victims) <= lower
        for uid in victims:
            assert not self._fits(name, set(victims) - {uid}, wish), "a victim that wasn't needed"
        for uid in victims:
            self._end(uid, gone=True)
        assert self._fits(name, set(), wish)

    @precondition(lambda self: self._bound())
    @rule(data=st.data(), wish=st.none() | wishes, priority=st.sampled_from([3, 2, 1]), more=st.integers(1, 40))
    def shrink(self, data: st.DataObject, wish: PodRequest | None, priority: int, more: int) -> None:
        """Limits are lowered on one node and come into force: then there is room, and each of them was needed.

        Without a wish, a share is wanted that is somewhat larger than what any GPU of the node has free.
        """
        uid = data.draw(st.sampled_from(self._bound()))
        name = self.pods[uid]["spec"]["nodeName"]
        node = self.cache.ledger.node(name)
        if node is None or not node.gpus:
            return
        if wish is None:
            free = max(MEMORY - state.taken.memory for state in node.gpus)
            wish = PodRequest({"c0": Request(1, MiB(min(MEMORY, free + more)), cores=Percent(more))})
        offered = [one for uid in self._bound() for one in self._lowerable(data, uid, name)]
        able = shrinks.givers(offered, self.cache.ledger.bookings_on(name), priority)
        plan = shrinks.plan(wish, RULES, node, able, Steps(5000))
        if plan is None:
            return
        assert (not plan.lowered) == self._fits(name, set(), wish)
        for one, to in plan.lowered:
            assert one.least.memory <= to.memory <= one.now.memory
            assert one.least.cores <= to.cores <= one.now.cores
            assert self.pods[one.pod]["spec"]["priority"] < priority
        by_pod: dict[str, dict[str, Amounts]] = {}
        for one, to in plan.lowered:
            by_pod.setdefault(one.pod, {})[one.container] = to
        for number, (uid, to_amounts) in enumerate(by_pod.items()):
            assert not self._fits(name, set(), wish), "a pod whose limits needn't have been lowered"
            annotations = self.pods[uid]["metadata"]["annotations"]
            changed = lowering.lower(annotations, self.requests[uid].containers, to_amounts, "default/urgent", number)
            assert changed is not None
            annotations |= changed
            wanted = limits.from_annotations(annotations, self.requests[uid].containers)
            annotations[names.ANNOTATION_LIMITS_APPLIED] = limits.dump_applied(Applied(wanted))
            self.cache.pod_changed(api_objects.pod(self.pods[uid]))
        assert self._fits(name, set(), wish)

    @precondition(lambda self: self._lowered())
    @rule(data=st.data())
    def limits_are_given_back(self, data: st.DataObject) -> None:
        """The node agent raises what was lowered; where the webhook sees no room, nothing changes."""
        uid = data.draw(st.sampled_from(self._lowered()))
        record = lowering.record(self.pods[uid]["metadata"]["annotations"])
        assert record is not None
        self._write_limits(uid, record.before)
        annotations = self.pods[uid]["metadata"]["annotations"]
        if annotations.get(LIMITS) == record.before:
            del annotations[names.ANNOTATION_LOWERED]
            self.cache.pod_changed(api_objects.pod(self.pods[uid]))

    def _lowerable(self, data: st.DataObject, uid: str, name: str) -> list[Lowerable]:
        """What a node agent may offer of a pod: its limits are in force, and it holds some of them."""
        annotations, containers = self.pods[uid]["metadata"]["annotations"], self.requests[uid].containers
        allocation = allocations.load(annotations[names.ANNOTATION_ALLOCATION])
        wanted = limits.from_annotations(annotations, containers)
        applied = limits.load_applied(annotations.get(names.ANNOTATION_LIMITS_APPLIED))
        settled = limits.dump(wanted) == limits.dump(applied.limits) and not applied.held
        if allocation.node != name or not settled or any(one.role is Role.INIT for one in containers.values()):
            return []
        found = []
        for container, request in containers.items():
            now = limits.shares(request, allocation.containers[container], wanted.get(container))
            if request.whole or not any(share.memory for share in now):
                continue
            soft = request.policy is ComputePolicy.SOFT and now[0].cores
            cores = data.draw(st.sampled_from([1, now[0].cores])) if soft else now[0].cores
            kept = data.draw(st.sampled_from([1, 2, 3, 4]))
            least = Amounts(MiB(max(1, now[0].memory * kept // 4)), Percent(cores))
            gpus_of = tuple(share.gpu for share in now)
            found.append(Lowerable(uid, container, gpus_of, Amounts(now[0].memory, now[0].cores), least))
        return found

    def _lowered(self) -> list[str]:
        """Pods whose limits are lower than they were."""
        return [uid for uid in self._bound() if lowering.record(self.pods[uid]["metadata"]["annotations"]) is not None]

    def _fits(self, name: str, gone: set[str], wish: PodRequest) -> bool:
        node = self.cache.ledger.without(name, gone)
        return node is not None and placement.reason(node, wish, RULES) is None

    def _bound(self) -> list[str]:
        """Pods that the API server shows as bound, and the extender knows to be."""
        return sorted(uid for uid, pod in self.pods.items() if pod["spec"].get("nodeName") and uid not in self.pending)

    def _write_limits(self, uid: str, text: str | None) -> None:
        pod = self.pods[uid]
        changed = {key: value for key, value in pod["metadata"]["annotations"].items() if key != LIMITS}
        changed |= {} if text is None else {LIMITS: text}
        before = dict(pod["metadata"]["annotations"])
        pod["metadata"]["annotations"] = changed
        if self._over():
            pod["metadata"]["annotations"] = before
        self.cache.pod_changed(api_objects.pod(pod))

    def _over(self) -> bool:
        return any(
            sum(use.memory for use in uses) > MEMORY or sum(use.cores for use in uses) > 100
            for uses in self._uses().values()
        )

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

    @invariant()
    def no_gpu_is_over_what_it_has(self) -> None:
        assert self.cache.ledger.overbooked() == []
        for uuid, uses in self._uses().items():
            assert sum(use.memory for use in uses) <= MEMORY, uuid
            assert sum(use.cores for use in uses) <= 100, uuid
            assert sum(use.shares for use in uses) <= RULES.shares_per_gpu, uuid
            assert len(uses) == 1 or not any(use.whole for use in uses), uuid

    @invariant()
    def the_ledger_equals_the_annotations(self) -> None:
        booked = {uid: (booking.node, dict(booking.uses)) for uid, booking in self.cache.ledger.bookings()}
        assert booked == self._truth()

    @invariant()
    def each_node_has_taken_what_its_pods_take(self) -> None:
        uses = self._uses()
        for name in self.cache.ledger.nodes():
            node = self.cache.ledger.node(name)
            assert node is not None
            for state in node.gpus:
                here = uses.get(state.gpu.uuid, [])
                assert state.taken.memory == sum(use.memory for use in here)
                assert state.taken.shares == sum(use.shares for use in here)
                assert state.cordoned == (state.gpu.uuid in self._cordoned(name))

    def teardown(self) -> None:
        for uid in list(self.pods):
            self._end(uid, gone=True)
        self.list_again()
        assert list(self.cache.ledger.bookings()) == []
        assert (self.cache.ledger.pods, self.cache.ledger.assumed) == (0, 0)
        for name in self.cache.ledger.nodes():
            node = self.cache.ledger.node(name)
            assert node is not None
            assert all(state.taken == GpuUsage() for state in node.gpus)

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


Cluster.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCluster = Cluster.TestCase
