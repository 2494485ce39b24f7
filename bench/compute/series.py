"""GPU time of each container over time, as gpu_time_sampler reports it, and the shares that follow."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Series:
    """Samples of busy time in the order in which they were taken; ns of CLOCK_MONOTONIC and of GPU time."""

    times: list[int] = field(default_factory=list)
    gpu: list[int] = field(default_factory=list)
    groups: list[dict[int, int]] = field(default_factory=list)
    """Busy time of each process group that ever used the GPU."""

    def add(self, line: str) -> None:
        """Add one line of gpu_time_sampler."""
        at, gpu, *groups = line.split()
        self.times.append(int(at))
        self.gpu.append(int(gpu))
        self.groups.append({int(name): int(busy) for name, _, busy in (word.partition("=") for word in groups)})

    def busy(self, group: int, at: int) -> float:
        """Return the busy time of a group at a time, ns, interpolated between two samples."""
        return _between(self.times, [sample.get(group, 0) for sample in self.groups], at)

    def busy_gpu(self, at: int) -> float:
        """Return the time in which any kernel ran, ns; kernels that run side by side count once."""
        return _between(self.times, self.gpu, at)

    def share_gpu(self, start: int, end: int) -> float:
        """Return the percent of the time in which any kernel ran."""
        return 100 * (self.busy_gpu(end) - self.busy_gpu(start)) / (end - start)

    def share(self, group: int, start: int, end: int) -> float:
        """Return the group's percent of the GPU between two times."""
        return 100 * (self.busy(group, end) - self.busy(group, start)) / (end - start)

    def shares(self, group: int, start: int, end: int, step: int) -> list[float]:
        """Return the share in each step from `start` on, for a curve."""
        return [self.share(group, at, at + step) for at in range(start, end - step + 1, step)]


def _between(times: Sequence[int], values: Sequence[int], at: int) -> float:
    """Interpolate. Raises ValueError for a time after the last sample."""
    place = bisect.bisect_left(times, at)
    if place == len(times):
        raise ValueError(f"the series ends {at - times[-1] if times else at} ns before that time")
    if place == 0:
        return float(values[0])
    before, after = times[place - 1], times[place]
    return values[place - 1] + (values[place] - values[place - 1]) * (at - before) / (after - before)
