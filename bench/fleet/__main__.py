"""`python -m bench.fleet`: pods on hundreds and thousands of nodes, with unigpu and with the stock scheduler alone.

At each size there are two control planes with the same nodes. In one the stock scheduler binds pods by an extended
resource, in the other webhook, kube-scheduler and extender bind as many. They take turns, each stopped while the other
works, so that what else the machine does bears on both alike. Figures go into a table, and with --json and --picture
into files.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.fleet import books, control_plane, load, objects, picture, probe, report
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.load import Times
from bench.fleet.objects import Form
from bench.fleet.parts import Stuck, until
from bench.fleet.report import Cost, Extender, Round, Run, Size
from cluster import settings

PROBES = 200


async def measure(nodes: int, told: argparse.Namespace) -> Size:
    """Measure both ways to bind pods at one size, in turn."""
    machine = control_plane.environment()
    folder = settings.BUILD / "fleet"
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for form in (objects.STOCK, objects.UNIGPU):
            plane = await stack.enter_async_context(
                control_plane.running(folder / f"{form.title}-{nodes}", lease_seconds=told.lease_seconds)
            )
            began = time.perf_counter()
            await load.create_nodes(plane, nodes, told.gpus)
            print(f"{nodes} nodes × {told.gpus} GPUs, played after {time.perf_counter() - began:.0f} s", flush=True)
            sides.append(Side(form, plane))
            plane.freeze()
            plane.nodes_percent = told.nodes_percent
        stock, unigpu = sides
        with stock.awake():
            stock.plane.stock_scheduler().start()
            stock.times = await stack.enter_async_context(load.watched(stock.plane))
        with unigpu.awake():
            await unigpu.plane.start_webhook()
            replica = unigpu.plane.replica()
            await replica.start()
            unigpu.times = await stack.enter_async_context(load.watched(unigpu.plane))
            page = await replica.page()
        beside: list[float] = []
        every = [objects.node_name(number) for number in range(nodes)]
        for _ in range(told.rounds):
            with stock.awake():
                await stock.bind(told.pods // told.rounds)
            with unigpu.awake(), probe.beside_load(replica.port, every) as found:
                await unigpu.bind(told.pods // told.rounds)
            beside += found
        with unigpu.awake():
            extender = await show_extender(unigpu, replica, every, page, beside)
            await unigpu.end()
            left = await books.read(unigpu.plane)
            await until(lambda: books.counted(replica, left), "the extender counts no pods")
        with stock.awake():
            await stock.end()
        size = Size(nodes, stock.run(), unigpu.run(), extender, machine)
        unigpu.plane.thaw()
        stock.plane.thaw()
    print("\n".join(report.lines(size)), flush=True)
    return size


@dataclass
class Side:
    """One way to bind pods, with a control plane of its own. The other's is stopped while this one's works."""

    form: Form
    plane: ControlPlane
    times: Times = field(default_factory=Times)
    rounds: list[Round] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let its parts run while the block lasts."""
        self.plane.thaw()
        yield
        self.plane.freeze()

    async def bind(self, count: int) -> None:
        """Bind some more pods, and wait until all run."""
        await self.plane.wait_for_api_server()
        before, own = {name: part.taken() for name, part in self.plane.parts.items()}, time.process_time()
        first = len(self.times.created)
        await load.bind_all(self.plane, self.form, first, count, self.times)
        used = {name: part.taken() for name, part in self.plane.parts.items()}
        self._add("this benchmark", time.process_time() - own, 0)
        for name, now in used.items():
            self._add(name, now.cpu - before[name].cpu, now.memory)
        self.rounds.append(self.times.round(first))
        await load.running(self.plane)

    async def end(self) -> None:
        """End all pods."""
        await load.end_all(self.plane, list(self.times.bound), self.times)

    def run(self) -> Run:
        """Return what was measured."""
        p50, p99 = report.quantiles(self.times.waits())
        return Run(len(self.times.bound), self.rounds, p50, p99, self.costs, self.times.ending())

    def _add(self, name: str, cpu: float, memory: int) -> None:
        former = self.costs.get(name, Cost(0, 0))
        self.costs[name] = Cost(former.cpu + cpu, max(former.memory, memory))


async def show_extender(
    side: Side, replica: Replica, nodes: Sequence[str], before: str, beside: Sequence[float]
) -> Extender:
    """Compare the extender's books with the annotations, and measure what it answers at rest. Raises Stuck."""
    after = await replica.page()
    await check(side.plane, replica, len(side.times.bound))
    asking = probe.Probe(replica.port, nodes)
    rest = await asyncio.to_thread(asking.known, PROBES)
    new = await asyncio.to_thread(asking.new, PROBES // 4)
    asking.close()
    start, other = await start_another(side.plane)
    questions = {verb: probe.between(before, after, verb) for verb in ("filter", "prioritize", "bind")}
    return Extender(questions, report.quantiles(beside), report.quantiles(rest), report.quantiles(new), start, other)


async def check(plane: ControlPlane, replica: Replica, count: int) -> None:
    """Raises Stuck where the extender's books differ from the annotations, or a GPU has too much."""
    found = await books.read(plane)
    if found.faults or len(found.bound) != count:
        raise Stuck(f"{len(found.bound)} of {count} pods are bound; {'; '.join(found.faults[:5])}")
    await until(lambda: books.counted(replica, found), f"the extender counts {count} pods")


async def start_another(plane: ControlPlane) -> tuple[float, Cost]:
    """Return the seconds in which another extender becomes ready, and what it took for that."""
    other = plane.replica("-another")
    began = time.perf_counter()
    other.extender.start()
    await other.ready()
    seconds, took = time.perf_counter() - began, other.extender.taken()
    other.extender.stop()
    for part in (other.extender, other.scheduler):
        del plane.parts[part.name]
    return seconds, Cost(took.cpu, took.memory)


def main() -> int:
    """Measure each size; return 1 where a run doesn't end, or with --strict where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument(
        "--nodes-percent", type=int, default=100, help="percentageOfNodesToScore with unigpu; 0: kube-scheduler's own"
    )
    parser.add_argument("--rounds", type=int, default=5, help="in which the two ways take turns")
    parser.add_argument("--lease-seconds", type=int, default=40, help="duration of the nodes' leases")
    parser.add_argument("--json", type=Path, help="add the figures to this file, in place of those of the same size")
    parser.add_argument("--picture", type=Path, help="draw what --json has then")
    parser.add_argument("--strict", action="store_true", help="end with 1 where a goal is missed")
    told = parser.parse_args()
    status = 0
    for nodes in told.nodes:
        try:
            size = asyncio.run(measure(nodes, told))
        except (Stuck, ExceptionGroup) as error:
            print(f"{nodes} nodes: {error!r}", file=sys.stderr)
            return 1
        for words in report.missed(size):
            print(f"missed: {words}")
            status |= told.strict
        if told.json:
            known = report.load(told.json) if told.json.exists() else []
            sizes = sorted([*(each for each in known if each.nodes != nodes), size], key=lambda each: each.nodes)
            report.save(sizes, told.json)
            if told.picture:
                told.picture.write_text(picture.draw(sizes))
    return status


if __name__ == "__main__":
    sys.exit(main())
