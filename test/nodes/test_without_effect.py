"""Nothing that a person sets is dropped without a word: parameters, paths, a live clock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
import yaml
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.parameter import Parameter
from robot_double import PARAMETERS

from rtc_ros.bringup import (
    MODULES,
    NodeToRun,
    config_file,
    is_launched,
    nodes_to_run,
    refuse_undeclared,
)
from rtc_ros.overrides import losing, with_last_words
from rtc_ros.parameter_catalogue import NODES, given_to_several, without_effect
from rtc_ros.parameter_files import read_sections, sections
from rtc_ros.preflight.setup import read_setup
from rtc_ros.tools import preflight

CONFIGURATIONS = ("sim.yaml", "so101_pair.yaml", "viperx_pair.yaml", "openarm_pair.yaml")


def told(executable: str, *names: str, shared: bool = False, **lists: list[str]) -> str:
    given = {**dict.fromkeys(names, 0), **lists}
    return "; ".join(without_effect(executable, given, lambda _: shared))


@pytest.mark.parametrize(
    ("executable", "name", "said"),
    [
        ("rtc_controller", "dry_runn", "did you mean dry_run?"),
        ("rtc_controller", "dryRun", "did you mean dry_run?"),
        ("rtc_controller", "following_tolerence", "did you mean following_tolerance?"),
        ("rtc_controller", "max_accelaration", "did you mean max_acceleration?"),
        ("rtc_inference", "smin", "did you mean s_min?"),
        ("rtc_inference", "dry_run", "one of rtc_controller: set it there"),
        ("rtc_controller", "s_min", "one of rtc_inference: set it there"),
        ("rtc_controller", "handofname", "did you mean handoff_name?"),
        ("rtc_monitor", "dry_runn", "did you mean dry_run of rtc_controller?"),
        ("rtc_recorder", "zzzzzzzz", "see docs/parameters.md"),
        ("rtc_sim", "sed", "did you mean seed?"),
    ],
)
def test_a_parameter_that_no_one_declares_is_named_with_the_nearest(
    executable: str, name: str, said: str
) -> None:
    sentence = told(executable, name)
    assert sentence.startswith(f"{executable} has no parameter {name}") and said in sentence


def test_sub_parameters_are_held_against_the_list_of_their_owners() -> None:
    groups = {"command_groups": ["left", "right"]}
    near = told("rtc_controller", "group.left.tpoic", **groups)
    assert "group.left.tpoic; did you mean group.left.topic?" in near
    absent = told("rtc_controller", "group.arm.topic", **groups)
    assert "group.arm.topic: command_groups names left, right only" in absent
    assert not told("rtc_controller", "group.left.topic", "group.right.joints", **groups)
    assert "camera.top.tpic; did you mean camera.top.topic?" in told(
        "rtc_inference", "camera.top.tpic", cameras=["top"]
    )
    assert "one of rtc_sim" in told("rtc_inference", "camera.top.rate_hz", cameras=["top"])


def test_what_rclpy_declares_and_what_is_shared_is_fine() -> None:
    for name in ("use_sim_time", "start_type_description_service"):
        assert not told("rtc_controller", name)
    reliable = {"qos_overrides./joint_states.subscription.reliability": "reliable"}
    assert not told("rtc_controller", **reliable)
    for name in ("dry_run", "s_min", "camera.top.topic", "group.any.topic", "seed", "window"):
        assert not told("rtc_inference", name, shared=True)
    assert "dry_runn; did you mean dry_run" in told("rtc_inference", "dry_runn", shared=True)


def test_what_is_shared_is_read_from_the_files(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "/**": {"ros__parameters": {"dry_run": True, "group": {"a": {"topic": "x"}}}},
                "robot1": {"*": {"ros__parameters": {"window": 1.0}}},
                "/**/rtc_inference": {"ros__parameters": {"seed": 3}},
            }
        )
    )
    shared = given_to_several(["x", "--params-file", str(path)], "rtc_inference")
    assert shared("dry_run") and shared("group.a.topic") and shared("window")
    assert not shared("seed") and not shared("s_min")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_shipped_files_name_nothing_that_is_not(name: str) -> None:
    tree = yaml.safe_load(Path(config_file(name)).read_text())
    for section, below in tree.items():
        executable = section.rpartition("/")[2]
        if executable in NODES:
            values = dict(_flat(below["ros__parameters"]))
            assert not without_effect(executable, values, lambda _: False)


def _flat(tree, above=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def run(executable: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", MODULES[executable], "--ros-args", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.ros
@pytest.mark.parametrize("executable", sorted(NODES))
def test_every_node_refuses_it_before_anything_else(executable: str) -> None:
    done = run(executable, "-p", "dry_runn:=true", "-p", "smin:=10")
    assert done.returncode == 2, done.stderr
    for name, meant in (("dry_runn", "dry_run"), ("smin", "s_min")):
        assert f"{executable} has no parameter {name}; did you mean {meant}" in done.stderr
    assert "Traceback" not in done.stderr


QOS = "qos_overrides."


@pytest.mark.ros
@pytest.mark.parametrize("dry", ["true", "false"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("/joint_statez.subscription.reliability", "reliable",
         f"did you mean {QOS}/joint_states.subscription.reliability?"),
        ("/joint_states.publisher.reliability", "reliable",
         f"did you mean {QOS}/joint_states.subscription.reliability?"),
        ("/joint_states.subscription.reliabilty", "reliable",
         f"did you mean {QOS}/joint_states.subscription.reliability?"),
        ("/arm/comands.publisher.depth", "5", f"did you mean {QOS}/arm/commands.publisher.depth?"),
        ("/joint_states.subscription.durability", "volatile", "history, depth, reliability can"),
        ("/joint_states.subscription.reliability", "reliabel",
         "is 'reliabel'; it must be one of reliable, best_effort"),
        ("/joint_states.subscription.depth", "0", "is 0; it must be a whole number above 0"),
        ("/joint_states.subscription.depth", "many", "is 'many'; it must be a whole number"),
    ],
)  # fmt: skip
def test_an_override_of_quality_of_service_that_takes_no_effect_is_refused(
    tmp_path, monkeypatch, capsys, name, value, said, dry
):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    words = NodeToRun("rtc_controller", parameters={**PARAMETERS, "dry_run": dry == "true"})
    done = run("rtc_controller", *words.ros_arguments()[1:], "-p", f"{QOS}{name}:={value}")
    assert done.returncode == 2 and f"{QOS}{name}" in done.stderr and said in done.stderr
    assert "Traceback" not in done.stderr
    file = parameter_file(tmp_path, **{QOS + name: yaml.safe_load(value)})
    assert preflight.main([file]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.parametrize("executable", sorted(NODES))
def test_no_node_takes_an_override_for_a_topic_that_it_does_not_have(executable, tmp_path):
    parameters = {
        **(PARAMETERS if executable in ("rtc_controller", "rtc_inference") else {}),
        **({"policy_path": "/nowhere", "cameras": ["top"], "camera.top.topic": "cam",
            "autostart": False} if executable == "rtc_inference" else {}),
        **({"joints": ["a"], "control_period": 0.02, "robot_name": "arm"}
           if executable.startswith("rtc_link") else {}),
        **({"output": str(tmp_path / "bag")} if executable == "rtc_recorder" else {}),
    }  # fmt: skip
    parameters = {k: v for k, v in parameters.items() if not told(executable, k, shared=False)
                  or k.startswith(("camera.", "group."))}  # fmt: skip
    if executable == "rtc_inference":
        parameters = {k: v for k, v in parameters.items() if not k.startswith("group.")}
    name = f"{QOS}/nowhere.subscription.depth"
    words = NodeToRun(executable, parameters=parameters).ros_arguments()[1:]
    done = run(executable, *words, "-p", f"{name}:=3")
    assert done.returncode == 2, done.stderr
    assert f"{executable} has no parameter {name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_section_for_several_nodes_another_one_may_have_the_topic(tmp_path):
    file = parameter_file(tmp_path)
    tree = yaml.safe_load(Path(file).read_text())
    tree["/**"]["ros__parameters"][f"{QOS}/cam.subscription.depth"] = 2
    tree["/**/rtc_controller"]["ros__parameters"][f"{QOS}/arm/commands.publisher.depth"] = 2
    Path(file).write_text(yaml.safe_dump(tree))
    context = Context()
    rclpy.init(args=[], context=context)
    assert read_setup(file, {}, context).groups
    context.shutdown()


def parameter_file(folder: Path, **controller: object) -> str:
    path = folder / "robot.yaml"
    common = {k: v for k, v in PARAMETERS.items() if k in ("joints", "control_period")}
    own = {k: v for k, v in PARAMETERS.items() if k not in (*common, "handoff_name")}
    tree = {
        "/**": {"ros__parameters": {**common, "max_queue_mb": 5}},
        "/**/rtc_inference": {
            "ros__parameters": {
                "policy_path": "/nowhere",
                "cameras": ["top"],
                "camera.top.topic": "cam",
            }
        },
        "/**/rtc_controller": {"ros__parameters": {**own, **controller}},
    }
    path.write_text(yaml.safe_dump(tree, default_flow_style=None))
    return str(path)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dry_runn": True}, "dry_runn; did you mean dry_run?"),
        ({"task": "fold it"}, "rtc_controller has no parameter task; it is one of rtc_inference"),
        ({"group.arm.tpoic": "x"}, "group.arm.tpoic; did you mean group.arm.topic?"),
        ({"group.leg.topic": "x"}, "group.leg.topic: command_groups names arm, hand only"),
        ({"max_velocity": [1.0, 2, 3]}, "max_velocity has whole numbers among others"),
        ({"joints": ["a", 1, "c"]}, "joints has values of different types (int, str)"),
        ({"joint_limits_file": "$RTC_NOT_SET/x"}, "RTC_NOT_SET, which isn't set"),
    ],
)
def test_preflight_says_so_in_one_line(tmp_path, capsys, wrong, said):
    assert preflight.main([parameter_file(tmp_path, **wrong)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("✗ ") and said in error and error.count("\n") == 1


def file_with(folder: Path, **sections: dict[str, object]) -> str:
    path = Path(parameter_file(folder))
    tree = yaml.safe_load(path.read_text())
    tree |= {name: {"ros__parameters": values} for name, values in sections.items()}
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("/**/rtc_recorder", "camerass", True,
         "rtc_recorder has no parameter camerass; did you mean cameras?"),
        ("/left/rtc_recorder", "record_with", "rosbag", "record_with is 'rosbag'; it must be"),
        ("/**/rtc_recorder", f"{QOS}/cam.subscription.depth", 2,
         f"rtc_recorder has no parameter {QOS}/cam.subscription.depth"),
        ("/**/rtc_monitor", "windw", 1.0, "rtc_monitor has no parameter windw; did you mean win"),
        ("/**", "dry_runn", True, "has no parameter dry_runn; did you mean dry_run"),
    ],
)  # fmt: skip
def test_preflight_reads_the_sections_of_recorder_and_monitor(
    tmp_path, capsys, section, name, value, said
):
    """Before, they refused it at launch, when the arms already moved."""
    file = file_with(tmp_path, **{section: {name: value}})
    assert preflight.main([file, "namespace:=left"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert error.count(f"rtc_recorder has no parameter {name}") <= 1
    assert "rtc_monitor has no parameter dry_runn" not in error


@pytest.mark.parametrize(
    ("section", "namespace", "said"),
    [
        ("/**/rtc_controler", "", "/**/rtc_controler is for no node of rtc_ros; did you mean "
                                  "/**/rtc_controller?"),
        ("RTC-Controller", "left", "did you mean /rtc_controller?"),
        ("/**/rct_controller", "", "did you mean /**/rtc_controller?"),
        ("/left/rtc_inferrence", "left", "did you mean /left/rtc_inference?"),
        ("/**/rtc_record", "", "did you mean /**/rtc_recorder?"),
        ("/rtc_controller", "left", "section /rtc_controller is for no node that is started, that "
                                    "one is /left/rtc_controller: name it /**/rtc_controller"),
        ("rtc_controller", "/left/", "that one is /left/rtc_controller"),
        ("/left/rtc_controller", "", "that one is /rtc_controller"),
        ("/left/rtc_controller", "right", "that one is /right/rtc_controller"),
        ("/*/rtc_recorder", "", "that one is /rtc_recorder"),
    ],
)  # fmt: skip
def test_a_section_that_reaches_no_node_is_refused(
    tmp_path: Path, capsys, section: str, namespace: str, said: str
) -> None:
    """Before, ``dry_run: true`` in it was dropped: the arms moved."""
    file = file_with(tmp_path, **{section: {"dry_run": True}})
    with pytest.raises(ValueError, match=re.escape(said)):
        nodes_to_run({"params_file": file, "namespace": namespace}, simulated=False)
    assert preflight.main([file, *([f"namespace:={namespace}"] * bool(namespace))]) == 2
    error = capsys.readouterr().err
    assert said in error and file in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("sections", "namespace"),
    [
        (["/left/forward_controller", "/controller_manager", "joint_trajectory_controller"], ""),
        (["/controller", "/left/camera", "/**/rtabmap", "/recorder", "/*/inference"], ""),
        (["/rtc_controller", "rtc_inference"], ""),
        (["/left/rtc_controller", "/right/rtc_controller"], "left"),
        (["/*/rtc_controller", "/left/*", "/right/**"], "left"),
        (["/left/right/rtc_monitor"], "left/right"),
    ],
)
def test_other_nodes_and_robots_may_have_sections(
    tmp_path: Path, sections: list[str], namespace: str
) -> None:
    file = file_with(tmp_path, **{section: {"joints": ["a"]} for section in sections})
    assert nodes_to_run({"params_file": file, "namespace": namespace}, simulated=False)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("joint_limits_file:=/nowhere/limits.yaml", "/nowhere/limits.yaml can't be read"),
        ("rtc_controller:joint_limits_file:=/nowhere/limits.yaml", "/nowhere/limits.yaml can't"),
        ("max_velocity:=[0.0, 1.0, 1.0]", "velocity limit of a is 0; it could never move"),
        ("position_margin:=[-1e-3]", "a position_margin is negative"),
        ("joints:=[a, b, a]", "joints names a more than once"),
        ("s_min:=3", "rtc_controller has no parameter s_min; it is one of rtc_inference"),
    ],
)
def test_what_the_command_line_says_wins_over_the_file(tmp_path, monkeypatch, rule, said):
    """Before, the file's section of the node won: with -p dry_run:=true the arm moved."""
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    limits = tmp_path / "limits.yaml"
    limits.write_text("joint_limits: {}")
    file = parameter_file(tmp_path, joint_limits_file=str(limits), position_margin=[0.0])
    done = run("rtc_controller", "--params-file", file, "-p", rule)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def two_files(folder: Path, **second: object) -> list[str]:
    later = folder / "launch_params"
    later.write_text(yaml.safe_dump({"/**": {"ros__parameters": second}}))
    return ["--params-file", parameter_file(folder, dry_run=False), "--params-file", str(later)]


@pytest.mark.ros
def test_of_two_files_the_later_does_not_lose_without_a_word(tmp_path):
    """As a launch file's ``parameters=[FILE, {"dry_run": True}]`` does."""
    done = run("rtc_controller", *two_files(tmp_path, dry_run=True))
    assert done.returncode == 2, done.stderr
    assert f"dry_run is True in {tmp_path}/launch_params (section /**)" in done.stderr
    assert f"False in {tmp_path}/robot.yaml (section /**/rtc_controller), which w" in done.stderr


def test_a_file_as_launch_writes_it_is_read_as_ros_reads_it(tmp_path):
    """Before, nobody but rcl could read it, and nothing was known of what it sets."""
    words = two_files(tmp_path, dry_run=True)
    Path(words[-1]).write_text(
        "/**:\n  ros__parameters:\n    dry_run: true\n    max_acceleration: !!python/tuple\n"
        "    - 3.0\n    soft_start: !x 2.0\n"
    )
    (section,) = sections(read_sections(words[-1]))
    assert section[1] == {"dry_run": True, "max_acceleration": [3.0], "soft_start": 2.0}
    told = losing(words, "/rtc_controller")
    assert [sentence.partition(" is ")[0] for sentence in told] == ["dry_run", "soft_start"]


def test_two_files_that_agree_or_name_other_sections_are_fine(tmp_path):
    assert losing(two_files(tmp_path, dry_run=True), "/left/rtc_controller")
    assert not losing(two_files(tmp_path, dry_run=True), "/rtc_inference")
    assert not losing(two_files(tmp_path, dry_run=False, tick_source='timer'), "/rtc_controller")
    words = NodeToRun("x", "", (two_files(tmp_path)[1],), {"dry_run": True}).ros_arguments()
    assert not losing(words, "/rtc_controller")


@pytest.mark.parametrize(
    ("words", "wins"),
    [
        ("-p dry_run:=true", {"dry_run": True}),
        ("--param rtc_controller:seed:=3 -p /left/rtc_controller:task:=fold",
         {"seed": 3, "task": "fold"}),
        ("-p seed:=1 -p seed:=2", {"seed": 2}),
        ("-p rtc_inference:seed:=3", {}),
        ("-- -p seed:=3", {}),
        ("-p seed", {}),
        ("-p", {}),
    ],
)  # fmt: skip
def test_the_words_that_win_are_those_for_this_node(tmp_path, words, wins):
    file = parameter_file(tmp_path)
    line = ["x", "--ros-args", "--params-file", file, *words.split()]
    made = with_last_words(line, "rtc_controller")
    assert made[: len(line)] == line
    if not wins:
        assert made == line
        return
    tree = yaml.safe_load(Path(made[-1]).read_text())
    assert set(tree) == {"/**", "/**/rtc_inference", "/**/rtc_controller"}
    assert all(part == {"ros__parameters": wins} for part in tree.values())
    assert with_last_words(["x", "--ros-args", *words.split()], "rtc_controller")[-1] != made[-1]


def test_lists_that_ros_takes_are_no_mixture(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("/**:\n  ros__parameters: {a: [1.0, 1e-3], b: [1, 2], c: [yes, true]}\n")
    assert nodes_to_run({"params_file": str(path)}, simulated=False)


@pytest.mark.ros
def test_use_sim_time_is_not_changed_while_the_node_runs(robot):
    robot.start()
    for value, successful in ((True, False), (False, True)):
        change = [Parameter("use_sim_time", value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=change)
        (answer,) = robot.ask(SetParameters, "rtc_controller/set_parameters", request).results
        assert answer.successful is successful
        assert successful or "start it with use_sim_time:=true" in answer.reason
    names = GetParameters.Request(names=["use_sim_time"])
    (now,) = robot.ask(GetParameters, "rtc_controller/get_parameters", names).values
    assert now.bool_value is False


# ---------------------------------------------------------------------------- launch arguments


@pytest.mark.parametrize(
    ("line", "launched"),
    [
        ("ros2 launch rtc_ros rtc.launch.py dryrun:=true", True),
        ("ros2 launch /ws/install/rtc_ros/share/rtc_ros/launch/rtc.launch.py", True),
        ("ros2 launch my_robot rtc.launch.py robot_ip:=10.0.0.2", False),
        ("ros2 launch /home/me/rtc.launch.py", False),
        ("python my_launcher.py", False),
    ],
)
def test_whether_our_file_is_the_launched_one(line: str, launched: bool) -> None:
    assert is_launched(line.split(), "rtc.launch.py") is launched


@pytest.mark.parametrize(
    ("line", "given", "told"),
    [
        ("ros2 launch rtc_ros rtc.launch.py", "dryrun", "dryrun; did you mean dry_run:=…?"),
        ("ros2 launch rtc_ros rtc.launch.py", "robot_ip", "unknown argument robot_ip"),
        ("ros2 launch rtc_ros rtc.launch.py", "cube_speed", "one of the simulation only"),
        ("ros2 launch my_robot all.launch.py", "robot_ip", ""),
        ("ros2 launch my_robot all.launch.py", "DryRun", "DryRun; did you mean dry_run:=…?"),
    ],
)
def test_an_argument_that_nobody_declares_ends_the_launch(
    line: str, given: str, told: str
) -> None:
    configurations = {given: "true", "dry_run": "false", "params_file": "robot.yaml"}
    if not told:
        refuse_undeclared(configurations, line.split(), simulated=False)
        return
    with pytest.raises(ValueError, match=re.escape(told)):
        refuse_undeclared(configurations, line.split(), simulated=False)


def test_each_launch_file_has_arguments_of_its_own() -> None:
    for file, machine, wrong in (
        ("robot", "robot", "policy_path; it is one of the gpu machine's"),
        ("gpu", "gpu", "dry_run; it is one of the robot machine's"),
    ):
        name = wrong.partition(";")[0]
        words = f"ros2 launch rtc_ros {file}.launch.py {name}:=x".split()
        with pytest.raises(ValueError, match=re.escape(wrong)):
            refuse_undeclared({name: "x"}, words, simulated=False, machine=machine)
    words = ["ros2", "launch", "rtc_ros", "sim.launch.py", "cube_speed:=1"]
    refuse_undeclared({"cube_speed": "1"}, words, simulated=True)


def test_an_argument_that_was_given_no_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("gives params_file no value: write params_f")):
        nodes_to_run({"params_file": "policy_path:=/x"}, simulated=False)
    file = parameter_file(tmp_path)
    assert nodes_to_run({"params_file": file, "task": "as said: a:=b"}, simulated=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/**:\n  ros__parameters:\n\tjoints: [a]\n",
         "line 3, column 1: found character '\\t' that cannot start any token; indent with sp"),
        ("/**:\n  ros__parameters:\n    b: [1, 2\n    c: 3\n", "line 4, column 6: expected ','"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_yaml_is_told_by_line_and_column(tmp_path, text, said) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        nodes_to_run({"params_file": str(file)}, simulated=False)
    assert "\n" not in str(refused.value)


# --------------------------------------------------------------------------------------- paths


def test_launch_arguments_that_are_paths_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    file = parameter_file(tmp_path)
    values = {
        "params_file": "~/robot.yaml",
        "record": "$RUNS/bag",
        "policy_path": "~/${RTC_MODEL}",
    }
    with pytest.raises(ValueError, match="RTC_MODEL, which isn't set"):
        nodes_to_run(values, simulated=False)
    monkeypatch.setenv("RTC_MODEL", "fold")
    nodes = {n.executable: n for n in nodes_to_run(values, simulated=False)}
    assert nodes["rtc_inference"].parameters["policy_path"] == str(tmp_path / "fold")
    assert nodes["rtc_recorder"].parameters["output"] == str(tmp_path / "runs" / "bag")
    assert nodes["rtc_controller"].params_files == (file,)
    (tmp_path / "runs" / "bag").mkdir(parents=True)
    with pytest.raises(ValueError, match="runs/bag exists already"):
        nodes_to_run(values, simulated=False)


@pytest.mark.ros
def test_parameters_that_are_paths_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    node = NodeToRun(
        "rtc_controller", parameters={**PARAMETERS, "joint_limits_file": "~/limits.yaml"}
    )
    done = run("rtc_controller", *node.ros_arguments()[1:])
    assert done.returncode == 2 and f"{tmp_path}/limits.yaml" in done.stderr
    assert {p.name for n in NODES.values() for p in n.table if p.path} == {
        "policy_path",
        "weak_policy_path",
        "backbone_path",
        "joint_limits_file",
        "output",
    }
    assert os.path.isdir(tmp_path) and not (tmp_path / "~").exists()
