"""The command line."""

from pathlib import Path

import pytest

from scheduler import settings
from scheduler.settings import Settings
from unigpu.requests import PlacementPolicy


def test_everything_has_a_default() -> None:
    assert settings.parse([]) == Settings()


def test_everything_can_be_told() -> None:
    told = (
        "--port 1 --metrics-port 2 --kubeconfig k --context c --scheduler-name s --shares-per-gpu 4 "
        "--gpu-policy topology-aware --node-policy spread --api-timeout 1.5 --watch-seconds 7 --watch-silence 9 "
        "--page 3 --kube-scheduler-version v1.36.3 --log-json --log-level debug"
    )
    assert settings.parse(told.split()) == Settings(
        port=1,
        metrics_port=2,
        kubeconfig=Path("k"),
        context="c",
        scheduler_name="s",
        shares_per_gpu=4,
        gpu_policy=PlacementPolicy.TOPOLOGY,
        node_policy=PlacementPolicy.SPREAD,
        api_timeout=1.5,
        watch_seconds=7,
        watch_silence=9.0,
        page=3,
        kube_scheduler_version="v1.36.3",
        log_json=True,
        log_level="debug",
    )


@pytest.mark.parametrize(
    "told",
    [
        "--shares-per-gpu 0",
        "--page x",
        "--gpu-policy best",
        "--node-policy topology-aware",
        "--log-level loud",
        "--what",
    ],
)
def test_what_makes_no_sense_is_refused(told: str) -> None:
    with pytest.raises(SystemExit) as caught:
        settings.parse(told.split())
    assert caught.value.code == 2
