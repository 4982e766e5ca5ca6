"""The driver as a process, over real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from rtc_ros.sim.driver_parameters import DRIVER, camera_parameters
from rtc_ros.sim.robot import JOINT_NAMES, START_POSE

pytestmark = pytest.mark.ros

STATES, TOP, FILM = "/joint_states", "/camera/top/image_raw", "/camera/film/image_raw"


def close_to(positions: list[float], target: np.ndarray) -> bool:
    return bool(np.abs(np.array(positions) - target).max() < 0.06)


def test_it_publishes_joints_images_and_the_task(start_driver) -> None:
    driver = start_driver("seed:=3", "cameras:=['top', 'film']", "compressed:=true")
    state = driver.next(STATES, 5)
    assert tuple(state.name) == JOINT_NAMES
    assert close_to(state.position, START_POSE)
    assert len(state.velocity) == 14 and np.isfinite(state.velocity).all()
    assert state.header.stamp.sec > 0

    image = driver.next(TOP)
    assert (image.height, image.width, image.encoding, image.step) == (96, 96, "rgb8", 288)
    pixels = np.frombuffer(image.data, np.uint8).reshape(96, 96, 3)
    assert ((pixels[..., 0] > 120) & (pixels[..., 1] < 90)).any(), "the red cube is in the picture"
    film = driver.next(FILM)
    assert (film.height, film.width) == (240, 320)
    import cv2

    jpeg = driver.next(f"{TOP}/compressed")
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (96, 96, 3)
    assert ((decoded[..., 2] > 120) & (decoded[..., 1] < 110)).any(), "red is red, not blue"

    task = driver.task()
    assert (task["holder"], task["done"], task["episode"]) == ("none", "false", "1")
    assert float(task["cube_z"]) == pytest.approx(0.02, abs=0.003)


def test_it_obeys_each_arms_command_and_holds_the_last_one(start_driver) -> None:
    driver = start_driver("cameras:=['']", "realtime_factor:=4.0")
    target = START_POSE.copy()
    target[7:] = [0.4, -0.7, 0.9, 0.0, -0.2, 0.3, 0.8]
    driver.command("right", target[7:].tolist())
    driver.until(lambda: close_to(driver.positions(), target), "right arm at its target")
    target[:7] = [-0.3, -0.8, 1.0, 0.0, -0.2, 0.0, 0.5]
    driver.command("left", target[:7].tolist())
    driver.until(lambda: close_to(driver.positions(), target), "left arm at its target")
    held = driver.next(STATES, 200).position
    assert close_to(held, target), "both commands hold without being sent again"


def test_it_refuses_commands_of_the_wrong_size_or_not_finite_and_says_so(start_driver) -> None:
    driver = start_driver("cameras:=['']")
    not_finite = [0.5, float("nan"), 0.5, 0.0, 0.0, 0.0, 0.5]
    for count, (arm, values) in enumerate(
        [("right", [0.5] * 6), ("right", not_finite), ("left", [])], start=1
    ):
        driver.command(arm, values)
        driver.until(lambda n=count: driver.task()["refused_commands"] == str(n), "refusal")
    assert close_to(driver.next(STATES, 20).position, START_POSE)
    code, said = driver.stop()
    assert code == 0
    assert "refused a command on right_arm/commands with 6 values; it takes 7" in said
    assert said.count("refused a command") == 1, "throttled"


def test_the_reset_service_brings_the_arms_back_and_lays_a_new_cube(start_driver) -> None:
    driver = start_driver("seed:=5", "cameras:=['']", "realtime_factor:=4.0")
    before = driver.task()
    away = START_POSE[7:] + [0.5, 0.2, -0.2, 0.0, 0.0, 0.0, 0.0]
    driver.command("right", away.tolist())
    driver.until(lambda: abs(driver.positions()[7] - 0.5) < 0.05, "right arm away from home")
    answer = driver.reset()
    assert answer.success and "episode 2" in answer.message
    driver.until(lambda: close_to(driver.positions(), START_POSE), "arms at the start pose")
    driver.until(lambda: driver.task()["episode"] == "2", "second episode")
    after = driver.task()
    assert (before["cube_x"], before["cube_y"]) != (after["cube_x"], after["cube_y"])
    assert close_to(driver.next(STATES, 50).position, START_POSE), "the old command is forgotten"


def test_an_episode_length_resets_by_itself(start_driver) -> None:
    driver = start_driver("cameras:=['']", "episode_length_s:=2.0", "realtime_factor:=4.0")
    driver.until(lambda: int(driver.task()["episode"]) >= 3, "third episode")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_exits_with_0_on_a_signal_while_it_renders(start_driver, number) -> None:
    driver = start_driver()
    driver.next(TOP)
    code, said = driver.stop(number)
    assert code == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("cameras:=['nose']", "no camera nose; it has"),
        ("cube_speed:=3.0", "cube_speed"),
        ("camera.top.width:=2", "camera.top.width"),
    ],
)
def test_a_wrong_parameter_ends_it_with_a_sentence(parameter: str, sentence: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rtc_ros.sim.node", "--ros-args", "-p", parameter],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2, ended.stderr
    assert sentence in ended.stderr and "Traceback" not in ended.stderr


def test_where_nothing_can_be_rendered_it_names_the_packages_and_ends() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    ended = subprocess.run(
        [sys.executable, "-m", "rtc_ros.sim.node"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment, "MUJOCO_GL": "glfw"},  # which needs a display
    )
    assert ended.returncode == 2, ended.stderr
    assert "could not render off-screen with MUJOCO_GL=glfw" in ended.stderr
    assert "libegl1" in ended.stderr and "Traceback" not in ended.stderr


def test_the_page_of_the_simulated_robot_names_every_parameter(repo) -> None:
    page = (repo / "docs" / "simulation.md").read_text()
    parameters = [*DRIVER, *camera_parameters("top")]
    missing = [p.name for p in parameters if f"{p.name}`" not in page]
    assert not missing
