"""`rtc_ros set`: change live parameters together, also where there is no `ros2 param set`."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterType
from rclpy.exceptions import NameValidationException
from rclpy.validate_node_name import validate_node_name

from rtc_ros.command_line import assigned
from rtc_ros.parameter_catalogue import NODES
from rtc_ros.running.robot_client import RobotClient, RobotError
from rtc_ros.spelling import nearest_name


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    if "_" in text or not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _text(text: str) -> str:
    return text.encode().decode()  # what no terminal can have meant fails


_SCALARS: dict[int, tuple[Callable[[str], Any], str]] = {
    ParameterType.PARAMETER_BOOL: (_switch, "true or false"),
    ParameterType.PARAMETER_INTEGER: (_integer, "a whole number"),
    ParameterType.PARAMETER_DOUBLE: (_number, "a finite number"),
    ParameterType.PARAMETER_STRING: (_text, "a text"),
}
"""How a value of each type is read, and what it is called."""
_LISTS = {
    ParameterType.PARAMETER_BOOL_ARRAY: ParameterType.PARAMETER_BOOL,
    ParameterType.PARAMETER_INTEGER_ARRAY: ParameterType.PARAMETER_INTEGER,
    ParameterType.PARAMETER_DOUBLE_ARRAY: ParameterType.PARAMETER_DOUBLE,
    ParameterType.PARAMETER_STRING_ARRAY: ParameterType.PARAMETER_STRING,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Change them, all or none; 0, 1 where the node refuses, 2 where it can't be asked so."""
    parser = argparse.ArgumentParser(
        prog="rtc_ros set",
        description="Change live parameters of rtc_inference while the robot moves, all or none.",
        epilog="for instance: rtc_ros set s_min:=12 beta:=10; lists as 'names:=[\"a\", \"b\"]'",
    )
    parser.add_argument("values", nargs="+", metavar="name:=value")
    parser.add_argument("--node", default="rtc_inference", help="(%(default)s)")
    parser.add_argument("--namespace", default="", help="of the node")
    options = parser.parse_args(argv)
    try:
        texts = assigned(options.values)
        names = [word.partition(":=")[0] for word in options.values]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} has two values: which one?")
        validate_node_name(options.node)
        with RobotClient(lambda: None, options.namespace.strip("/")) as robot:
            robot.only(options.node)
            kinds = robot.parameter_types(options.node, list(texts))
            values = {n: _value(options.node, n, t, kinds[n]) for n, t in texts.items()}
            robot.set_parameters(options.node, values, kinds)
    except (ValueError, NameValidationException) as error:
        print(f"set: {' '.join(str(error).split())}", file=sys.stderr)
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
    read, wanted = _SCALARS.get(_LISTS.get(kind, kind), (None, ""))
    if read is None:
        raise ValueError(f"{name} has values that can't be written on a command line")
    try:
        if kind not in _LISTS:
            return read(text)
        values = json.loads(text)
        wrong = (list, dict, int, float) if read is _text else (list, dict)
        if not isinstance(values, list) or any(isinstance(v, wrong) or v is None for v in values):
            raise ValueError(text)
        return [read(str(value)) for value in values]
    except (ValueError, KeyError, RecursionError) as error:
        several = "a list, each " if kind in _LISTS else ""
        raise ValueError(f"{name} is {several}{wanted}, not {text!r}") from error


if __name__ == "__main__":
    sys.exit(main())
