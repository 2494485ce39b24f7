"""Decides what one container gets: the scheduler's choice, checked against what the node knows. No I/O."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deviceplugin import pods
from deviceplugin.allocation import environment, grant_totals
from deviceplugin.node.node_state import Node
from unigpu import driver_parts, errors, limits, modes, names, policy, units
from unigpu.allocations import Share
from unigpu.driver_parts import Wanted
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.policy import Policy
from unigpu.requests import Request


@dataclass(frozen=True, slots=True)
class Decision:
    """What is written for one container."""

    grant: Grant
    policy: Policy
    gpus: Sequence[Gpu]
    """In the order in which the container sees them."""
    env: Mapping[str, str]

    @property
    def wanted(self) -> Wanted:
        """Which parts of the driver the container is to get."""
        asked = self.env.get(names.ENV_NVIDIA_DRIVER_CAPABILITIES)
        limited = self.policy.memory_enforced or self.policy.cores_enforced
        return Wanted(driver_parts.capabilities(asked) if asked else None, limited)


def decide(node: Node, pod: pods.Pod, container: str, slots: Sequence[str], held: Iterable[Grant]) -> Decision:
    """Return the container's grant, and the policy of the limits that are in force for it.

    `held`: all grants of the node. Raises Denied or Malformed with one sentence that says why the container can't start
    here.
    """
    allocation = pod.allocation()
    request = pod.request()
    in_force = pod.applied().limits.get(container)
    whose = f"container {container} of pod {pod.title}"
    if allocation.node != node.name:
        raise errors.Denied(f"pod {pod.title} was placed on node {allocation.node}, and this is {node.name}")
    shares = allocation.containers.get(container)
    asked = request.containers.get(container)
    if shares is None or asked is None:
        where = "allocation" if shares is None else "request"
        raise errors.Denied(f"{whose} holds GPU slots, and the pod's {where} annotation doesn't name it")
    if len(shares) != len(slots) or asked.gpus != len(slots):
        raise errors.Denied(
            f"{whose} holds {len(slots)} slots, asked for {asked.gpus} GPUs and was allocated {len(shares)}"
        )
    held_to = limits.effective(modes.on_node(asked, node.labels), in_force)
    shares = limits.shares(asked, shares, in_force)
    gpus = tuple(healthy_gpu(node, whose, share) for share in shares)
    written = limit(node, held_to, shares)
    authors = pod.env.get(container, {})
    env = environment.vendor(request, container, shares, node.gpus, written, authors)
    if asked_for := authors.get(names.ENV_NVIDIA_DRIVER_CAPABILITIES):
        # The container has it anyway; so the grant has it too, for a start without the API server.
        env[names.ENV_NVIDIA_DRIVER_CAPABILITIES] = asked_for
    grant = Grant(
        namespace=pod.namespace,
        pod=pod.name,
        pod_uid=pod.uid,
        container=container,
        slots=tuple(sorted(slots)),
        shares=tuple(shares),
        indexes={gpu.uuid: gpu.index for gpu in gpus},
        models={gpu.uuid: gpu.model for gpu in gpus},
        isolated=asked.isolated,
        dialect=asked.dialect,
        role=asked.role,
        boot=node.boot,
        env=env,
    )
    problem = grant_totals.excess(node.gpus, held, grant)
    if problem:
        raise errors.Denied(f"{whose} would exceed its GPU: {problem}")
    return Decision(grant, written, gpus, env)


def limit(node: Node, asked: Request, shares: Sequence[Share]) -> Policy:
    """Return the container's policy under the node's mode; it names the whole GPU where memory isn't enforced."""
    mode = modes.from_labels(node.labels)
    decided = policy.build_policy(asked, shares, modes.enforcement(mode, node.labels, asked))
    if decided.memory_enforced:
        return decided
    return dataclasses.replace(
        decided,
        gpus=tuple(
            dataclasses.replace(gpu, memory=units.to_bytes(node.gpus[gpu.gpu].memory)) if gpu.gpu in node.gpus else gpu
            for gpu in decided.gpus
        ),
    )


def healthy_gpu(node: Node, whose: str, share: Share) -> Gpu:
    """Return the GPU of a share. Raises Denied where the node doesn't have it, or it is unhealthy."""
    gpu = node.gpus.get(share.gpu)
    if gpu is None:
        raise errors.Denied(f"{whose} was allocated GPU {share.gpu}, which node {node.name} doesn't have")
    if not gpu.healthy:
        why = f": {gpu.fault.reason} (since {gpu.fault.since})" if gpu.fault is not None else ""
        raise errors.Denied(f"{whose} was allocated GPU {share.gpu}, which is unhealthy{why}")
    return gpu
