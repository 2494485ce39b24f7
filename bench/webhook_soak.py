"""Hostile reviews over TLS: each is answered or refused cleanly, memory stays bounded, and the service stays up."""

import argparse
import base64
import gzip
import json
import multiprocessing
import queue
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import webhook as bench

CLEAN = {200, 400, 413}
MEMORY_KIB = 256 * 1024
"""The memory limit that the chart gives the webhook."""
WORKERS = 4
HEAVY_EVERY = 5_000
"""Reviews of a client, one of which is larger than any that is read."""
TOLD_EVERY = 100
SLOWEST = 10.0
"""Seconds for an answer: the API server waits that long by default. The reviews of all clients wait for each other."""

Make = Callable[[random.Random, bytes], bytes]


def noise(dice: random.Random, _: bytes) -> bytes:
    """Bytes without a meaning."""
    return dice.randbytes(dice.randrange(2000))


def cut(dice: random.Random, review: bytes) -> bytes:
    """A review that ends too early."""
    return review[: dice.randrange(len(review))]


def flipped(dice: random.Random, review: bytes) -> bytes:
    """A review with a few other bytes in it."""
    changed = bytearray(review)
    for _ in range(dice.randrange(1, 20)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def deep(dice: random.Random, _: bytes) -> bytes:
    """Nesting without end."""
    depth = dice.choice([100, 1_000, 10_000, 200_000])
    return dice.choice([b"[", b'{"a":', b'[{"request":']) * depth


def deep_inside(dice: random.Random, review: bytes) -> bytes:
    """A review whose pod has deep nesting in it, closed properly."""
    depth = dice.choice([10, 200, 900, 5_000])
    place = dice.choice([b'"spec": {', b'"metadata": {', b'"limits": {'])
    return review.replace(place, place + b'"x": ' + b"[" * depth + b"]" * depth + b", ", 1)


def large(dice: random.Random, review: bytes) -> bytes:
    """Names, values and lists of absurd sizes."""
    pod = json.loads(review)
    spec = pod["request"]["object"]["spec"]
    main = spec["containers"][0]
    size = dice.choice([100, 3_000, 30_000])
    match dice.randrange(4):
        case 0:
            main["resources"]["limits"] = {f"aliyun.com/gpu-mem{number}": "1" for number in range(size)}
        case 1:
            main["resources"]["limits"] = {"aliyun.com/gpu-mem": "9" * size}
        case 2:
            spec["containers"] = [{**main, "name": f"c{number}"} for number in range(min(size, 3_000))]
        case _:
            pod["request"]["object"]["metadata"]["annotations"] = {"unigpu.dev/request": "[" * size}
    return json.dumps(pod).encode()


def encoded(dice: random.Random, review: bytes) -> bytes:
    """Other encodings."""
    text = review.decode()
    return dice.choice(
        [
            text.encode("utf-16"),
            text.encode("utf-32-be"),
            gzip.compress(review),
            base64.b64encode(review),
            b"\xef\xbb\xbf" + review,
            review.replace(b"probe", b"\xc0\xaf\xff"),
            review.replace(b'"probe"', b'"\\ud800"'),
        ]
    )


def mistyped(dice: random.Random, review: bytes) -> bytes:
    """Another value somewhere in the review."""
    document: Any = json.loads(review)
    node = document
    for _ in range(dice.randrange(1, 8)):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            break
        key = dice.choice(list(keys))
        if dice.random() < 0.2 or not isinstance(node[key], dict | list):
            node[key] = dice.choice(
                [None, True, 1, -1, 1.5, 1e308, float("nan"), "", "x", [], {}, [None], {"": 0}, "\0"]
            )
            break
        node = node[key]
    return json.dumps(document).encode()


def unknown(dice: random.Random, review: bytes) -> bytes:
    """Unknown kinds, operations and versions."""
    document = json.loads(review)
    document["request"]["kind"]["kind"] = dice.choice(["Pod", "Node", "", "💣", "x" * 10_000])
    document["request"]["operation"] = dice.choice(["CREATE", "UPDATE", "DELETE", "CONNECT", "", "?"])
    document["request"]["oldObject"] = dice.choice([None, {}, document["request"]["object"]])
    document["apiVersion"] = dice.choice([document["apiVersion"], "admission.k8s.io/v1beta1", "v2"])
    return json.dumps(document).encode()


def heavy(_: random.Random, __: bytes) -> bytes:
    """A body larger than the limit."""
    return b" " * (9 << 20)


KINDS: dict[str, tuple[Make, int]] = {
    "noise": (noise, 10),
    "cut": (cut, 10),
    "flipped": (flipped, 20),
    "deep": (deep, 5),
    "deep inside": (deep_inside, 10),
    "large": (large, 2),
    "encoded": (encoded, 10),
    "mistyped": (mistyped, 30),
    "unknown": (unknown, 10),
    "heavy": (heavy, 0),
}
"""How each kind is generated, and its weight."""


FRAMES = (
    b"GET /mutate HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /mutate HTTP/9.9\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 1e9\r\n\r\n{}",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /mutate HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"POST " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0" * 100 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00" * 20 + b"\r\n\r\n",
)
"""Requests that aren't as HTTP has them, or for something else: each gets a refusal, or its connection is ended."""
FRAMING = 10
"""Their weight among the kinds."""
FRAMED = {0, *range(400, 500)}
"""0: the connection was ended."""


def framed(port: int, authority: str, frame: bytes) -> int:
    """Status of the answer to such a request, over a connection of its own."""
    client = bench.Client(port, authority)
    try:
        return client.raw(frame)
    except (OSError, IndexError, ValueError):
        return 0
    finally:
        client.close()


@dataclass
class Seen:
    """Answers by kind and status, and the first wrong one."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[tuple[str, int, bytes]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    """Seconds for an answer, and the kind of its review."""

    def note(self, name: str, status: int, content: bytes, seconds: float) -> None:
        """Count one answer."""
        self.answers[name, status] += 1
        self.slowest = max(self.slowest, (seconds, name))
        clean = FRAMED if name == "framing" else CLEAN
        if status not in clean and len(self.wrong) < 3:
            self.wrong.append((name, status, content[:500]))


def attack(port: int, authority: str, rounds: int, seed: int, results: "multiprocessing.Queue[Seen | None]") -> None:
    """Send hostile reviews one after the other; put what was seen now and then, and None at the end."""
    dice, review = random.Random(seed), bench.body()
    seen = Seen()
    client = bench.Client(port, authority)
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    for number in range(1, rounds + 1):
        name = "heavy" if number % HEAVY_EVERY == 0 else dice.choices([*names, "framing"], [*weights, FRAMING])[0]
        began = time.monotonic()
        if name == "framing":
            content = dice.choice(FRAMES)
            status = framed(port, authority, content)
        else:
            content = KINDS[name][0](dice, review)
            began = time.monotonic()
            try:
                status, _ = client.ask(dice.choice(["/mutate", "/validate"]), content)
            except (OSError, IndexError, ValueError):
                status = 413 if name == "heavy" else 0  # the server may end a connection whose body it doesn't want
                client.close()
                client = bench.Client(port, authority)
        seen.note(name, status, content, time.monotonic() - began)
        if number % TOLD_EVERY == 0:
            results.put(seen)
            seen = Seen()
    client.close()
    results.put(seen)
    results.put(None)


def memory(pid: int, which: str) -> int:
    """The process's resident set, KiB: `VmRSS` now, `VmHWM` at its largest."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))


@dataclass(frozen=True)
class Result:
    """The service's state after the run."""

    seen: Seen
    seconds: float
    first_memory: int
    """Resident set after a tenth of the reviews, KiB."""
    last_memory: int
    highest_memory: int
    good: int
    """Status of the answer to a proper review at the end."""

    @property
    def passed(self) -> bool:
        """Whether every review was answered cleanly, within the memory that the webhook has."""
        return not self.seen.wrong and self.good == 200 and self.highest_memory < MEMORY_KIB


def soak(reviews: int, seed: int, tell: Callable[[str], None]) -> Result:
    """So many reviews by a few clients at once; `tell` gets a line of progress now and then.

    Raises RuntimeError where a client fails.
    """
    # Don't fork: the calling process may have threads.
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Seen | None] = context.Queue()
    began = time.monotonic()
    seen, first, told = Seen(), 0, began
    with bench.running() as (port, authority, pid):
        workers = [
            context.Process(
                target=attack, args=(port, authority, reviews // WORKERS, seed + number, results), daemon=True
            )
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        at_work = WORKERS
        while at_work:
            try:
                part = results.get(timeout=1)
            except queue.Empty:
                ended = [worker.exitcode for worker in workers if worker.exitcode]
                if ended:
                    raise RuntimeError(f"a client ended with {ended[0]}") from None
                continue
            if part is None:
                at_work -= 1
                continue
            seen.answers += part.answers
            seen.wrong += part.wrong
            seen.slowest = max(seen.slowest, part.slowest)
            if not first and seen.answers.total() >= reviews // 10:
                first = memory(pid, "VmRSS")
            if time.monotonic() - told > 10:
                told = time.monotonic()
                now = memory(pid, "VmRSS") // 1024
                tell(f"{told - began:4.0f} s: {seen.answers.total()} reviews, {len(seen.wrong)} wrong, {now} MiB")
        for worker in workers:
            worker.join()
        client = bench.Client(port, authority)
        good, _ = client.ask("/mutate", bench.body())
        client.close()
        return Result(seen, time.monotonic() - began, first, memory(pid, "VmRSS"), memory(pid, "VmHWM"), good)


def main() -> int:
    """Return 0 if the service survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    given = parser.parse_args()
    print(f"{given.reviews} reviews, seed {given.seed}", flush=True)
    result = soak(given.reviews, given.seed, lambda line: print(line, flush=True))
    for (name, code), count in sorted(result.seen.answers.items()):
        print(f"{name:12} {code or 'ended':>5} {count:8}")
    mib = [f"{kib // 1024} MiB" for kib in (result.first_memory, result.last_memory, result.highest_memory)]
    print(f"memory after a tenth {mib[0]}, at the end {mib[1]}, highest {mib[2]} of {MEMORY_KIB // 1024} MiB")
    print(
        f"{result.seconds:.0f} s, {result.seen.answers.total()} reviews, {len(result.seen.wrong)} answered wrongly;"
        f" then a good review: {result.good}"
    )
    slowest, kind = result.seen.slowest
    print(f"slowest answer {slowest:.2f} s ({kind}), at most {SLOWEST:.0f} s")
    for name, code, content in result.seen.wrong:
        print(f"WRONG: {name} got {code}: {content!r}")
    return 0 if result.passed and slowest <= SLOWEST else 1


if __name__ == "__main__":
    sys.exit(main())
