"""`make demo` itself: its exit status, what it prints after an error, and that only one runs at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cluster import build
from demo import __main__ as demo
from demo import packages, preflight, steps

PLAN = preflight.Plan(Path("/config"), False, "kubectl", "helm", {}, "simulated")


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that can run the demo; the folder of its logs."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(demo, "LOGS", tmp_path)
    monkeypatch.setattr(demo, "TABLE", tmp_path / "table.txt")
    monkeypatch.setattr(demo, "PLAN", tmp_path / "plan.json")
    monkeypatch.setattr(build, "is_current", lambda: True)
    monkeypatch.setattr(packages, "missing", lambda *, tests: [])
    monkeypatch.setattr(preflight, "plan", lambda _environment: PLAN)
    monkeypatch.setattr(preflight, "require", lambda _plan, *, build: None)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, action: Callable[[steps.Step], None]) -> None:
    """Replace the commands of the steps by this action."""

    def group(_runner: steps.Runner, chosen: list[steps.Step]) -> None:
        for step in chosen:
            if step.skip() is None:
                action(step)

    monkeypatch.setattr(steps.Runner, "run", group)


def test_the_steps_run_in_order_and_the_table_is_printed(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def action(step: steps.Step) -> None:
        ran.append(step.name)
        if step.name == "Pods":
            (ready / "table.txt").write_text("the table\n")

    run(monkeypatch, action)
    assert demo.main() == 0
    assert ran == ["Python environment", "libvgpu and simulated driver", "Images", "Cluster", "Chart", "Pods"]
    assert capsys.readouterr().out.startswith("the table\n")
    assert '"driver": "simulated"' in (ready / "plan.json").read_text()


def test_on_the_users_cluster_nothing_is_built_or_started(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    images: Mapping[str, str] = {"services": "unigpu:1"}
    own = preflight.Plan(Path("/config"), True, "kubectl", "helm", images, "nvidia")
    monkeypatch.setattr(preflight, "plan", lambda _environment: own)
    (ready / "table.txt").write_text("the table\n")
    run(monkeypatch, lambda step: ran.append(step.name))
    assert demo.main() == 0
    assert ran == ["Python environment", "Chart", "Pods"]


def test_a_failed_step_says_how_to_go_on(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action(step: steps.Step) -> None:
        raise steps.StepFailed(f"The step “{step.name}” failed.")

    run(monkeypatch, action)
    assert demo.main() == 1
    assert "Fix the problem, then run `make demo` again" in capsys.readouterr().err


def test_an_interrupt_ends_with_its_status(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action(_step: steps.Step) -> None:
        raise KeyboardInterrupt

    run(monkeypatch, action)
    assert demo.main() == 130
    assert "`make down` removes the local cluster" in capsys.readouterr().err


def test_a_second_demo_is_refused_while_one_runs(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second: list[int] = []

    def action(_step: steps.Step) -> None:
        second.append(demo.main())
        raise steps.StepFailed("enough")

    run(monkeypatch, action)
    assert demo.main() == 1
    assert second == [1]
    assert "Another `make demo` of this checkout is running (process " in capsys.readouterr().err


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--now", 2)])
def test_arguments_start_nothing(ready: Path, monkeypatch: pytest.MonkeyPatch, argument: str, status: int) -> None:
    run(monkeypatch, lambda step: pytest.fail(f"{step.name} was run"))
    with pytest.raises(SystemExit) as ended:
        demo.main([argument])
    assert ended.value.code == status
