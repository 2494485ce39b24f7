"""The owner of the node's grants."""

import dataclasses
import time

from deviceplugin.allocation.grant_ledger import GrantLedger
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.units import GpuUuid, MiB, Percent

GPU = GpuUuid("GPU-a")
GRANT = Grant("default", "p", "u", "main", ("slot-0000",), (Share(GPU, MiB(100), Percent(10)),), {GPU: 0}, True, "hami")
KEY = ("u", "main")


def test_enter_amend_and_remove() -> None:
    ledger = GrantLedger({})
    before = time.time()
    ledger.enter(GRANT)
    stored = ledger.get(KEY)
    assert stored is not None
    assert (stored.grant, before <= stored.prepared <= time.time()) == (GRANT, True)
    ledger.amend(KEY, changes=3)
    ledger.amend(("u", "other"), changes=4)
    amended = dataclasses.replace(GRANT, changes=3)
    assert ledger.grants() == [amended]
    assert ledger.of_pod("u") == {"main": dataclasses.replace(stored, grant=amended)}
    assert ledger.of_pod("v") == {}
    removed = ledger.remove(KEY)
    assert removed is not None
    assert (removed.grant, ledger.remove(KEY), len(ledger)) == (amended, None, 0)


def test_memory_in_use_beyond_the_grant_counts_until_it_is_free() -> None:
    ledger = GrantLedger({})
    ledger.enter(GRANT)
    ledger.set_overuse(KEY, {GPU: MiB(300)})
    assert [share.memory for grant in ledger.counted() for share in grant.shares] == [300]
    assert [share.memory for grant in ledger.grants() for share in grant.shares] == [100]
    ledger.set_overuse(KEY, {})
    assert ledger.counted() == [GRANT]
    ledger.set_overuse(KEY, {GPU: MiB(300)})
    ledger.remove(KEY)
    ledger.enter(GRANT)
    assert ledger.counted() == [GRANT]
