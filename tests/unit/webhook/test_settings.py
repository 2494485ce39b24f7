import pytest

from webhook import settings
from webhook.translation.options import AliyunUnit, BareGpu, Options


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    monkeypatch.delenv("POD_NAME", raising=False)
    parsed = settings.parse([])
    assert parsed.options == Options()
    assert parsed.trusted_writers == (
        "system:serviceaccount:unigpu-system:unigpu-scheduler",
        "system:serviceaccount:unigpu-system:unigpu-node-agent",
    )


def test_what_the_chart_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "gpus")
    monkeypatch.setenv("POD_NAME", "unigpu-webhook-1")
    parsed = settings.parse(
        [
            *("--aliyun-unit=MiB", "--bare-nvidia-gpu=leave", "--no-opting-out", "--scheduler=mine", "--log-json"),
            *("--volcano-memory-factor=10", "--context-memory=300"),
        ]
    )
    assert (parsed.options.volcano_factor, parsed.options.context_memory) == (10, 300)
    assert (parsed.namespace, parsed.pod_name, parsed.log_json) == ("gpus", "unigpu-webhook-1", True)
    assert parsed.trusted_writers[0] == "system:serviceaccount:gpus:unigpu-scheduler"
    assert parsed.options.aliyun_unit is AliyunUnit.MIB
    assert parsed.options.bare_gpu is BareGpu.LEAVE
    assert not parsed.options.opting_out
    assert parsed.options.schedulers >= {"mine", "volcano"}


@pytest.mark.parametrize("argument", ["--aliyun-unit=GB", "--certificate-seconds=0", "--port=x", "--unknown"])
def test_what_isnt_understood_ends_with_2(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.parse([argument])
    assert ended.value.code == 2
    assert argument.split("=")[0] in capsys.readouterr().err
