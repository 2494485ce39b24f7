"""Run kubectl and helm, for the demo and the cluster tests."""

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
"""Seconds between two checks of a condition."""
NAMESPACE_PATIENCE = 60.0


class CommandFailed(Exception):
    """A command failed with exit status `code`; `stderr` is its error output."""

    def __init__(self, command: Sequence[str], code: int, stderr: str) -> None:
        super().__init__(f"`{' '.join(command[:6])}` failed with exit status {code}: {stderr.strip()}")
        self.code = code
        self.stderr = stderr.strip()


class TimedOut(Exception):
    """A condition didn't become true in time; the text names it, and the last state."""


@dataclass(frozen=True, slots=True)
class Kube:
    """One cluster, through its kubeconfig."""

    kubeconfig: Path
    kubectl: str
    helm: str

    def run(self, *arguments: str, stdin: str | None = None, program: str | None = None, timeout: float = 120) -> str:
        """Run `kubectl <arguments>`, or another program on the same cluster; return its stdout.

        Raises CommandFailed when it fails, or takes longer than `timeout` seconds.
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
        """Return the parsed output of `kubectl <arguments> -o json`."""
        return json.loads(self.run(*arguments, "-o", "json"))

    def items(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Return all objects of a kind in a namespace."""
        choice = ("-l", selector) if selector else ()
        found: list[dict[str, Any]] = self.json("get", kind, "-n", namespace, *choice)["items"]
        return found

    def apply(self, documents: Sequence[Mapping[str, Any]], namespace: str) -> str:
        """Apply objects; return kubectl's output."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        return self.run("apply", "-n", namespace, "-f", "-", stdin=text)

    def namespace(self, name: str) -> None:
        """Create a namespace unless it exists, and wait for its service account, without which it accepts no pods.

        Raises TimedOut after NAMESPACE_PATIENCE seconds.
        """
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}], "default")
        account = ("get", "serviceaccounts", "-n", name, "--field-selector", "metadata.name=default", "-o", "name")
        wait_for(f"namespace {name} accepts pods", lambda: self.run(*account), NAMESPACE_PATIENCE)

    def raw(self, path: str) -> str:
        """Return the API server's answer to a GET of this path."""
        return self.run("get", "--raw", path)


def wait_for(what: str, check: Callable[[], T | None], seconds: float, last: Callable[[], str] = lambda: "") -> T:
    """Call `check` until its result is truthy; return the result.

    Raises TimedOut after `seconds`, with the last state that `last()` describes.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimedOut(f"Timed out after {seconds:.0f} s waiting until {what}. {last()}".strip())
        time.sleep(POLL)
