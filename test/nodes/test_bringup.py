"""What runs with which parameters: arguments to processes, and overrides that really win."""

import json
import os
import subprocess
import sys
from array import array
from importlib import metadata

import pytest
import yaml
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from rtc_ros.bringup import NodeToRun, config_file, nodes_to_run
from rtc_ros.overrides import override_text
from rtc_ros.parameter_files import yaml_value

REST = {"joints": ["a", "b"], "policy_path": "nowhere", "camera.top.topic": "top"}
OVERRIDES = {
    "s_min": 7,
    "beta": 2.0,
    "task": 'pass the "cube" ✓\n: yes',
    "strategy": "naive_async",
    "autostart": False,
    "joint_scale": [57.3, 2e-05],
    "cameras": ["top", "side"],
    "camera.top.transport": "compressed",
}
SAME_NAMES = {
    "s_min": 30,
    "beta": 9.0,
    "task": "file",
    "strategy": "rtc_hard",
    "autostart": True,
    "joint_scale": [1.0],
    "cameras": ["side"],
    "camera": {"top": {"transport": "raw"}, "side": {"topic": "side"}},
}
SECTIONS = (
    "/**",
    "/**/rtc_inference",
    "rtc_inference",
    "/robot1/rtc_inference",
    "/*/rtc_inference",
    "/**:rtc_inference",  # nested
)


def parameter_file(path, names):
    """A file in which each section sets what the overrides set, and the first all the rest."""
    tree = {}
    for i, name in enumerate(names):
        values = {**(REST if i == 0 else {}), **SAME_NAMES}
        below = tree
        for key in name.split(":"):
            below = below.setdefault(key, {})
        below["ros__parameters"] = values
    path.write_text(json.dumps(tree))  # YAML without aliases, which ROS 2 doesn't read
    return str(path)


@pytest.mark.ros
@pytest.mark.parametrize("namespace", ["", "robot1"])
@pytest.mark.parametrize("names", [SECTIONS, ("/**", *SECTIONS[:0:-1]), SECTIONS[::-1]])
def test_overrides_win_in_the_running_node(robot, tmp_path, names, namespace):
    file = parameter_file(tmp_path / "robot.yaml", names)
    node = NodeToRun("rtc_inference", namespace, (file,), OVERRIDES)
    if names[0] == "/**" and int(metadata.version("rclpy").split(".")[0]) < 9:
        # Jazzy's rcl reads no section that is nested behind a section's parameters.
        command = [sys.executable, "-m", node.module, *node.ros_arguments()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "Couldn't parse params file" in done.stderr
        assert "Traceback" not in done.stderr
        file = parameter_file(tmp_path / "robot.yaml", names[::-1])
        node = NodeToRun("rtc_inference", namespace, (file,), OVERRIDES)
    robot.processes.start([node])
    service = f"{'/' + namespace if namespace else ''}/rtc_inference/get_parameters"
    answer = robot.ask(GetParameters, service, GetParameters.Request(names=list(OVERRIDES)))
    got = [parameter_value_to_python(v) for v in answer.values]
    got = [list(v) if isinstance(v, array) else v for v in got]
    assert dict(zip(OVERRIDES, got, strict=True)) == OVERRIDES


def test_text_says_each_type_again():
    values = {"i": 3, "f": 5.0, "b": True, "s": "no", "y": "y", "l": ["1", "a: b"]}
    assert yaml.safe_load(override_text([], values)) == {"/**": {"ros__parameters": values}}
    assert yaml_value([float("nan"), float("inf"), -float("inf")]) == "[.nan, .inf, -.inf]"


def by_name(nodes):
    return {node.executable: node for node in nodes}


def test_each_argument_goes_to_its_node():
    values = {"s_min": "7", "beta": "2", "use_sim_time": "true", "seed": "3", "record": "bag"}
    values["record_with"] = "ros2_bag"
    nodes = by_name(nodes_to_run({**values, "namespace": "robot1"}, simulated=True))
    assert list(nodes) == ["rtc_sim", "rtc_inference", "rtc_controller", "rtc_recorder"]
    assert nodes["rtc_inference"].parameters == {"use_sim_time": True, "s_min": 7, "beta": 2.0}
    assert isinstance(nodes["rtc_inference"].parameters["beta"], float)
    assert nodes["rtc_controller"].parameters == {"use_sim_time": True}
    assert nodes["rtc_sim"].parameters == {"use_sim_time": True, "seed": 3}
    recorder = {"use_sim_time": True, "output": "bag", "record_with": "ros2_bag"}
    assert nodes["rtc_recorder"].parameters == recorder
    assert {n.namespace for n in nodes.values()} == {"robot1"}
    assert {n.params_files for n in nodes.values()} == {(config_file("sim.yaml"),)}


SEEN = """
/**/rtc_inference:
  ros__parameters: {cameras: CAMERAS, camera.top.topic: a/top, camera.side: {topic: /b/side}}
/**/rtc_recorder:
  ros__parameters: {RECORDER}
"""
NAMED = {"camera_topics": ["a/top", "/b/side"], "cameras": False}


@pytest.mark.parametrize(
    ("cameras", "recorder", "asked", "told"),
    [
        ("[top, side]", "", True, NAMED),
        ("[top, side]", "cameras: true", False, NAMED),
        (
            "[top]",
            "camera_topics: [a/top, film]",
            True,
            {"camera_topics": ["a/top", "film"], "cameras": False},
        ),
        ("[top, side]", "", False, {}),
        # What can't be told is left to the recorder, which hears it from rtc_inference.
        ("[top, wrist]", "", True, {"cameras": True}),
        ("['']", "", True, {"cameras": True}),
        ("top", "", True, {"cameras": True}),
        ("3", "", True, {"cameras": True}),
    ],
)
def test_the_recorder_knows_the_policy_s_cameras_before_the_policy_is_there(
    tmp_path, cameras, recorder, asked, told
):
    """Else it would lack the image that the first chunk is made of."""
    path = tmp_path / "robot.yaml"
    path.write_text(SEEN.replace("CAMERAS", cameras).replace("RECORDER", recorder))
    values = {"params_file": str(path), "record": "bag"}
    values |= {"record_cameras": "true"} if asked else {}
    nodes = by_name(nodes_to_run(values, simulated=False))
    assert nodes["rtc_recorder"].parameters == {"output": "bag", **told}


def test_of_a_linked_robot_the_images_that_the_policy_sees_are_recorded(tmp_path):
    values = {"record": str(tmp_path / "bag"), "record_cameras": "true"}
    nodes = by_name(nodes_to_run(values, simulated=True, machine="robot"))
    assert nodes["rtc_recorder"].parameters["camera_topics"] == ["rtc_link/image/top"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "params_file:= must name the YAML file of your robot"),
        ({"params_file": "/nowhere.yaml"}, "/nowhere.yaml is not a file"),
        ({"s_min": "many"}, "s_min:=many is not a whole number"),
        ({"s_min": "true"}, "s_min:=true is not a whole number"),
        ({"beta": "[1]"}, "beta:=[1] is not a number"),
        ({"use_sim_time": "perhaps"}, "use_sim_time:=perhaps is not true or false"),
        ({"namespace": "my-robot"}, "namespace:=my-robot is not a ROS namespace"),
        ({"log_level": "loud"}, "log_level:=loud is not one of debug, info"),
        ({"speed": "3"}, "unknown argument speed; there are "),
        ({"record": "/tmp"}, "record:=/tmp exists already and a recording never overwrites"),
    ],
)
def test_what_can_not_be_is_refused_with_a_sentence(values, sentence):
    given = {**({"params_file": config_file("sim.yaml")} if values else {}), **values}
    with pytest.raises(ValueError, match=sentence.replace("[", r"\[")):
        nodes_to_run(given, simulated=False)


@pytest.mark.parametrize("text", ["1e2", "1.0e2", "100"])
def test_a_number_is_one_however_it_is_written(text):
    values = {"params_file": config_file("sim.yaml"), "inject_latency_ms": text}
    nodes = {n.executable: n for n in nodes_to_run(values, simulated=False)}
    assert nodes["rtc_inference"].parameters["inject_latency_ms"] == 100.0


DATE = "a: {ros__parameters: {joints: 2024-99-99}}"


@pytest.mark.parametrize("text", ["a: [", "a: 1\n", "- a\n", "", "a: {ros__parameters", DATE])
def test_a_file_that_holds_no_parameters_is_named(tmp_path, text):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"robot\.yaml"):
        nodes_to_run({"params_file": str(path)}, simulated=False)


def test_start_says_it_in_one_line(repo):
    done = subprocess.run(
        [sys.executable, "-m", "rtc_ros.tools.cli", "start", "rtc"],
        cwd=repo,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("params_file:= must name") and done.stderr.count("\n") == 1


def test_the_override_files_go_with_the_process_that_made_them(tmp_path):
    script = (
        "from rtc_ros.bringup import NodeToRun as N\n"
        "print(N('rtc_sim', parameters={'seed': 1}).ros_arguments()[-1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())
