"""What a pod's events say of its GPUs."""

import dataclasses

import pytest

from deviceplugin.node import pod_words
from unigpu import limits
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.modes import Enforcement
from unigpu.policy import build_policy
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import Bytes, GpuUuid, MiB, Percent

GPU = GpuUuid("GPU-a")
GPUS = {GPU: Gpu(GPU, 3, 3, "Tesla P40", MiB(24576))}
ASKED = Request(gpus=1, memory=MiB(3072), cores=Percent(30), policy=ComputePolicy.HARD)
ENFORCED = Enforcement(memory=True, cores=True)


def grant(share: Share) -> Grant:
    return Grant("team", "p", "u", "main", ("s",), (share,), {GPU: 3}, True, "hami", Role.MAIN)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (Share(GPU, MiB(3072), Percent(30)), "3072 MiB of its memory, 30 % of its compute time"),
        (Share(GPU, MiB(3072), Percent(0)), "3072 MiB of its memory, compute time without limit"),
        (Share(GPU, MiB(0), Percent(0)), "memory without limit, compute time without limit"),
        (Share(GPU, MiB(24576), Percent(100), True), "whole"),
    ],
)
def test_which_gpu_and_how_much(share: Share, says: str) -> None:
    policy = build_policy(ASKED, [share], ENFORCED)
    said = pod_words.assigned(grant(share), policy, GPUS)
    assert said.startswith("container main: GPU 3 (") and said.endswith(says)
    open_ = dataclasses.replace(policy, memory_enforced=False)
    assert pod_words.assigned(grant(share), open_, GPUS).endswith("its limits aren't enforced")


def test_refused_memory_says_what_would_help() -> None:
    said = pod_words.refused(grant(Share(GPU, MiB(200), Percent(0))), 0, Bytes(193 << 20), GPUS)
    assert "have 193 of 200 MiB; accepted: kubectl unigpu limit p -n team -c main --memory MIB, or" in said
    whole = pod_words.refused(grant(Share(GPU, MiB(24576), Percent(100), True)), 0, Bytes(193 << 20), GPUS)
    assert "kubectl unigpu limit" not in whole and "accepted: a GPU with more memory" in whole


def test_limits_that_ended() -> None:
    wanted = limits.parse("memory=1Gi,cores=10", ["main"])
    request = PodRequest({"main": ASKED})
    assert (
        pod_words.ended("p", wanted, request, "") == "limits of pod p ended with it (main: memory 1024 MiB, cores 10 %)"
    )
    assert "the next pod of Job j starts as requested (main: 3072 MiB)" in pod_words.ended(
        "p", wanted, request, "Job j"
    )


def test_only_what_has_grown_is_new() -> None:
    assert pod_words.newly_refused(None, [0, 2]) == [1]
    assert pod_words.newly_refused([0, 2], [0, 2]) == []
    assert pod_words.newly_refused([0, 2], [1, 3]) == [0, 1]
