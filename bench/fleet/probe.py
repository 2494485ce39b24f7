"""Questions to a running extender, asked and timed as by a kube-scheduler."""

import contextlib
import http.client
import json
import multiprocessing
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection

from bench.fleet import objects
from unigpu import names, requests
from unigpu.requests import PodRequest, Request
from unigpu.units import MiB

PAUSE = 0.5
"""Seconds between two questions while other load runs."""
_BUCKET = re.compile(rf'{names.METRIC_SCHEDULER_DURATION}_bucket{{le="([^"]+)",outcome="[^"]*",verb="(\w+)"}} (\S+)')


class Probe:
    """Asks filter about every node of the fleet: more than a kube-scheduler does, which stops at enough nodes."""

    def __init__(self, port: int, nodes: Sequence[str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._nodes = json.dumps(nodes)

    def ask(self, memory: int) -> float:
        """Return the milliseconds that one answer takes for a share of that many MiB."""
        annotations = {names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": Request(1, MiB(memory))}))}
        pod = objects.pod("probe", {names.RESOURCE_VGPU: 1})
        pod["metadata"] |= {"uid": "probe", "annotations": annotations}
        body = f'{{"Pod": {json.dumps(pod)}, "Nodes": null, "NodeNames": {self._nodes}}}'.encode()
        start = time.perf_counter()
        self._connection.request("POST", "/filter", body)
        answer = self._connection.getresponse()
        content = answer.read()
        taken = (time.perf_counter() - start) * 1000
        if answer.status != 200 or b'"Error"' in content:
            raise RuntimeError(f"filter answers {answer.status}: {content[:300]!r}")
        return taken

    def known(self, count: int) -> list[float]:
        """Return the times of questions about a shape that the load has too."""
        return [self.ask(objects.SIZES[0] * 1024) for _ in range(count + 5)][5:]

    def new(self, count: int) -> list[float]:
        """Return the times of questions about shapes that were never asked for."""
        return [self.ask(1001 + number) for number in range(count)]

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _ask_beside(port: int, nodes: Sequence[str], pipe: Connection) -> None:
    probe, found = Probe(port, nodes), []
    probe.known(1)
    while not pipe.poll(PAUSE):
        found += [probe.ask(objects.SIZES[0] * 1024)]
    probe.close()
    pipe.send(found)


@contextlib.contextmanager
def beside_load(port: int, nodes: Sequence[str]) -> Iterator[list[float]]:
    """Ask now and then, from a process of its own, while the block lasts; the list has the times after it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask_beside, args=(port, nodes, theirs), daemon=True)
    process.start()
    found: list[float] = []
    try:
        yield found
        ours.send("end")
        found += ours.recv()
    finally:
        process.terminate()
        process.join()


def between(before: str, after: str, verb: str) -> tuple[float, float]:
    """Return median and 99th percentile, ms, of a verb's answers between two pages of the extender's metrics."""
    first, last = buckets(before, verb), buckets(after, verb)
    return quantile(first, last, 0.5), quantile(first, last, 0.99)


def buckets(page: str, verb: str) -> dict[float, float]:
    """Return how many answers of a verb took up to how many seconds, from the extender's page of metrics."""
    found: dict[float, float] = {}
    for bound, of, count in _BUCKET.findall(page):
        if of == verb:
            found[float(bound)] = found.get(float(bound), 0.0) + float(count)
    return found


def quantile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float:
    """Return the milliseconds that a part of the answers between two pages didn't exceed, evenly within a bucket."""
    counts = sorted((bound, count - before.get(bound, 0.0)) for bound, count in after.items())
    wanted = counts[-1][1] * part
    low = below = 0.0
    for bound, count in counts:
        if count >= wanted:
            return (low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)) * 1000
        low, below = bound, count
    return low * 1000
