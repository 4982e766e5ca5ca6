"""What the two nodes would run with: their parameters, read as ROS 2 gives them to the nodes.

What the recorder and the monitor are given is looked at, too: they would refuse it at launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rclpy.context import Context
from rclpy.node import Node

from rtc_ros.bringup import nodes_to_run
from rtc_ros.controller.command_types import MESSAGE_TYPES
from rtc_ros.controller.group_parameters import read_groups, set_points
from rtc_ros.core.settings import RtcSettings
from rtc_ros.inference.parameters import CAMERA
from rtc_ros.ros.joint_input import prefixed
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameters import (
    ConfigurationError,
    declare,
    declare_all,
    declare_qos,
    handoff_base,
    named_once,
    per_joint,
    rcl_words,
    refuse_qos_without_effect,
    require,
)


@dataclass(frozen=True)
class Camera:
    """One configured camera; ``topic`` is the full name."""

    name: str
    topic: str
    feature: str
    compressed: bool


@dataclass(frozen=True)
class Group:
    """One configured command group; ``topic`` is the full name, ``joints`` are the driver's."""

    name: str
    topic: str
    kind: str
    joints: tuple[str, ...]
    reliable: bool = True
    """Unless qos_overrides make its publisher best effort."""

    @property
    def message_type(self) -> str:
        """The ROS type of its messages."""
        return MESSAGE_TYPES[self.kind]


@dataclass(frozen=True)
class Setup:
    """Both nodes' configuration; ``description_topic`` is "" where none is asked."""

    inference: Mapping[str, Any]
    controller: Mapping[str, Any]
    joints: tuple[str, ...]
    prefixes: Mapping[str, str]
    """Joint-state topic → what is put before the names there."""
    cameras: tuple[Camera, ...]
    groups: tuple[Group, ...]
    units: PolicyUnits
    settings: RtcSettings
    handoff_base: str
    namespace: str
    description_topic: str = ""
    reliable_topics: frozenset[str] = frozenset()
    """Inputs that qos_overrides make reliable."""
    sim_time: Mapping[str, bool] = field(default_factory=dict)

    @property
    def state_topics(self) -> tuple[str, ...]:
        """The joint-state topics, by their full names."""
        return tuple(self.prefixes)

    @property
    def period_s(self) -> float:
        """Δt."""
        return float(self.controller["control_period"])

    @property
    def use_sim_time(self) -> bool:
        """The clock of the controller."""
        return self.sim_time.get("rtc_controller", False)


def read_setup(params_file: str, values: Mapping[str, str], context: Context) -> Setup:
    """Return what the nodes would be started with, by these launch arguments.

    Raises:
        ValueError: an argument or the file can't be used.
        ConfigurationError: parameters are missing or wrong; every node's first one is named.
    """
    known = {n.executable: n for n in nodes_to_run({**values, "params_file": params_file},
                                                   simulated=False)}  # fmt: skip
    parts: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    beside = {n: replace(known["rtc_controller"], executable=n, parameters={}) for n in _BESIDE}
    for name, read in _READERS.items():
        words = (known | beside)[name].ros_arguments()
        try:
            node = _node(name, words, context)
        except RuntimeError as error:
            raise ConfigurationError(f"{params_file} can't be used: {rcl_words(error)}") from error
        try:
            parts[name] = read(node, words)
            refuse_qos_without_effect(node, words)
            parts[name]["sim_time"] = bool(node.get_parameter("use_sim_time").value)
        except ConfigurationError as error:
            told = str(error)
            # What is wrong in a section for all nodes is wrong for each of them.
            if name not in _BESIDE or not problems:
                problems.append(told if told.startswith(name) else f"{name}: {told}")
        finally:
            node.destroy_node()
    if problems:
        raise ConfigurationError("; ".join(problems))
    inference, controller = parts["rtc_inference"], parts["rtc_controller"]
    _meet(inference, controller)
    return Setup(
        inference["values"],
        controller["values"],
        controller["joints"],
        dict(controller["topics"] + inference["topics"]),
        inference["cameras"],
        controller["groups"],
        inference["units"],
        inference["settings"],
        controller["base"],
        controller["namespace"],
        controller["description_topic"],
        frozenset(inference["reliable"] + controller["reliable"]),
        {name: part["sim_time"] for name, part in parts.items() if name not in _BESIDE},
    )


def _meet(inference: Mapping[str, Any], controller: Mapping[str, Any]) -> None:
    """Check that the two nodes would find each other in shared memory.

    Raises:
        ConfigurationError: says in what they differ.
    """
    told = [
        f"{what} is {of(inference)} for rtc_inference and {of(controller)} for rtc_controller"
        for what, of in (
            ("the name in shared memory (handoff_name)", lambda part: part["base"]),
            ("control_period", lambda part: part["values"]["control_period"]),
            ("joints", lambda part: ", ".join(part["values"]["joints"])),
        )
        if of(inference) != of(controller)
    ]
    if told:
        raise ConfigurationError("; ".join(told) + ": they would never meet; set it under /**")


def _node(name: str, words: Sequence[str], context: Context) -> Node:
    """Make a node with a process's own arguments, which the others hardly see."""
    return Node(
        name,
        context=context,
        cli_args=list(words),
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
    )


def _inference(node: Node, words: Sequence[str]) -> dict[str, Any]:
    values = declare_all(node, "rtc_inference", words)
    require(values, "joints", "policy_path", "cameras")
    cameras = []
    for name in values["cameras"]:
        prefix = f"camera.{name}."
        own = declare(node, CAMERA, prefix)
        require(own, "topic", prefix=prefix)
        topic = node.resolve_topic_name(own["topic"])
        feature = own["feature"] or f"observation.images.{name}"
        cameras.append(Camera(name, topic, feature, own["transport"] == "compressed"))
    return {
        "values": values,
        "topics": (topics := _state_topics(node, values)),
        "reliable": _reliable(node, [*dict(topics), *(c.topic for c in cameras)]),
        "cameras": tuple(cameras),
        "units": PolicyUnits.of(values),
        "base": handoff_base(node, values["handoff_name"]),
        "settings": RtcSettings(**{f.name: values[f.name] for f in fields(RtcSettings)}),
    }


def _controller(node: Node, words: Sequence[str]) -> dict[str, Any]:
    values = declare_all(node, "rtc_controller", words)
    require(values, "joints", "command_groups")
    named_once(values["joints"], "joints")
    for name in ("resume_tolerance", "following_tolerance"):
        per_joint(values, name, values["joints"])
    description = values["robot_description_topic"]
    groups, read = [], read_groups(node, values["command_groups"], values["joints"])
    set_points(values["command_rate"], values["control_period"], read)
    for group in read:
        topic = node.resolve_topic_name(group.topic)
        reliable = declare_qos(node, topic, "publisher", "reliable") == "reliable"
        groups.append(Group(group.name, topic, group.kind, group.names, reliable))
    return {
        "values": values,
        "joints": tuple(values["joints"]),
        "topics": (topics := _state_topics(node, values)),
        "reliable": _reliable(node, list(dict(topics))),
        "groups": tuple(groups),
        "base": handoff_base(node, values["handoff_name"]),
        "namespace": node.get_namespace(),
        "description_topic": node.resolve_topic_name(description) if description else "",
    }


def _others(node: Node, words: Sequence[str]) -> dict[str, Any]:
    """Check what a node is given that only looks on; it would not start with less."""
    declare_all(node, node.get_name(), words)
    return {}


_BESIDE = ("rtc_recorder", "rtc_monitor")
_READERS: dict[str, Callable[[Node, Sequence[str]], dict[str, Any]]] = {
    "rtc_inference": _inference,
    "rtc_controller": _controller,
    **dict.fromkeys(_BESIDE, _others),
}


def _state_topics(node: Node, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = prefixed(values["joint_state_topics"], values["joint_state_prefixes"])
    return [(node.resolve_topic_name(topic), prefix) for topic, prefix in pairs]


def _reliable(node: Node, topics: Sequence[str]) -> list[str]:
    """Return the topics that the node would subscribe to reliably, by its qos_overrides."""
    return [
        topic
        for topic in topics
        if declare_qos(node, topic, "subscription", "best_effort") == "reliable"
    ]
