"""The loop that tells the node's containers what they may use of their GPUs at the moment.

It runs on a thread of its own: a container that comes back waits for this loop, and the agent's event loop may be busy
for longer than that with a hundred pods that start. What is decided is in unigpu.lending; what is told holds for a
second only (unigpu.policy), so that nothing is lent for ever when this ends.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from deviceplugin.accounts import Account
from unigpu import errors, lending, logs
from unigpu.units import GpuUuid

logger = logging.getLogger(__name__)

PACE = 0.05
"""Seconds between two looks while somebody works on a shared GPU, and somebody may be lent to or has to yield."""
PACE_TO_KNOW = 0.1
"""The same where there isn't, and only what the others use is told."""
READY = 0.2
"""The same while nobody works, where there is somebody to lend to or who must yield."""
REST = 0.5
"""The same where there isn't."""
MOST_OF_A_CORE = 0.018
"""What the loop may cost. With so many containers that it would cost more it looks less often,"""
SLOWEST = 0.1
"""but no less often than after so many seconds."""
_AVERAGE = 20
"""Looks over which its cost is averaged."""
SHORTEST_NS = 20_000_000
"""Between two looks: in less, too little happens to tell."""
CALM_NS = 1_000_000_000
"""How long nobody must have worked before the slower pace."""
RENEW_NS = 5_000_000_000
"""Between two looks whether the open files are still those in the folders; the agent tells of its own changes."""


class Lender:
    """Watches the accounts of the containers that it was told of."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock` must be CLOCK_MONOTONIC, which containers read too."""
        self._clock = clock
        self._wake = threading.Event()
        self._stop = False
        self._folders: frozenset[Path] = frozenset()
        self._round = Round(clock)

    def see(self, folders: Iterable[Path]) -> None:
        """These are the containers' folders now, or one of them changed."""
        self._folders = frozenset(folders)
        self._wake.set()

    async def lend(self) -> None:
        """Never ends by itself."""
        ended = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                self._run()
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, ended, error)

        thread = threading.Thread(target=work, name="lender", daemon=True)
        thread.start()
        try:
            await ended
        finally:
            self._stop = True
            self._wake.set()
            thread.join()

    def _run(self) -> None:
        try:
            cost = 0.0
            while not self._stop:
                self._wake.clear()
                began = time.thread_time()
                pace = self._round.look(self._folders)
                cost += (time.thread_time() - began - cost) / _AVERAGE
                self._wake.wait(pace if pace is None else max(pace, min(cost / MOST_OF_A_CORE, SLOWEST)))
        finally:
            self._round.close()


def _fail(ended: asyncio.Future[None], error: BaseException) -> None:
    if not ended.done():
        ended.set_exception(error)


class Round:
    """All accounts and GPUs; a look at a time."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._folders: frozenset[Path] = frozenset()
        self._accounts: dict[Path, Account] = {}
        self._problems: dict[Path, str] = {}
        """Why a folder's files can't be used."""
        self._gpus: list[_Gpu] = []
        """Those that several containers share."""
        self._looked_ns = clock() - SHORTEST_NS
        self._worked_ns = 0
        self._renewed_ns = 0

    def look(self, folders: frozenset[Path]) -> float | None:
        """Read the accounts, tell what follows; seconds until the next look, None: there is nothing to look at.

        `folders` are the containers'; another object of the same says that files or policies in them may have changed.
        """
        now_ns = self._clock()
        if folders is not self._folders or now_ns - self._renewed_ns > RENEW_NS:
            self._folders, self._renewed_ns = folders, now_ns
            self._renew()
        if now_ns - self._looked_ns < SHORTEST_NS:
            return PACE
        damaged = [(path, error) for path, account in self._accounts.items() if (error := account.look()) is not None]
        for path, error in damaged:
            self._drop(path, error)
        if damaged:
            self._seat()
        if not self._accounts:
            return REST if self._problems else None
        elapsed_ns, self._looked_ns = now_ns - self._looked_ns, now_ns
        works = [gpu.look(elapsed_ns) for gpu in self._gpus]
        if any(works):
            self._worked_ns = now_ns
        for account in self._accounts.values():
            account.seen(now_ns)
        lends = any(gpu.lends for gpu in self._gpus)
        if now_ns - self._worked_ns < CALM_NS:
            return PACE if lends else PACE_TO_KNOW
        return READY if lends else REST

    def close(self) -> None:
        """Let all files go."""
        for account in self._accounts.values():
            account.close()
        self._accounts.clear()
        self._gpus = []

    def _renew(self) -> None:
        """Open what came, close what went or is another file now, read the policies that changed."""
        moved = False
        for path in [path for path, account in self._accounts.items() if not account.current()]:
            self._accounts.pop(path).close()
            moved = True
        for path in [path for path in self._accounts if path not in self._folders]:
            self._accounts.pop(path).close()
            moved = True
        self._problems = {path: problem for path, problem in self._problems.items() if path in self._folders}
        for path in self._folders:
            try:
                if path not in self._accounts:
                    self._accounts[path] = Account(path)
                moved |= self._accounts[path].learn()
                self._problems.pop(path, None)
            except (OSError, errors.Malformed) as error:
                moved |= self._drop(path, error)
        if moved:
            self._seat()

    def _drop(self, path: Path, error: Exception) -> bool:
        """Go on without the container, and look at it again later; True where it was open."""
        if self._problems.get(path) != str(error) and not isinstance(error, FileNotFoundError):
            logs.event(logger, "account can't be used", logging.WARNING, folder=path, error=error)
        self._problems[path] = str(error)
        account = self._accounts.pop(path, None)
        if account is not None:
            account.close()
        return account is not None

    def _seat(self) -> None:
        """Who is on which GPU, and on which of them there is something to tell."""
        members: dict[GpuUuid, list[tuple[Account, int]]] = {}
        for account in self._accounts.values():
            for place, gpu in enumerate(account.gpus):
                members.setdefault(gpu, []).append((account, place))
        gpus = [_Gpu(seated) for seated in members.values()]
        self._gpus = [gpu for gpu in gpus if gpu.shared]
        # Who is alone on a GPU isn't looked at again: nothing that it does changes what it may have.
        for shared in gpus:
            shared.look(0)


class _Gpu:
    """A GPU and its containers, each with the GPU's place in its policy."""

    def __init__(self, members: list[tuple[Account, int]]) -> None:
        self._members = [(account, place, account.claimants[place].most) for account, place in members]
        self._seats = [account.claimants[place] for account, place in members]
        self._wishes: list[float] | None = None
        self._said: list[float] = [0.0] * len(members)
        self._at_rest = [lending.IDLE] * len(members)
        self.lends = lending.lends(self._seats)
        self.shared = len(members) > 1

    def look(self, elapsed_ns: int) -> bool:
        """Tell each container what follows from what all were seen to do; whether anybody works."""
        estimates = []
        for account, place, most in self._members:
            estimate = lending.update_activity(
                account.estimates[place], account.charged[place], account.waiting[place], elapsed_ns, most
            )
            account.estimates[place] = estimate
            estimates.append(estimate)
        demands = [estimate.demand for estimate in estimates]
        if self.lends and demands != self._wishes:
            self._said = lending.divide(self._seats, demands)
        works = estimates != self._at_rest
        if works or demands != self._wishes:
            used = lending.neighbour_load(estimates)
            for (account, place, _), now, others in zip(self._members, self._said, used, strict=True):
                account.tell(place, now, others)
        self._wishes = demands
        return works
