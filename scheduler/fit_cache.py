"""Remembers which nodes take a pod of a given shape, and checks again only those that have changed.

Pods come in few shapes, and few nodes change between two pods. So the answer for 5,000 nodes is mostly a look-up. A
shape that was never seen is checked against the headroom of all nodes, group by group. Only nodes for which that can't
decide are checked one by one, each kind of node once: two nodes with the same signature have one answer.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from unigpu import headroom, placement
from unigpu.headroom import Asked, Group, Headroom, Members, Never, Question, Reasons
from unigpu.ledger import CapacityLedger
from unigpu.placement import Effort, Reason, Rules
from unigpu.requests import PodRequest

MOST_SHAPES = 64
"""Shapes that are remembered, the latest."""
MOST_SIGNATURES = 50_000
"""Kinds of nodes whose answer is remembered for each shape."""
MOST_EFFORT = 100_000
"""Shares to look at for one answer, see `placement.Effort`. Nodes that are left count as taking no pod for now, and the
next question about the same shape goes on with them."""
POSTPONED = Reason(*["the pod's containers take long to place together, and this node wasn't looked at yet"] * 2)
FEW = 16
"""Up to that many failing nodes, each reason has the number of GPUs. With more, reasons have no numbers, so that equal
ones add up in the kube-scheduler's message."""

Shape = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """Nodes that take the pod, and nodes that don't with the reason, both in the order of the question."""

    fitting: list[str]
    failing: dict[str, str]


@dataclass(slots=True)
class _Table:
    """What is known of one shape."""

    pod: PodRequest
    stale: set[str]
    fitting: set[str] = field(default_factory=set)
    briefs: dict[str, str] = field(default_factory=dict)
    """Reasons of nodes that don't take the pod, as far as they were asked for."""
    grades: dict[str, int] = field(default_factory=dict)
    graded: set[str] = field(default_factory=set)
    """Nodes that have a grade; others count as if they would have to open a GPU."""
    asked: dict[Members, Asked] = field(default_factory=dict)
    phrases: dict[Reasons, str] = field(default_factory=dict)
    by_signature: dict[int, Reason | None] = field(default_factory=dict)


class FitCache:
    """Nodes that fit, for the latest shapes."""

    def __init__(self, ledger: CapacityLedger, rules: Rules) -> None:
        self._ledger = ledger
        self._rules = rules
        self._headroom = Headroom(rules.shares_per_gpu)
        self._stale = set(ledger.nodes())
        self._tables: OrderedDict[Shape, _Table] = OrderedDict()
        self._effort = Effort()
        ledger.watch(self._changed)

    def of(self, pod: PodRequest, names: Sequence[str]) -> Fit:
        """Return which of the nodes take the pod, and why the others don't."""
        self._effort = Effort()
        self._refresh()
        table = self._table(pod)
        if table.stale:
            self._renew(table, names)
        fitting = table.fitting
        chosen = [name for name in names if name in fitting]
        if len(chosen) == len(names):
            return Fit(chosen, {})
        failing = [name for name in names if name not in fitting]
        if len(failing) <= FEW:
            return Fit(chosen, {name: self._text(table, name) for name in failing})
        briefs = table.briefs
        missing = [name for name in failing if name not in briefs]
        if missing:
            self._add_briefs(table, missing)
        return Fit(chosen, {name: briefs[name] for name in failing})

    def grades(self, pod: PodRequest, names: Sequence[str]) -> list[int] | None:
        """Return for each of the nodes how well the pod would fit there, lower is better; see `headroom.grade`.

        Among nodes that would have to open a GPU, the fullest is the best. Return None if there is no grade for such a
        pod on any of the nodes.
        """
        self._effort = Effort()
        self._refresh()
        table = self._table(pod)
        if table.stale:
            self._renew(table, names)
        known = table.grades
        try:
            found = list(map(known.__getitem__, names))
        except KeyError:
            for name in names:
                if name not in known:
                    self._grade(table, name)
            found = list(map(known.__getitem__, names))
        return None if table.graded.isdisjoint(names) else found

    def _grade(self, table: _Table, name: str) -> None:
        members = self._headroom.of(name)
        grade = None
        if members is not None:
            asked = self._asked(table, members)
            grade = headroom.grade(members.group, members.room(name), asked, self._rules.shares_per_gpu)
        if grade is not None:
            table.graded.add(name)
        if grade is None or grade >= headroom.OPENS:
            (full,) = self._ledger.fullness((name,))
            grade = headroom.OPENS - full
        table.grades[name] = grade

    def _refresh(self) -> None:
        """Bring the headroom of changed nodes up to date."""
        while self._stale:
            name = self._stale.pop()
            self._headroom.update(name, self._ledger.node(name))

    def _table(self, pod: PodRequest) -> _Table:
        shape = shape_of(pod)
        table = self._tables.get(shape)
        if table is None:
            table = self._tables[shape] = self._new_table(pod)
            if len(self._tables) > MOST_SHAPES:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(shape)
        return table

    def _new_table(self, pod: PodRequest) -> _Table:
        """Return what the headroom says of this shape; the nodes that it leaves open are stale."""
        table = _Table(pod, set())
        for members in self._headroom.groups.values():
            question = self._asked(table, members)
            if question is None:
                table.stale.update(members.names)
            elif isinstance(question, Never):
                table.briefs |= headroom.never_briefs(members, pod, question)
            else:
                taking = headroom.taking(members, question)
                table.fitting.update(taking)
                if not question.exact and len(taking) < len(members.names):
                    table.stale.update(set(members.names).difference(taking))
        named = self._named(pod)
        table.fitting -= named
        table.stale |= named
        for name in named & table.briefs.keys():
            del table.briefs[name]
        return table

    def _renew(self, table: _Table, names: Sequence[str]) -> None:
        """Find out which of the nodes in question take the pod, as far as that isn't known."""
        stale = table.stale
        asked: Iterable[str] = tuple(stale) if len(stale) <= len(names) else stale.intersection(names)
        named = self._named(table.pod)
        for name in asked:
            stale.discard(name)
            table.briefs.pop(name, None)
            table.grades.pop(name, None)
            table.graded.discard(name)
            takes = self._takes(table, name, name in named)
            if takes:
                table.fitting.add(name)
                continue
            table.fitting.discard(name)
            if takes is None:
                stale.add(name)

    def _takes(self, table: _Table, name: str, named: bool) -> bool | None:
        """Whether a node takes the pod; None: it wasn't looked at, for that would take too long now."""
        members = self._headroom.of(name)
        if members is None:
            return False
        if not named:
            question = self._asked(table, members)
            if isinstance(question, Never):
                return False
            if question is not None:
                found = headroom.has(members.room(name), question)
                if found or question.exact:
                    return found
        reason = self._reason(table, name)
        return None if reason is POSTPONED else reason is None

    def _asked(self, table: _Table, members: Members) -> Asked:
        known = table.asked.get(members)
        if known is None and members not in table.asked:
            known = table.asked[members] = headroom.question(table.pod, members.group)
        return known

    def _named(self, pod: PodRequest) -> set[str]:
        """Return the nodes with GPUs that the pod names by UUID."""
        preferences = pod.preferences
        return self._headroom.owners((*preferences.use_uuids, *preferences.avoid_uuids))

    def _text(self, table: _Table, name: str) -> str:
        reason = self._reason(table, name)
        assert reason is not None, f"node {name} takes the pod after all"
        return reason.text

    def _add_briefs(self, table: _Table, names: Iterable[str]) -> None:
        """Note the brief reasons of nodes that don't take the pod."""
        named = self._named(table.pod)
        phrases, briefs = table.phrases, table.briefs
        for name in names:
            members = self._headroom.of(name)
            if members is None:
                briefs[name] = placement.NO_GPUS.brief
                continue
            question = self._asked(table, members)
            if question is None or not _worded(members.group, question) or name in named:
                reason = self._reason(table, name)
                assert reason is not None, f"node {name} takes the pod after all"
                briefs[name] = reason.brief
                continue
            if isinstance(question, Never) and question.text:
                briefs[name] = question.text
                continue
            reasons = headroom.why_not(members.room(name), question)
            if reasons not in phrases:
                phrases[reasons] = headroom.brief(table.pod, reasons)
            briefs[name] = phrases[reasons]

    def _reason(self, table: _Table, name: str) -> Reason | None:
        node = self._ledger.node(name)
        if node is None:
            return placement.NO_GPUS
        preferences = table.pod.preferences
        late = self._effort.spent >= MOST_EFFORT and len(table.pod.containers) > 1
        if preferences.use_uuids or preferences.avoid_uuids:
            return POSTPONED if late else placement.reason(node, table.pod, self._rules, self._effort)
        signature = self._ledger.signature(name)
        if signature not in table.by_signature:
            if late:
                return POSTPONED
            if len(table.by_signature) > MOST_SIGNATURES:
                table.by_signature.clear()
            table.by_signature[signature] = placement.reason(node, table.pod, self._rules, self._effort)
        return table.by_signature[signature]

    def _changed(self, name: str) -> None:
        self._stale.add(name)
        for table in self._tables.values():
            table.stale.add(name)


def _worded(group: Group, question: Question | Never) -> bool:
    """Return whether the headroom knows the reason too, not only that there is one."""
    return isinstance(question, Never) or (question.exact and group.model is not None)


def shape_of(pod: PodRequest) -> Shape:
    """Return the parts of a pod that decide where it fits. Containers' names are in it because reasons name them."""
    preferences = pod.preferences
    return (
        preferences.gpu_policy,
        preferences.use_types,
        preferences.avoid_types,
        preferences.use_uuids,
        preferences.avoid_uuids,
        *(
            (name, request.gpus, request.memory, request.memory_percent, request.cores, request.whole, request.role)
            for name, request in pod.containers.items()
        ),
    )
