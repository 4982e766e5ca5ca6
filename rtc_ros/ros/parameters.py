"""Declares the table's parameters on a node and reads them back, checked."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import rclpy
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, ParameterException
from rclpy.node import Node

from rtc_ros.handoff.files import segment_path
from rtc_ros.overrides import losing
from rtc_ros.parameter_catalogue import NODES, QOS, given_to_several, without_effect
from rtc_ros.paths import expanded
from rtc_ros.ros.parameter_table import Parameter
from rtc_ros.spelling import nearest_name


class ConfigurationError(Exception):
    """A parameter is missing or wrong; the message says which, and what to do."""


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    descriptor = ParameterDescriptor(
        description=parameter.description + unit,
        read_only=not (parameter.live or parameter.reload),
        additional_constraints=(
            f"one of {', '.join(parameter.choices)}" if parameter.choices else ""
        ),
    )
    if parameter.low is not None and parameter.high is not None:
        if isinstance(parameter.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
            ]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high))
            ]
    return descriptor


def declare(node: Node, table: Iterable[Parameter], prefix: str = "") -> dict[str, Any]:
    """Declare the table on ``node`` (each name after ``prefix``) and return the values by name.

    Raises:
        ConfigurationError: a value has the wrong type, is out of range or not a known word.
    """
    values = {}
    for parameter in table:
        name = prefix + parameter.name
        try:
            if not node.has_parameter(name):
                node.declare_parameter(name, parameter.default, _descriptor(parameter))
            value = node.get_parameter(name).value
            value = taken(parameter, value)
        except InvalidParameterTypeException as error:
            given = node._parameter_overrides[name].value  # noqa: SLF001
            raise ConfigurationError(wrong_type(parameter, name, given)) from error
        except (ParameterException, ValueError) as error:
            raise ConfigurationError(f"parameter {name}: {error}") from error
        problem = check_words(parameter, name, value)
        if problem:
            raise ConfigurationError(problem)
        values[parameter.name] = value
    return values


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number, without a point",
    float: "a number with a point, as {:.1f}",
    str: "text",
}


def wrong_type(parameter: Parameter, name: str, given: Any) -> str:
    """Say of which type a value is and of which it must be; ROS takes no other one."""
    lists = isinstance(parameter.default, list)
    several = isinstance(given, Sequence) and not isinstance(given, str)
    shown = str(list(given)) if several else repr(given)
    kind = type(parameter.default[0] if lists else parameter.default)
    example = given if isinstance(given, int) and not isinstance(given, bool) else 1
    wanted = _KINDS[kind].format(example)
    return f"parameter {name} is {shown}; it must be {'a list, each ' * lists}{wanted}"


def taken(parameter: Parameter, value: Any) -> Any:
    """Return a parameter's value as the node uses it: lists without "", paths expanded.

    Raises:
        ValueError: a path names an environment variable that isn't set.
    """
    if isinstance(parameter.default, list):
        return [x for x in value if x != ""]
    return expanded(value) if parameter.path else value


def declare_all(node: Node, executable: str, words: Sequence[str] | None = None) -> dict[str, Any]:
    """Declare what a node has, but KIND.NAME.…, and refuse what it was given beside that.

    ``words`` is the command line that it was made with, by default this process's.

    Raises:
        ConfigurationError: as ``declare``, or a parameter was given that would have no effect.
    """
    words = sys.argv if words is None else words
    if told := losing(words, node.get_fully_qualified_name()):
        raise ConfigurationError("; ".join(told))
    given = {name: p.value for name, p in node._parameter_overrides.items()}  # noqa: SLF001
    shared = given_to_several(words, node.get_name())
    if told := without_effect(executable, given, shared):
        raise ConfigurationError("; ".join(told))
    values = declare(node, NODES[executable].table)
    node.add_on_set_parameters_callback(partial(_keep_the_clock, node))
    return values


def refuse_qos_without_effect(node: Node, words: Sequence[str] | None = None) -> None:
    """Refuse the qos_overrides of topics that ``node`` doesn't have, or that take none.

    After everything was made that takes some. In a section for several nodes another one may have
    the topic. ``words`` as for ``declare_all``.

    Raises:
        ConfigurationError: names them, and what may have been meant.
    """
    shared = given_to_several(sys.argv if words is None else words, node.get_name())
    there = [name for name in node._parameters if name.startswith(QOS)]  # noqa: SLF001
    told = []
    for name in sorted(node._parameter_overrides):  # noqa: SLF001
        if not name.startswith(QOS) or name in there or shared(name):
            continue
        nearest = nearest_name(name, there)
        meant = f"did you mean {nearest}?" if nearest else "see docs/interface.md"
        told.append(f"{node.get_name()} has no parameter {name}; {meant}")
    if told:
        raise ConfigurationError("; ".join(told))


def declare_qos(node: Node, topic: str, side: str, reliability: str) -> Any:
    """Declare the qos_overrides of a topic that isn't published or subscribed to here.

    ``side`` is publisher or subscription; ``reliability`` is meant unless it is overridden.
    Returns the reliability.
    """
    for policy, value in (("history", "keep_last"), ("depth", 1), ("reliability", reliability)):
        name = f"{QOS}{topic}.{side}.{policy}"
        if not node.has_parameter(name):  # two groups may share a topic
            node.declare_parameter(name, value)
    return node.get_parameter(f"{QOS}{topic}.{side}.reliability").value


def _keep_the_clock(node: Node, parameters: list[rclpy.Parameter]) -> SetParametersResult:
    """Refuse another clock: ages and deadlines are differences of two readings of one clock."""
    now = node.get_parameter("use_sim_time").value
    if any(p.name == "use_sim_time" and p.value != now for p in parameters):
        word = str(now).lower()
        return SetParametersResult(
            successful=False,
            reason=f"use_sim_time is {word} since the node's start, and only a start can change "
            f"the clock: end the node and start it with use_sim_time:={str(not now).lower()}",
        )
    return SetParametersResult(successful=True)


def rcl_words(error: Exception) -> str:
    """Return what rcl says of words or files that it can't take, without its own source lines."""
    words = re.sub(r",? at /[^,]*?\.c(pp)?:\d+", "", str(error))
    return words.replace("failed to initialize rcl: ", "")


def check_words(parameter: Parameter, name: str, value: object) -> str | None:
    """Say what is wrong with a value that must be one of the parameter's words, or None."""
    if not parameter.choices or value in parameter.choices:
        return None
    if value == "":
        return f"parameter {name} must be set: one of {', '.join(parameter.choices)}"
    return f"parameter {name} is {value!r}; it must be one of {', '.join(parameter.choices)}"


def require(values: dict[str, Any], *names: str, prefix: str = "") -> None:
    """Raise ConfigurationError unless each of ``names`` was set to something."""
    for name in names:
        if values[name] in ("", []):
            raise ConfigurationError(
                f"parameter {prefix}{name} must be set; see docs/parameters.md"
            )


def handoff_base(node: Node, name: str) -> str:
    """Return the beginning of the segments' names: ``handoff_name`` and the node's namespace.

    Raises:
        ConfigurationError: they can't be part of a file's name.
    """
    base = name + node.get_namespace().rstrip("/").replace("/", ".")
    try:
        segment_path(f"{base}.latched")  # the longest of them
    except ValueError as error:
        raise ConfigurationError(f"parameter handoff_name: {error}") from error
    return base


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that are there more than once, each once."""
    return sorted({name for name in names if names.count(name) > 1})


def named_once(names: Sequence[str], parameter: str) -> None:
    """Check that a list names nothing more than once.

    Raises:
        ConfigurationError: says what ``parameter`` does.
    """
    if twice := repeated(names):
        raise ConfigurationError(f"parameter {parameter} names {', '.join(twice)} more than once")


def per_joint(
    values: dict[str, Any], name: str, joints: list[str], *, unset: bool = False
) -> list[float]:
    """Return a per-joint parameter, one number standing for all joints.

    NaN stands for a number that isn't set, and is refused unless ``unset`` allows it.

    Raises:
        ConfigurationError: its length is neither 1 nor the number of joints.
    """
    numbers = list(values[name])
    if not unset and any(math.isnan(x) for x in numbers):
        raise ConfigurationError(f"parameter {name} must be set; see docs/parameters.md")
    if len(numbers) == 1:
        return numbers * len(joints)
    if len(numbers) != len(joints):
        raise ConfigurationError(
            f"parameter {name} has {len(numbers)} values for {len(joints)} joints"
        )
    return numbers
