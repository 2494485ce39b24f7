"""Hostile reviews over TLS: each is answered or refused cleanly, memory stays bounded, and the service stays up."""

import argparse
import base64
import gzip
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import webhook as bench

CLEAN = {200, 400, 413}
MEMORY_KIB = 256 * 1024
"""What the chart allows the webhook."""
WORKERS = 4

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
    """Names, values and lists of sizes that nobody needs."""
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
    """Something else in a place of the review."""
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
    """Kinds, operations and versions that nobody here knows."""
    document = json.loads(review)
    document["request"]["kind"]["kind"] = dice.choice(["Pod", "Node", "", "💣", "x" * 10_000])
    document["request"]["operation"] = dice.choice(["CREATE", "UPDATE", "DELETE", "CONNECT", "", "?"])
    document["request"]["oldObject"] = dice.choice([None, {}, document["request"]["object"]])
    document["apiVersion"] = dice.choice([document["apiVersion"], "admission.k8s.io/v1beta1", "v2"])
    return json.dumps(document).encode()


def heavy(_: random.Random, __: bytes) -> bytes:
    """More than is read."""
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
"""How each is made, and its weight."""


def attack(port: int, authority: str, rounds: int, seed: int, results: "multiprocessing.Queue[Any]") -> None:
    """Send hostile reviews one after the other; put the counts of kind and status, and the first that went wrong."""
    dice, review = random.Random(seed), bench.body()
    seen: Counter[tuple[str, int]] = Counter()
    wrong: list[tuple[str, int, bytes]] = []
    client = bench.Client(port, authority)
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    for number in range(rounds):
        name = "heavy" if number % 5_000 == 4_999 else dice.choices(names, weights)[0]
        content = KINDS[name][0](dice, review)
        try:
            status, _ = client.ask(dice.choice(["/mutate", "/validate"]), content)
        except (OSError, IndexError, ValueError):
            status = 413 if name == "heavy" else 0  # the server may end a connection whose body it doesn't want
            client.close()
            client = bench.Client(port, authority)
        seen[name, status] += 1
        if status not in CLEAN and len(wrong) < 3:
            wrong.append((name, status, content[:500]))
    client.close()
    results.put((seen, wrong))


def highest_memory(pid: int) -> int:
    """The process's largest resident set so far, KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """0 if every review was answered cleanly, within the memory that the webhook has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    given = parser.parse_args()
    print(f"{given.reviews} reviews, seed {given.seed}")
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[Any] = context.Queue()
    began = time.monotonic()
    seen: Counter[tuple[str, int]] = Counter()
    wrong: list[tuple[str, int, bytes]] = []
    with bench.running() as (port, authority, pid):
        share = given.reviews // WORKERS
        workers = [
            context.Process(target=attack, args=(port, authority, share, given.seed + number, results))
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for _ in workers:
            counts, bad = results.get()
            seen += counts
            wrong += bad
        for worker in workers:
            worker.join()
        client = bench.Client(port, authority)
        status, _ = client.ask("/mutate", bench.body())
        client.close()
        memory = highest_memory(pid)
    for (name, code), count in sorted(seen.items()):
        print(f"{name:12} {code} {count:8}")
    print(f"{time.monotonic() - began:.0f} s, highest memory {memory // 1024} MiB, then a good review: {status}")
    for name, code, content in wrong:
        print(f"WRONG: {name} got {code}: {content!r}")
    return 0 if not wrong and status == 200 and memory < MEMORY_KIB else 1


if __name__ == "__main__":
    sys.exit(main())
