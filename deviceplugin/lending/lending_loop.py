"""Write, many times a second, what the node's containers may use of their GPUs.

The loop has a thread of its own: a container that resumes work waits for this loop, and the agent's event loop may be
busy for longer than that while a hundred pods start. `unigpu.lending` has the decisions. A rate holds for one
second (`unigpu.policy`), so a loan ends even when this loop does.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from deviceplugin.lending.changes import Changes
from deviceplugin.lending.container_state import ContainerState
from unigpu import errors, lending, logs
from unigpu.units import GpuUuid

logger = logging.getLogger(__name__)

PACE = 0.05
"""Seconds between two rounds while a container works on a shared GPU, and another can be lent to or must yield."""
PACE_REPORT_ONLY = 0.1
"""The same where nobody can be lent to or must yield, and only the neighbours' use is reported."""
PACE_IDLE_LENDING = 0.2
"""Seconds between two rounds while all are idle, where a container can be lent to or must yield."""
PACE_IDLE = 0.5
"""The same where none can."""
MAX_CORE_SHARE = 0.018
"""Most of a processor core that the loop may cost; with more containers it runs less often,"""
MAX_PACE = 0.1
"""but at least once in so many seconds."""
MAX_IDLE_CORE_SHARE = 0.005
"""Most of a core that it may cost while all are idle; with more containers it runs less often, down to `PACE_IDLE`."""
_AVERAGE = 20
"""Rounds over which the cost is averaged."""
MIN_INTERVAL_NS = 20_000_000
"""Least time between two samples: a shorter one measures too little."""
IDLE_AFTER_NS = 1_000_000_000
"""How long all must have been idle before the slower pace."""
REOPEN_NS = 5_000_000_000
"""Time between two tries of files that couldn't be used,"""
CHECK_NS = 30_000_000_000
"""and between two checks that the open files are still those in the folders; the agent reports its own changes."""


class LendingLoop:
    """Runs rounds over the containers that it knows."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock` must be CLOCK_MONOTONIC, which containers read too."""
        self._clock = clock
        self._wake = threading.Event()
        self._stop = False
        self._folders: frozenset[Path] = frozenset()
        self._round = LendingRound(clock)

    def observe(self, folders: Iterable[Path]) -> None:
        """Take in the containers' folders; call it again when a file or policy in them has changed."""
        self._folders = frozenset(folders)
        self._wake.set()

    async def lend(self) -> None:
        """Run the loop's thread. Never returns."""
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
                pace = self._round.run(self._folders)
                cost += (time.thread_time() - began - cost) / _AVERAGE
                self._wake.wait(pace if pace is None else pause(pace, cost))
        finally:
            self._round.close()


def pause(pace: float, cost: float) -> float:
    """Return seconds to wait after a round that asks for this pace and takes that much of a core, in seconds."""
    if pace > PACE_REPORT_ONLY:  # all are idle
        return max(pace, min(cost / MAX_IDLE_CORE_SHARE, PACE_IDLE))
    return max(pace, min(cost / MAX_CORE_SHARE, MAX_PACE))


def _fail(ended: asyncio.Future[None], error: BaseException) -> None:
    if not ended.done():
        ended.set_exception(error)


class LendingRound:
    """The containers' states and the GPUs that they share; `run` is one round."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._folders: frozenset[Path] = frozenset()
        self._states: dict[Path, ContainerState] = {}
        self._problems: dict[Path, str] = {}
        """By folder: why its files can't be used."""
        self._gpus: list[_Gpu] = []
        """GPUs that several containers share."""
        self._changes = Changes()
        self._sampled_ns = clock() - MIN_INTERVAL_NS
        self._busy_ns = 0
        self._reopened_ns = self._checked_ns = 0

    def run(self, folders: frozenset[Path]) -> float | None:
        """Read all usage files and write what follows from them; return the seconds until the next round.

        None: there is no container. `folders` are the containers'; a new object, even an equal one, means that files or
        policies in them may have changed.
        """
        now_ns = self._clock()
        if now_ns - self._sampled_ns < MIN_INTERVAL_NS:
            return PACE
        if folders is not self._folders or now_ns - self._checked_ns > CHECK_NS:
            self._folders = folders
            self._reopened_ns = self._checked_ns = now_ns
            self._check()
            self._reopen()
        elif now_ns - self._reopened_ns > REOPEN_NS:
            self._reopened_ns = now_ns
            self._reopen()
        worked = self._sample(now_ns)
        if not self._states:
            return PACE_IDLE if self._problems else None
        elapsed_ns, self._sampled_ns = now_ns - self._sampled_ns, now_ns
        busy = [gpu.run(elapsed_ns) for gpu in self._gpus if not gpu.rests or not gpu.states.isdisjoint(worked)]
        if any(busy):
            self._busy_ns = now_ns
        lends = any(gpu.lends for gpu in self._gpus)
        if now_ns - self._busy_ns < IDLE_AFTER_NS:
            return PACE if lends else PACE_REPORT_ONLY
        return PACE_IDLE_LENDING if lends else PACE_IDLE

    def close(self) -> None:
        """Close all files."""
        for state in self._states.values():
            state.close()
        self._states.clear()
        self._gpus = []
        self._changes.close()

    def _sample(self, now_ns: int) -> set[ContainerState]:
        """Read what was charged where it has changed, and make all live states hold; return whose has changed.

        What follows is stored into the policies' maps: the heartbeats go first, because the kernel writes those, and
        finds out which file isn't there any more.
        """
        worked = self._changes.look(self._states)
        damaged = [(state, error) for state in worked if (error := state.sample()) is not None]
        self._drop_all([(self._changes.path(state), error) for state, error in damaged])
        gone = self._changes.beat(self._states, now_ns)
        self._drop_all([(path, errors.Malformed("policy file was cut")) for path in gone])
        return worked

    def _drop_all(self, damaged: Sequence[tuple[Path, Exception]]) -> None:
        for path, error in damaged:
            self._drop(path, error)
        if damaged:
            self._group_by_gpu()

    def _check(self) -> None:
        """Close removed and replaced folders, and read the policies that changed."""
        moved = False
        for path in [
            path for path, state in self._states.items() if path not in self._folders or not state.is_current()
        ]:
            self._states.pop(path).close()
            moved = True
        self._problems = {path: problem for path, problem in self._problems.items() if path in self._folders}
        for path in list(self._states):
            moved |= self._reload(path)
        if moved:
            self._group_by_gpu()

    def _reopen(self) -> None:
        """Open folders that aren't open yet."""
        moved = False
        for path in self._folders - self._states.keys():
            try:
                self._states[path] = ContainerState(path)
                moved = True
            except (OSError, errors.Malformed) as error:
                self._drop(path, error)
            else:
                self._reload(path)
        if moved:
            self._group_by_gpu()

    def _reload(self, path: Path) -> bool:
        """Read an open folder's policy where it changed; return whether the containers' claims may have."""
        try:
            moved = self._states[path].reload_policy()
        except (OSError, errors.Malformed) as error:
            return self._drop(path, error)
        self._problems.pop(path, None)
        return moved

    def _drop(self, path: Path, error: Exception) -> bool:
        """Continue without the container, and try it again later; return whether it was open."""
        if self._problems.get(path) != str(error) and not isinstance(error, FileNotFoundError):
            logs.event(logger, "container left out of lending", logging.WARNING, folder=path, reason=error)
        self._problems[path] = str(error)
        state = self._states.pop(path, None)
        if state is not None:
            state.close()
        return state is not None

    def _group_by_gpu(self) -> None:
        """Group the containers by GPU, and keep the GPUs that several share."""
        self._changes.forget()
        members: dict[GpuUuid, list[tuple[ContainerState, int]]] = {}
        for state in self._states.values():
            for place, gpu in enumerate(state.gpus):
                members.setdefault(gpu, []).append((state, place))
        gpus = [_Gpu(group) for group in members.values()]
        self._gpus = [gpu for gpu in gpus if gpu.shared]
        # A container that is alone on a GPU gets its rate once: nothing that it does changes what it may use.
        for shared in gpus:
            shared.run(0)


class _Gpu:
    """A GPU and its containers, each with the GPU's place in its policy."""

    def __init__(self, members: list[tuple[ContainerState, int]]) -> None:
        self._members = [(state, place, state.claimants[place].most) for state, place in members]
        self._claimants = [state.claimants[place] for state, place in members]
        self._demands: list[float] | None = None
        self._rates: list[float] = [0.0] * len(members)
        self._all_idle = [lending.IDLE] * len(members)
        self.states = frozenset(state for state, _ in members)
        self.rests = False
        """Whether all are idle and know it: a round in which none of them works would change nothing."""
        self.lends = lending.lends(self._claimants)
        self.shared = len(members) > 1

    def run(self, elapsed_ns: int) -> bool:
        """Tell each container what it may use, from what all were seen to do; return whether any is busy."""
        estimates = []
        for state, place, most in self._members:
            estimate = lending.update_activity(
                state.estimates[place], state.charged[place], state.waiting[place], elapsed_ns, most
            )
            state.estimates[place] = estimate
            estimates.append(estimate)
        demands = [estimate.demand for estimate in estimates]
        if self.lends and demands != self._demands:
            self._rates = lending.divide(self._claimants, demands)
        busy = estimates != self._all_idle
        if busy or demands != self._demands:
            used = lending.neighbour_load(estimates)
            for (state, place, _), now, others in zip(self._members, self._rates, used, strict=True):
                state.set_live_state(place, now, others)
        self._demands = demands
        self.rests = not busy
        return busy
