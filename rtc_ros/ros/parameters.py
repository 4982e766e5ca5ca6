"""Declares the table's parameters on a node and reads them back, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from rtc_ros.handoff.files import segment_path
from rtc_ros.ros.parameter_table import Parameter


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
        except (ParameterException, ValueError) as error:
            raise ConfigurationError(f"parameter {name}: {error}") from error
        if isinstance(parameter.default, list):
            value = [x for x in value if x != ""]
        problem = check_words(parameter, name, value)
        if problem:
            raise ConfigurationError(problem)
        values[parameter.name] = value
    return values


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
