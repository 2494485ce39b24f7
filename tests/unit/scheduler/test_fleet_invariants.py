"""Any sequence of pods, nodes, faults, cordons, limits, shrinks, preemptions and restarts: nothing is given twice.

And everything comes back when pods end, or when their limits return to what was requested. UNIGPU_EXAMPLES says how
many sequences are tried.
"""

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from scheduler import wire
from scheduler.budget_cache import BudgetCache
from scheduler.preemption import Preemption, Preemptor
from tests.unit.scheduler.fleet_limits import RelimitedCluster
from tests.unit.scheduler.fleet_model import MEMORY, NODES, RULES, wishes
from unigpu.allocations import GpuUsage
from unigpu.requests import PodRequest


class Cluster(RelimitedCluster):
    """The played cluster, with preemptions, and what must hold after each step."""

    @rule(wish=wishes, priority=st.integers(1, 3), name=st.sampled_from(NODES))
    def preempt(self, wish: PodRequest, priority: int, name: str) -> None:
        """Victims are chosen on one node and end: then there is room, and each of them was needed."""
        wanted = self._pod("urgent", wish)
        wanted["spec"]["priority"] = priority
        budgets = BudgetCache()
        budgets.listed([])
        chooser = Preemption(self.cache, RULES, budgets, ())
        offered: wire.MetaVictims = {"Pods": [], "NumPDBViolations": 0}
        found = dict(chooser.choose(Preemptor(wanted, wish), {name: offered}))[name]
        lower = {
            uid
            for uid, booking in self.cache.ledger.confirmed_on(name).items()
            if booking.priority < priority and booking.evictee is not None
        }
        if found is None:
            assert self._fits(name, set(), wish) or not self._fits(name, lower, wish)
            return
        victims = [victim["UID"] for victim in found["Pods"]]
        assert set(victims) <= lower
        for uid in victims:
            assert not self._fits(name, set(victims) - {uid}, wish), "a victim that wasn't needed"
        for uid in victims:
            self._end(uid, gone=True)
        assert self._fits(name, set(), wish)

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


Cluster.TestCase.settings = settings(
    max_examples=int(os.environ.get("UNIGPU_EXAMPLES", "60")), stateful_step_count=40, deadline=None
)
TestCluster = Cluster.TestCase
