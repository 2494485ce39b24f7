"""Run commands inside a node."""

from __future__ import annotations

from collections.abc import Sequence

from cluster import errors, settings, state, units


def command(layout: settings.Layout, index: int, words: Sequence[str]) -> list[str]:
    """Return the command line that runs `words` in the namespaces of the node with that index. Raises StepFailed."""
    known = state.load(layout)
    nodes = {number: node for node, number in known.nodes.items()} if known else {}
    supervisor = units.recorded(layout.units / f"{nodes[index]}.supervisor") if index in nodes else None
    if supervisor is None:
        raise errors.StepFailed(f"Node {index} of the cluster {layout.name} is not running: start it with `up`.")
    return ["nsenter", "--target", str(supervisor.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--", *words]
