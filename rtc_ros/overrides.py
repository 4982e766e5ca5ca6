"""Parameters that win over those of a parameter file, whatever its sections are called.

ROS 2 applies the sections that match a node in the order in which their names first came up:
``-p x:=v`` (section ``/**``) and ``-p node:x:=v`` (section ``/node``, no namespace) both lose
against, say, ``/**/node``. So the values are written under each section name that the files use.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
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
        ValueError: it can't be read, isn't YAML, has no ``ros__parameters`` anywhere, or a list of
            values of different types.
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
    if mixed := "; ".join(_mixed(tree)):
        raise ValueError(f"{path}: {mixed}")
    return tree


def _section_names(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names of the sections; those of nested namespaces are joined by slashes."""
    return (name for name, _ in _sections(tree, above))


def _joined(above: str, name: str) -> str:
    slash = above and not (above.endswith("/") or name.startswith("/"))
    return f"{above}/{name}" if slash else above + name


def section_parameters(
    tree: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield each section's name and the full names of the parameters in it."""
    return ((name, [leaf for leaf, _ in _leaves(below)]) for name, below in _sections(tree, above))


def given_to(path: str, node: str) -> dict[str, Any]:
    """Return the parameters that a file gives to the node of full name ``node``, as rcl would.

    Raises:
        ValueError: it isn't a parameter file.
    """
    values: dict[str, Any] = {}
    for name, leaf in _sections(read_sections(path)):
        pattern = re.escape(name if name.startswith("/") else f"/{name}")
        pattern = pattern.replace(r"/\*\*", "(/.*)?").replace(r"\*", "[^/]+")
        if re.fullmatch(pattern, node):
            values.update(_leaves(leaf))
    return values


def _sections(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each section's name and its parameters, as they are written."""
    for key, below in tree.items():
        if key == _LEAF:
            yield above, below
        elif isinstance(below, dict):
            yield from _sections(below, _joined(above, str(key)))


def _leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full name and the value of each parameter; nested names are joined by dots."""
    for key, below in tree.items() if isinstance(tree, dict) else ():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(below, dict):
            yield from _leaves(below, name)
        else:
            yield name, below


def _mixed(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each list that has whole numbers among others; rcl takes no such."""
    for key, below in tree.items():
        if key == _LEAF:
            for name, value in _leaves(below):
                values = value if isinstance(value, list) else []
                kinds = {type(x) for x in values if not _may_be_any(x)}
                if kinds == {int, float}:
                    whole = next(x for x in values if isinstance(x, int))
                    yield (
                        f"{name} has whole numbers among others, which ROS 2 doesn't take: write "
                        f"{whole}.0 for {whole}"
                    )
                elif len(kinds) > 1 and kinds <= {bool, int, float, str}:
                    words = ", ".join(sorted(kind.__name__ for kind in kinds))
                    yield f"{name} has values of different types ({words})"
        elif isinstance(below, dict):
            yield from _mixed(below)


def _may_be_any(value: object) -> bool:
    """Tell whether rcl may read another type than PyYAML did: 1e-3 is no number by YAML 1.1."""
    if not isinstance(value, str):
        return False
    with contextlib.suppress(ValueError):
        float(value)
        return True
    return False


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
