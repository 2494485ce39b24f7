"""The cluster's pod disruption budgets, kept current by list-and-watch."""

from collections.abc import Iterable, Sequence

from unigpu.budgets import Budget
from unigpu_kube.objects import Ref


class BudgetCache:
    """Budgets by namespace."""

    def __init__(self) -> None:
        self.known = False
        """Whether they have been listed."""
        self._budgets: dict[str, dict[str, Budget]] = {}

    def listed(self, budgets: Iterable[Budget]) -> None:
        """Take over all budgets that there are."""
        self._budgets.clear()
        for budget in budgets:
            self.changed(budget)
        self.known = True

    def changed(self, budget: Budget) -> None:
        """Take over a budget that is new or has changed."""
        self._budgets.setdefault(budget.namespace, {})[budget.name] = budget

    def gone(self, ref: Ref) -> None:
        """Forget a budget."""
        self._budgets.get(ref.namespace, {}).pop(ref.name, None)

    def of(self, namespace: str) -> Sequence[Budget]:
        """Return the budgets of a namespace."""
        found = self._budgets.get(namespace)
        return list(found.values()) if found else ()
