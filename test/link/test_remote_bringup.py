"""What is started on each of two machines, from one parameter file."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rtc_ros.bringup import PROFILES, config_file, fast_dds, launch_arguments, nodes_to_run
from rtc_ros.parameter_files import given_to, read_sections

FILES = ("so101_pair.yaml", "viperx_pair.yaml", "openarm_pair.yaml", "sim.yaml")


def started(machine, file, **values):
    values = {"params_file": config_file(file), **values}
    return {n.executable: n for n in nodes_to_run(values, simulated=False, machine=machine)}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("namespace", ["", "/left", "a/b"])
def test_one_file_is_enough_for_both_machines(file, namespace):
    robot = started("robot", file, namespace=namespace)
    gpu = started("gpu", file, namespace=namespace)
    assert set(robot) == {"rtc_controller", "rtc_link"}
    assert set(gpu) == {"rtc_inference", "rtc_link_gpu"}
    below = "/" + namespace.strip("/") if namespace.strip("/") else ""
    tree = read_sections(config_file(file))
    inference = given_to(tree, f"{below}/rtc_inference")
    for node in (robot["rtc_link"], gpu["rtc_link_gpu"]):
        given = {**given_to(tree, f"{below}/{node.executable}"), **node.parameters}
        for name in ("joints", "control_period"):
            assert given[name] == inference[name]
        assert given["cameras"] == inference["cameras"]
    link, seen = robot["rtc_link"].parameters, gpu["rtc_inference"].parameters
    for camera in inference["cameras"]:
        topic = f"camera.{camera}.topic"
        assert link[topic] == inference[topic]
        assert seen[topic] == f"rtc_link/image/{camera}"
        assert seen[f"camera.{camera}.transport"] == "compressed"
        override = f"qos_overrides.{below}/rtc_link/image/{camera}.subscription.reliability"
        assert seen[override] == "reliable"
    assert robot["rtc_controller"].parameters == {}


def test_the_link_s_own_section_wins(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(
        "/**/rtc_controller:\n  ros__parameters: {joints: [a], handoff_name: one}\n"
        "/**/rtc_inference:\n  ros__parameters:\n    {joints: [a], cameras: [top, side],\n"
        "     camera.top.topic: t, camera.side.topic: s}\n"
        "/**/rtc_link:\n  ros__parameters: {cameras: [top]}\n"
    )
    nodes = nodes_to_run({"params_file": str(path)}, simulated=False, machine="robot")
    link = next(n for n in nodes if n.executable == "rtc_link").parameters
    assert link == {"joints": ["a"], "handoff_name": "one", "camera.top.topic": "t"}


@pytest.mark.parametrize(
    ("machine", "argument", "told"),
    [
        ("robot", "policy_path", "policy_path; it is one of the gpu machine's"),
        ("gpu", "dry_run", "dry_run; it is one of the robot machine's"),
        ("gpu", "record", "record; it is one of the robot machine's"),
        ("", "robot_name", "robot_name; it is one for two machines only"),
        ("gpu", "robotname", "robotname; did you mean robot_name:=…?"),
    ],
)
def test_an_argument_without_effect_is_refused(machine, argument, told):
    with pytest.raises(ValueError, match="unknown argument") as refused:
        started(machine, "sim.yaml", **{argument: "x"})
    assert told in str(refused.value)


def test_both_links_are_told_the_robots_name_and_all_the_clock():
    robot = started("robot", "sim.yaml", robot_name="bench 3", use_sim_time="true")
    gpu = started("gpu", "sim.yaml", robot_name="bench 3", use_sim_time="true")
    for node in (robot["rtc_link"], gpu["rtc_link_gpu"]):
        assert node.parameters["robot_name"] == "bench 3"
    for node in (*robot.values(), *gpu.values()):
        assert node.parameters["use_sim_time"] is True
    names = {a.name for a in launch_arguments(simulated=True, machine="robot")}
    assert {"seed", "dry_run", "record"} <= names and "task" not in names


def test_fast_dds_reads_the_variable_that_its_version_is_given():
    """As its own library says: what it doesn't read is without effect, without a word."""
    prefixes = [Path(p) for p in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
    libraries = [
        file
        for prefix in prefixes
        for name in ("libfastrtps.so*", "libfastdds.so*")
        for file in (prefix / "lib").glob(name)
    ]
    if not libraries:
        pytest.skip("this ROS 2 has no Fast DDS")
    assert PROFILES[fast_dds()].encode() in libraries[0].read_bytes()


@pytest.mark.parametrize("by", ["library", "ROS_DISTRO"])
@pytest.mark.parametrize(
    ("distribution", "library", "variable", "heartbeat"),
    [
        ("kilted", "libfastdds.so", "FASTDDS_DEFAULT_PROFILES_FILE", "heartbeat_period"),
        ("jazzy", "libfastrtps.so", "FASTRTPS_DEFAULT_PROFILES_FILE", "heartbeatPeriod"),
    ],
)
def test_fast_dds_is_told_of_two_machines_unless_the_user_told_it_otherwise(
    monkeypatch, tmp_path, distribution, library, variable, heartbeat, by
):
    """Long leases for all four; a packet for each piece of an image, where images are sent."""
    for name in PROFILES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    if by == "library":
        monkeypatch.delenv("ROS_DISTRO", raising=False)
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / library).touch()
    else:
        monkeypatch.setenv("ROS_DISTRO", distribution)
    pieces = {}
    nodes = {
        **started("robot", "sim.yaml", namespace="/a/b"), **started("gpu", "sim.yaml")
    }  # fmt: skip
    for name, node in nodes.items():
        root = ElementTree.parse(node.environment[variable]).getroot()
        assert int(root.find(".//{*}leaseDuration/{*}sec").text) >= 600
        assert root.find(".//{*}participant").get("is_default_profile") == "true"
        pieces[name] = root.findtext(".//{*}property/{*}value")
        if name == "rtc_link":
            # The cursor, of which half would be nothing, goes in one.
            whole = root.find(".//{*}data_writer[@profile_name='/a/b/rtc_link/to_gpu']")
            assert whole is not None and len(whole) == 0
            period = root.find(f".//{{*}}data_writer/{{*}}times/{{*}}{heartbeat}")
            assert 0 < int(period.findtext("{*}nanosec")) <= 30_000_000
    assert pieces.pop("rtc_link") == "1400"
    assert set(pieces.values()) == {None}
    alone = nodes_to_run({"params_file": config_file("sim.yaml")}, simulated=False)
    assert [node.environment for node in alone] == [{}, {}]
    monkeypatch.setenv(variable, "mine.xml")
    assert {str(n.environment) for n in started("robot", "sim.yaml").values()} == {"{}"}
