"""`rtc_ros set`: change live parameters together, also where there is no `ros2 param set`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from rcl_interfaces.msg import ParameterType

from rtc_ros.command_line import assigned
from rtc_ros.parameter_catalogue import NODES
from rtc_ros.running.robot_client import RobotClient, RobotError
from rtc_ros.spelling import nearest_name

_READERS: dict[int, tuple[Callable[[str], Any], str]] = {
    ParameterType.PARAMETER_INTEGER: (int, "a whole number"),
    ParameterType.PARAMETER_DOUBLE: (float, "a number"),
    ParameterType.PARAMETER_STRING: (str, "a text"),
}
"""How a value of each type is read, and what it is called; all others are YAML."""


def main(argv: Sequence[str] | None = None) -> int:
    """Change them, all or none; 0, 1 where the node refuses, 2 where it can't be asked so."""
    parser = argparse.ArgumentParser(
        prog="rtc_ros set",
        description="Change live parameters of rtc_inference while the robot moves, all or none.",
        epilog="for instance: rtc_ros set s_min:=12 beta:=10",
    )
    parser.add_argument("values", nargs="+", metavar="name:=value")
    parser.add_argument("--node", default="rtc_inference", help="(%(default)s)")
    parser.add_argument("--namespace", default="", help="of the node")
    options = parser.parse_args(argv)
    try:
        texts = assigned(options.values)
        with RobotClient(lambda: None, options.namespace) as robot:
            kinds = robot.parameter_types(options.node, list(texts))
            values = {n: _value(options.node, n, t, kinds[n]) for n, t in texts.items()}
            robot.set_parameters(options.node, values)
    except ValueError as error:
        print(f"set: {error}", file=sys.stderr)
        return 2
    except RobotError as error:
        print(f"set: {error}", file=sys.stderr)
        return 1
    return 0


def _value(node: str, name: str, text: str, kind: int) -> Any:
    if kind == ParameterType.PARAMETER_NOT_SET:
        known = NODES[node].names({}) if node in NODES else []
        meant = nearest_name(name, known)
        hint = f": did you mean {meant}?" if meant else ""
        raise ValueError(f"{node} has no parameter {name}{hint}")
    read, wanted = _READERS.get(kind, (yaml.safe_load, "of its kind"))
    try:
        return read(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name} is {wanted}, not {text!r}") from error


if __name__ == "__main__":
    sys.exit(main())
