"""A joint_trajectory_controller that upsamples positions, and what it makes of our messages.

The double follows the documented rules of ros2_controllers' ``positions_upsampling``.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rtc_ros.controller.command_output import PAST, CommandGroup
from rtc_ros.controller.command_types import CHUNK
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.core.limits import JointLimits
from rtc_ros.preflight.commands import _kind
from rtc_ros.preflight.findings import Level
from rtc_ros.preflight.setup import Group
from rtc_ros.ros.provenance import duration

DT = 0.02
CURVED = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0] * 2, DT, [8.0] * 2)
LINES = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0] * 2, DT)


def upsampled(message, *, hz=0.0, commanded=None):
    """What a controller with ``positions_upsampling.enable`` takes in place of ``message``.

    Messages with a velocity or an acceleration anywhere pass unchanged. Others get times from the
    policy's frequency, where they have none; then the velocities of the cubic spline through their
    points, at rest at both ends. Later versions put the ``commanded`` (position, velocity) before
    them at time 0, where the stamp is 0 and the first point is later, and begin with its velocity.
    """
    message = copy.deepcopy(message)
    points = message.points
    if any(len(p.velocities) or len(p.accelerations) or not len(p.positions) for p in points):
        return message
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points]
    if hz and not any(times):
        times = [(i + 1) / hz for i in range(len(points))]
    places = [np.array(p.positions) for p in points]
    speed = np.zeros(len(places[0]))
    stamp = message.header.stamp
    if commanded is not None and not (stamp.sec or stamp.nanosec) and times[0] > 0:
        times, places, speed = [0.0, *times], [commanded[0], *places], commanded[1]
    if len(times) < 2 or (np.diff(times) <= 0).any():
        return message
    h, rows = np.diff(times)[:, None], np.array(places)
    slopes = np.diff(rows, axis=0) / h
    system, wanted = np.eye(len(rows)), np.zeros(rows.shape)
    wanted[0] = speed
    for i in range(1, len(rows) - 1):  # equal accelerations on both sides of a knot
        system[i, i - 1 : i + 2] = 1 / h[i - 1, 0], 2 / h[i - 1, 0] + 2 / h[i, 0], 1 / h[i, 0]
        wanted[i] = 3 * (slopes[i - 1] / h[i - 1] + slopes[i] / h[i])
    message.points = [
        JointTrajectoryPoint(
            positions=p.tolist(), velocities=v.tolist(), time_from_start=duration(t)
        )
        for p, v, t in zip(rows, np.linalg.solve(system, wanted), times, strict=True)
    ]
    return message


def sent(kind, limits, way):
    """The message that rtc_controller sends of rows to come, ``way`` [PAST + R, 2]."""
    out = []
    node = SimpleNamespace(
        create_publisher=lambda *_, **__: SimpleNamespace(publish=out.append)
    )
    names = ("a", "b")
    group = CommandGroup(node, GroupParameters("arm", "arm", kind, names, names, "", 0.0), names,
                         DT, limits)  # fmt: skip
    command = SimpleNamespace(
        sends=True, executes=True, target=way[PAST], played=SimpleNamespace(swap="one")
    )
    group.prepare(command, lambda: way, Time(), lambda: 0.0)
    group.publish(0)
    (message,) = out
    return message if kind != CHUNK else deserialize_message(message, JointTrajectory)


def way(rows=20):
    at = np.arange(PAST + rows)[:, None] * DT * np.array([1.0, 2.0])
    return 0.2 - 0.2 * np.cos(at * np.linspace(1.0, 0.0, PAST + rows)[:, None])


def test_a_chunk_with_velocities_passes_through_unchanged():
    message = sent(CHUNK, CURVED, way())
    assert len(message.points) > 10 and all(len(p.velocities) == 2 for p in message.points)
    for commanded in (None, (np.ones(2), np.ones(2))):
        taken = upsampled(message, hz=50.0, commanded=commanded)
        assert taken == message


def test_without_an_acceleration_limit_a_chunk_is_not_upsampled_and_stays_lines():
    message = sent(CHUNK, LINES, way())
    assert [len(p.velocities) for p in message.points] == [0] * (len(message.points) - 1) + [2]
    assert upsampled(message, hz=50.0) == message


def test_single_points_are_left_alone_by_the_first_version_and_braked_towards_by_later_ones():
    message = sent("joint_trajectory", CURVED, way())
    assert upsampled(message, hz=50.0) == message
    taken = upsampled(message, commanded=(np.zeros(2), np.full(2, 0.5)))
    speeds = np.array([p.velocities for p in taken.points])
    np.testing.assert_allclose(speeds, [[0.5, 0.5], [0.0, 0.0]], atol=1e-12)


def test_the_double_upsamples_what_has_positions_only():
    points = [JointTrajectoryPoint(positions=[0.1 * i * i, -0.1 * i]) for i in range(6)]
    message = JointTrajectory(joint_names=["a", "b"], points=points)
    taken = upsampled(message, hz=10.0)
    speeds = np.array([p.velocities for p in taken.points])
    assert np.abs(speeds[[0, -1]]).max() < 1e-9 < 0.1 < np.abs(speeds[1:-1]).min()
    assert taken.points[0].time_from_start == duration(0.1)
    # Continuous in acceleration: of the Hermite cubics left and right of a knot.
    rows, h = np.array([p.positions for p in taken.points]), 0.1
    end = (6 * (rows[:-1] - rows[1:]) / h + 2 * speeds[:-1] + 4 * speeds[1:]) / h
    begin = (6 * (rows[1:] - rows[:-1]) / h - 4 * speeds[:-1] - 2 * speeds[1:]) / h
    np.testing.assert_allclose(end[:-1], begin[1:], atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "curved", "given", "level", "said", "fix"),
    [
        (CHUNK, True, {}, Level.GOOD, "leaves joint_trajectory_chunk alone", ""),
        (CHUNK, False, {}, Level.DOUBT, "at its last point only", "set max_acceleration"),
        ("joint_trajectory", True, {}, Level.DOUBT, "slows down towards every single point",
         "positions_upsampling.enable: false there"),
        ("joint_trajectory", True, {"interpolation_method": "none"}, None, "", ""),
        ("joint_trajectory", True, {"positions_upsampling.enable": False}, None, "", ""),
    ],
)  # fmt: skip
def test_preflight_says_which_combination_is_right(kind, curved, given, level, said, fix):
    group = Group("left", "/left/joint_trajectory", kind, ("a", "b"))
    theirs = {
        "joints": ["a", "b"], "interpolate_from_desired_state": True,
        "positions_upsampling.enable": True, **given,
    }  # fmt: skip
    findings = [f for f in _kind(group, "/left", theirs, curved) if "upsampling" in f.sentence]
    if level is None:
        assert not findings
        return
    (finding,) = findings
    assert finding.level is level and said in finding.sentence and fix in finding.fix
