"""Limits that change in a played cluster: by their owners, and lowered to make room for a more important pod."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.unit.scheduler.fleet_model import MEMORY, RULES, PlayedCluster, wishes
from unigpu import allocations, api_objects, limits, lowering, names, shrinks
from unigpu.cover import Steps
from unigpu.limits import Applied, Limit
from unigpu.lowering import Amounts, Lowerable
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import MiB, Percent

LIMITS = names.ANNOTATION_LIMITS


class RelimitedCluster(PlayedCluster):
    """A played cluster whose pods' limits change while they run."""

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
