"""kubectl and helm, as the demo and the cluster's tests use them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.25
"""Seconds between two looks while waiting for a condition."""
NAMESPACE_PATIENCE = 60.0


class CommandFailed(Exception):
    """A command ended badly with the status `code`; `told` is what it wrote to stderr."""

    def __init__(self, command: Sequence[str], code: int, told: str) -> None:
        super().__init__(f"“{' '.join(command[:6])}” ended with status {code}: {told.strip()}")
        self.code = code
        self.told = told.strip()


class TimedOut(Exception):
    """A condition didn't come true in time; the text says which, and what was seen last."""


@dataclass(frozen=True, slots=True)
class Kube:
    """One cluster, through its kubeconfig."""

    kubeconfig: Path
    kubectl: str
    helm: str

    def run(self, *arguments: str, stdin: str | None = None, program: str | None = None, timeout: float = 120) -> str:
        """stdout of `kubectl <arguments>`.

        Raises CommandFailed for a status other than 0, and for a command that takes longer than `timeout` seconds.
        """
        command = [program or self.kubectl, *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(command, -1, f"no answer within {timeout:.0f} s") from error
        if done.returncode != 0:
            raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What `kubectl <arguments> -o json` answers."""
        return json.loads(self.run(*arguments, "-o", "json"))

    def items(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind in a namespace."""
        choice = ("-l", selector) if selector else ()
        found: list[dict[str, Any]] = self.json("get", kind, "-n", namespace, *choice)["items"]
        return found

    def apply(self, documents: Sequence[Mapping[str, Any]], namespace: str) -> str:
        """Create or change objects; what kubectl said."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        return self.run("apply", "-n", namespace, "-f", "-", stdin=text)

    def namespace(self, name: str) -> None:
        """Create a namespace unless it is there, and wait until it takes pods: their service account comes later.

        Raises TimedOut after NAMESPACE_PATIENCE seconds.
        """
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}], "default")
        account = ("get", "serviceaccounts", "-n", name, "--field-selector", "metadata.name=default", "-o", "name")
        wait_for(f"the namespace {name} takes pods", lambda: self.run(*account), NAMESPACE_PATIENCE)

    def raw(self, path: str) -> str:
        """The API server's answer to a GET of this path."""
        return self.run("get", "--raw", path)


def wait_for(what: str, look: Callable[[], T | None], seconds: float, last: Callable[[], str] = lambda: "") -> T:
    """Look until it is neither None nor empty, and give back what was seen.

    Raises TimedOut after `seconds`, with `last()` as what was seen last.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {seconds:.0f} s. {last()}".strip())
        time.sleep(POLL)
