"""What the launch files start, where the launch system is: exactly what bringup describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("launch_ros", reason="the launch system is not among the wheels")

from ament_index_python.packages import get_packages_with_prefixes  # noqa: E402
from launch import LaunchContext, LaunchDescription, LaunchService  # noqa: E402
from launch.actions import (  # noqa: E402
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart  # noqa: E402
from launch.events.process import ProcessExited, ProcessStarted  # noqa: E402

from rtc_ros.bringup import COMMON_ARGUMENTS, SIM_ARGUMENTS, config_file  # noqa: E402
from rtc_ros.launching import describe, end_where_refused  # noqa: E402

built = pytest.mark.skipif(
    "rtc_ros" not in get_packages_with_prefixes(), reason="rtc_ros is not built in this workspace"
)


def command_lines(expected: int, *, simulated: bool, **values: str) -> dict[str, list[str]]:
    """Launch for real, end all at once; return executable -> the words after it."""
    words: dict[str, list[str]] = {}

    def started(event: ProcessStarted, _: LaunchContext) -> list[Shutdown]:
        words[Path(event.cmd[0]).name] = event.cmd[1:]
        return [Shutdown()] if len(words) == expected else []

    service = LaunchService()
    given = [SetLaunchConfiguration(name, value) for name, value in values.items()]
    handler = RegisterEventHandler(OnProcessStart(on_start=started))
    service.include_launch_description(
        LaunchDescription([handler, *given, describe(simulated=simulated)])
    )
    service.run()
    return words


@built
def test_the_node_gets_the_arguments_on_top_of_its_file() -> None:
    lines = command_lines(
        3,
        simulated=True,
        s_min="7",
        beta="2.0",
        strategy="naive_async",
        namespace="robot1",
        log_level="warn",
    )
    assert set(lines) == {"rtc_sim", "rtc_inference", "rtc_controller"}
    file = config_file("sim.yaml")
    for name, words in lines.items():
        assert words[:3] == ["--ros-args", "--log-level", "warn"]
        assert "__ns:=/robot1" in words and f"__node:={name}" in words
        files = [words[i + 1] for i, word in enumerate(words) if word == "--params-file"]
        assert files[0] == file and "-p" not in words
        assert len(files) == (2 if name == "rtc_inference" else 1)
    (top,) = (Path(w) for w in lines["rtc_inference"] if "rtc_inference_" in w)
    wanted = {"s_min": 7, "beta": 2.0, "strategy": "naive_async"}
    sections = yaml.safe_load(top.read_text())
    assert set(sections) >= set(yaml.safe_load(Path(file).read_text())) | {"/**"}
    assert all(s == {"ros__parameters": wanted} for s in sections.values())


@built
def test_without_arguments_only_the_file_counts() -> None:
    for words in command_lines(3, simulated=True).values():
        assert words.count("--params-file") == 1 and "__ns:=/" in words


@built
def test_beside_the_user_s_driver_no_simulation_is_started(tmp_path: Path) -> None:
    lines = command_lines(
        3, simulated=False, params_file=config_file("sim.yaml"), record=str(tmp_path / "bag")
    )
    assert set(lines) == {"rtc_inference", "rtc_controller", "rtc_recorder"}


@pytest.mark.parametrize("simulated", [False, True])
def test_every_argument_is_declared_with_its_description(simulated: bool) -> None:
    table = SIM_ARGUMENTS if simulated else COMMON_ARGUMENTS
    declared = describe(simulated=simulated).get_launch_arguments()
    assert {a.name: a.description for a in declared} == {a.name: a.description for a in table}


def test_an_argument_that_nobody_declares_ends_the_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which ones do is held in test_without_effect.py, where there is no launch system."""
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "rtc_ros", "rtc.launch.py"])
    context = LaunchContext()
    context.launch_configurations.update({a.name: a.default for a in COMMON_ARGUMENTS})
    context.launch_configurations["dryrun"] = "true"
    with pytest.raises(ValueError, match=re.escape("dryrun; did you mean dry_run:=…?")):
        describe(simulated=False).entities[-1].execute(context)


@pytest.mark.parametrize(("code", "ends"), [(2, True), (0, False), (1, False), (-9, False)])
def test_a_node_that_refuses_to_begin_ends_the_launch(code: int, ends: bool) -> None:
    """Before, the others waited for it; one that is killed later leaves the controller its arm."""
    event = ProcessExited(
        action=None, name="rtc_controller-2", cmd=[], cwd=None, env=None, pid=1, returncode=code
    )
    actions = end_where_refused(event, LaunchContext())
    assert [type(action) for action in actions] == [Shutdown] * ends
    assert not ends or "rtc_controller-2 can't begin" in str(actions[0].event.reason)


@built
def test_of_three_nodes_one_that_refuses_ends_them_all(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    text = Path(config_file("sim.yaml")).read_text()
    file.write_text(text.replace("control_period: 0.02", "control_period: -1.0"))
    codes: dict[str, int] = {}

    def ended(event: ProcessExited, _: LaunchContext) -> None:
        codes[Path(event.cmd[0]).name] = event.returncode

    given = SetLaunchConfiguration("params_file", str(file))
    handler = RegisterEventHandler(OnProcessExit(on_exit=ended))
    late: list[LaunchContext] = []
    watchdog = TimerAction(
        period=60.0, actions=[OpaqueFunction(function=late.append), Shutdown(reason="too late")]
    )
    service = LaunchService()
    service.include_launch_description(
        LaunchDescription([handler, given, watchdog, describe(simulated=True)])
    )
    service.run()
    assert set(codes) == {"rtc_sim", "rtc_inference", "rtc_controller"}
    assert 2 in codes.values() and not late, codes
