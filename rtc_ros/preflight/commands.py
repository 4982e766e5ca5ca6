"""The command topics: who listens, what kind of controller it is, and who else commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from rclpy.qos import QoSCompatibility, qos_check_compatible

from rtc_ros.controller.command_types import CHUNK, message_class
from rtc_ros.controller.command_watch import commands_an_arm
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.probe import COMMAND_QOS, RELIABLE_QOS, STATE_QOS, Probe, full_name
from rtc_ros.preflight.setup import Group, Setup
from rtc_ros.ros.parameters import ConfigurationError

_DESIRED = "interpolate_from_desired_state"
_UPSAMPLES = "positions_upsampling.enable"


def check_listeners(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that a driver hears each command topic: our type, a QoS that connects."""
    for group in setup.groups:
        subject = f"commands on {group.topic}"
        listeners = [e for e in probe.subscribers(group.topic) if commands_an_arm(e.node_name)]
        try:
            message_class(group.kind, f"group.{group.name}.type")
        except ConfigurationError:
            yield bad(
                f"messages for {group.topic}",
                f"the ROS package of {group.message_type} isn't there: rtc_controller won't start",
                "source the workspace that the driver was built in, in each terminal",
            )
        fitting = [e for e in listeners if e.topic_type == group.message_type]
        if not listeners:
            yield bad(
                subject,
                "nobody listens: a silent robot",
                f"start and activate the controller, or set group.{group.name}.topic",
            )
        for listener in listeners:
            name = full_name(listener)
            if listener not in fitting:
                yield bad(
                    subject,
                    f"{name} takes {listener.topic_type}, and {group.kind} sends "
                    f"{group.message_type}",
                    f"set group.{group.name}.type to what the controller takes",
                )
                continue
            ours = COMMAND_QOS if group.reliable else STATE_QOS
            state, reason = qos_check_compatible(ours, listener.qos_profile)
            if state == QoSCompatibility.ERROR:
                yield bad(
                    subject,
                    f"{name} will never hear us: {reason.strip() or 'its QoS is stricter'}",
                    "let the driver subscribe with reliable or best effort, volatile",
                )
            else:
                curved = bool(np.isfinite(setup.controller["max_acceleration"]).any())
                yield from _kind(group, name, probe.parameters(name), curved)


def _kind(
    group: Group, name: str, parameters: Mapping[str, Any] | None, curved: bool = True
) -> Iterator[Finding]:
    """Report what the listener's own parameters say of it.

    ``curved``: whether what it is sent of a chunk carries velocities.
    """
    subject = f"listener on {group.topic}"
    if parameters is None:
        yield doubt(
            subject,
            f"{name} doesn't tell its parameters: whether it takes our joints, in our order, "
            "isn't known",
            f"look there for `joints` and, for trajectories, {_DESIRED}: true",
        )
        return
    theirs = _names(parameters.get("joints"))
    interfaces = _names(parameters.get("interface_name") or parameters.get("interface_names"))
    if set(interfaces) - {"position"}:
        yield bad(
            subject,
            f"{name} takes {' and '.join(interfaces)} (interface_name), and group {group.name} "
            "sends positions",
            "load a controller whose interface_name is position, "
            "position_controllers/JointGroupPositionController for instance",
        )
        return
    if _DESIRED in parameters:
        moved_by = _names(parameters.get("command_interfaces"))
        if moved_by and "position" not in moved_by:
            yield doubt(
                subject,
                f"{name} commands {' and '.join(moved_by)} (command_interfaces): the arm lags "
                "behind what it is sent by what its gains leave",
                "command_interfaces: [position] there, if the arm takes positions",
            )
        if set(theirs) - set(group.joints) and not parameters.get("allow_partial_joints_goal"):
            lacking = ", ".join(sorted(set(theirs) - set(group.joints)))
            yield bad(
                subject,
                f"{name} wants all its joints in each message, and group {group.name} lacks "
                f"{lacking}",
                f"add them to group.{group.name}.joints, or allow_partial_joints_goal: true there",
            )
        if theirs and set(group.joints) - set(theirs):
            unknown = ", ".join(sorted(set(group.joints) - set(theirs)))
            yield bad(
                subject,
                f"{name} has no joint {unknown} and refuses the message",
                f"make group.{group.name}.joints those of the controller",
            )
        if not parameters[_DESIRED]:
            yield bad(
                subject,
                f"{name} is a joint_trajectory_controller with {_DESIRED} false: every message "
                "starts anew from the measured state, and the arm lags and jerks",
                f"{_DESIRED}: true in the controller's YAML (read-only: load it anew)",
            )
        else:
            yield good(subject, f"{name}: a joint_trajectory_controller with {_DESIRED}")
        if parameters.get(_UPSAMPLES) and parameters.get("interpolation_method") != "none":
            yield _upsampled(subject, group, name, curved)
    elif theirs:
        if theirs != list(group.joints) and group.kind == "float64_multi_array":
            yield bad(
                subject,
                f"{name} takes its numbers in the order {', '.join(theirs)}, and group "
                f"{group.name} sends {', '.join(group.joints)}",
                f"make group.{group.name}.joints the controller's `joints`, in its order",
            )
        elif group.message_type == "trajectory_msgs/msg/JointTrajectory":
            yield doubt(
                subject,
                f"{name} has joints and no {_DESIRED}: whether each message starts anew from the "
                "measured state isn't known",
                "use a joint_trajectory_controller that has it",
            )
        else:
            joints = "1 joint" if len(theirs) == 1 else f"{len(theirs)} joints"
            yield good(subject, f"{name}: takes {joints} in our order")
    else:
        yield good(subject, f"{name} listens (it isn't a ros2_control controller)")


def _upsampled(subject: str, group: Group, name: str, curved: bool) -> Finding:
    """Say what a joint_trajectory_controller that upsamples positions makes of our messages."""
    its = f"{name} has {_UPSAMPLES}: it makes a spline of its own of messages without velocities"
    off = f"{_UPSAMPLES}: false there (read-only: load it anew)"
    if group.kind != CHUNK:
        return doubt(
            subject,
            f"{its}, which ends at rest, and group {group.name} sends a message per point "
            f"({group.kind}): where it begins each at the state it last commanded, it slows down "
            "towards every single point",
            f"{off}, or group.{group.name}.type: {CHUNK} with max_acceleration, whose velocities "
            "it leaves alone",
        )
    if not curved:
        return doubt(
            subject,
            f"{its}, and without max_acceleration {CHUNK} has one at its last point only: neither "
            "it nor rtc_controller smooths the lines between the others",
            "set max_acceleration",
        )
    return good(subject, f"{name} has {_UPSAMPLES}: it leaves {CHUNK} alone, which has velocities")


def _names(value: Any) -> list[str]:
    """Return the words of a parameter of another node, which may be anything."""
    if isinstance(value, str):
        return [value]
    return [v for v in value if isinstance(v, str)] if isinstance(value, (list, tuple)) else []


def check_competitors(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that nobody else commands the arm."""
    ours = f"{setup.namespace.rstrip('/')}/rtc_controller"
    for group in setup.groups:
        names = Counter(full_name(e) for e in probe.publishers(group.topic))
        own = names.pop(ours, 0)
        subject = f"other commanders of {group.topic}"
        if names:
            yield bad(
                subject,
                f"{', '.join(sorted(names))} publishes there too: the arm would jump between two "
                "wills",
                "stop it (teleoperation, a demo, joint_state_publisher_gui)",
            )
        elif own > 1:
            yield bad(subject, f"{own} nodes called {ours} command it", "stop all but one")
        else:
            yield good(subject, "none")


def check_nodes(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that our own nodes are there once at most."""
    names = Counter(probe.nodes())
    for name in ("rtc_inference", "rtc_controller"):
        full = f"{setup.namespace.rstrip('/')}/{name}"
        if names[full] > 1:
            yield bad(
                "own nodes",
                f"{names[full]} nodes are called {full}",
                "stop all but one, or give each robot a namespace",
            )
        elif names[full]:
            yield good("own nodes", f"{full} runs already")
    for group in setup.groups:
        kinds = {e.topic_type for e in probe.publishers(group.topic)} - {group.message_type}
        if kinds:
            yield bad(
                f"type of {group.topic}",
                f"somebody publishes {', '.join(sorted(kinds))} there",
                "give the two topics different names",
            )


def check_inputs_qos(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that our subscriptions connect to what the drivers offer."""
    topics = [*setup.state_topics, *(c.topic for c in setup.cameras)]
    wrong = False
    for topic in topics:
        qos = RELIABLE_QOS if topic in setup.reliable_topics else STATE_QOS
        for publisher in probe.publishers(topic):
            state, reason = qos_check_compatible(publisher.qos_profile, qos)
            if state == QoSCompatibility.ERROR:
                wrong = True
                said = f"{full_name(publisher)}: {reason}"
                yield bad(f"QoS of {topic}", said, "change it there, or our qos_overrides")
    if not wrong:
        yield good("QoS of the inputs", "our subscriptions hear every one of their publishers")


def check_clock(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that all nodes follow the same clock, and that it runs."""
    subject = "clock"
    if len(set(setup.sim_time.values())) > 1:
        said = ", ".join(f"{n}: {str(v).lower()}" for n, v in setup.sim_time.items())
        yield bad(subject, f"use_sim_time differs between the nodes ({said})", "set it under /**")
        return
    if setup.use_sim_time:
        sources = {full_name(e) for e in probe.publishers("/clock")}
        if not sources:
            yield bad(
                subject,
                "use_sim_time is true and nobody publishes /clock: nothing will tick",
                "start the simulator, or use_sim_time: false",
            )
            return
        if len(sources) > 1:
            named = ", ".join(sorted(sources))
            yield bad(subject, f"/clock comes from {named}", "stop all but one")
        if len(set(probe.clock_ticks)) < 2:
            yield bad(subject, "/clock stands still: the simulation is paused", "let it run")
            return
        steps_ns = [b - a for a, b in pairwise(probe.clock_ticks)]
        if min(steps_ns) < 0:
            yield bad(subject, "/clock goes back", "stop the second simulator or the looping bag")
            return
        step_s = float(np.median([n for n in steps_ns if n])) * 1e-9
        rate = setup.controller["command_rate"]
        due_s, of_what = (1 / rate, "set point") if rate else (setup.period_s, "tick")
        if step_s > 1.01 * due_s:
            yield bad(
                subject,
                f"/clock goes on by {step_s * 1e3:.3g} ms at a time, and a {of_what} is due every "
                f"{due_s * 1e3:.3g} ms: many would be missed",
                "publish /clock more often" + "; or lower command_rate" * bool(rate),
            )
    yield from _others(setup, probe)


def _others(setup: Setup, probe: Probe) -> Iterator[Finding]:
    topics = [*setup.state_topics, *(c.topic for c in setup.cameras)]
    nodes = {full_name(e) for topic in topics for e in probe.publishers(topic)}
    nodes |= {full_name(e) for group in setup.groups for e in probe.subscribers(group.topic)}
    other = []
    for node in sorted(nodes):
        value = (probe.parameters(node) or {}).get("use_sim_time")
        if value is not None and value != setup.use_sim_time:
            other.append(node)
    ours = str(setup.use_sim_time).lower()
    if other:
        yield doubt(
            "clock",
            f"use_sim_time is {ours} here, and not at {', '.join(other)}",
            "set use_sim_time alike on every node: a stamped command of another clock is refused "
            "without a word",
        )
    else:
        yield good("clock", f"use_sim_time is {ours} at every node that says so")
