"""Decides what a container gets that starts again while the API server is away: what it had. No I/O."""

import dataclasses
from collections.abc import Sequence

from deviceplugin.allocation.allocate import Decision, healthy_gpu
from deviceplugin.node.node_state import Node
from unigpu import errors
from unigpu.grants import Grant
from unigpu.policy import Policy


def decide(node: Node, grant: Grant, policy: Policy, slots: Sequence[str]) -> Decision:
    """Return the same grant and policy again, for the container's next run.

    Nothing is counted: the grant is held already. Raises Denied where the container can't start so.
    """
    if problem := obstacle(grant, slots):
        raise errors.Denied(problem)
    gpus = tuple(healthy_gpu(node, _whose(grant), share) for share in grant.shares)
    return Decision(dataclasses.replace(grant, boot=node.boot), policy, gpus, dict(grant.env or {}))


def obstacle(grant: Grant, slots: Sequence[str]) -> str | None:
    """Return why the grant doesn't suffice for the container's next run with these slots; None: it does."""
    if tuple(sorted(slots)) != tuple(grant.slots):
        return f"{_whose(grant)} holds {', '.join(sorted(slots))}, and was granted {', '.join(grant.slots)}"
    if grant.env is None:
        return f"{_whose(grant)} was granted its GPUs by an earlier version, which didn't note its variables"
    return None


def _whose(grant: Grant) -> str:
    return f"container {grant.container} of pod {grant.namespace}/{grant.pod}"
