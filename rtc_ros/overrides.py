"""Parameters that win over those of a parameter file, whatever its sections are called.

ROS 2 applies the sections that match a node in the order in which their names first came up:
``-p x:=v`` (section ``/**``) and ``-p node:x:=v`` (section ``/node``, no namespace) both lose
against, say, ``/**/node``. So the values are written under each section name that the files use.
"""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

_LEAF = "ros__parameters"


def yaml_value(value: object) -> str:
    """Return ``value`` as one line of YAML from which ROS 2 reads the same type again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{yaml_value(str(k))}: {yaml_value(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    return repr(value)


def read_sections(path: str) -> dict[str, Any]:
    """Return the tree of a parameter file.

    Raises:
        ValueError: it can't be read, isn't YAML, or has no ``ros__parameters`` anywhere.
    """
    try:
        with open(path, encoding="utf-8") as file:
            tree = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the parameter file {path} can't be read: {error}") from error
    if not (isinstance(tree, dict) and any(_section_names(tree))):
        raise ValueError(
            f"{path} is not a parameter file: it has no {_LEAF}; start from one in config/"
        )
    return tree


def _section_names(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names of the sections; those of nested namespaces are joined by slashes."""
    for key, below in tree.items():
        if key == _LEAF:
            yield above
        elif isinstance(below, dict):
            name = str(key)
            joined = above and not (above.endswith("/") or name.startswith("/"))
            yield from _section_names(below, f"{above}/{name}" if joined else above + name)


def override_text(params_files: Iterable[str], parameters: Mapping[str, Any]) -> str:
    """Return the YAML of a parameter file that, given after ``params_files``, wins.

    Raises:
        ValueError: one of them isn't a parameter file.
    """
    names = ["/**"]
    for path in params_files:
        names += _section_names(read_sections(path))
    leaf = yaml_value({_LEAF: parameters})
    return "".join(f"{yaml_value(name)}: {leaf}\n" for name in dict.fromkeys(names))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rtc_ros_")


def override_file(params_files: Iterable[str], parameters: Mapping[str, Any], name: str) -> str:
    """Write ``override_text`` to a file that stays until this process ends; return its path."""
    text = override_text(params_files, parameters)
    handle, path = tempfile.mkstemp(prefix=f"{name}_", suffix=".yaml", dir=_folder().name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path
