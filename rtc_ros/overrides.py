"""Parameters that win over those of a parameter file, whatever its sections are called.

ROS 2 applies the sections that match a node in the order in which their names first came up:
``-p x:=v`` (section ``/**``) and ``-p node:x:=v`` (section ``/node``, no namespace) both lose
against, say, ``/**/node``. So the values are written under each section name that the files use.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from rtc_ros.parameter_files import LEAF, read_sections, sections, yaml_value


def override_text(params_files: Iterable[str], parameters: Mapping[str, Any]) -> str:
    """Return the YAML of a parameter file that, given after ``params_files``, wins.

    Raises:
        ValueError: one of them isn't a parameter file.
    """
    names = ["/**"]
    for path in params_files:
        names += [name for name, _ in sections(read_sections(path))]
    leaf = yaml_value({LEAF: parameters})
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


@functools.cache
def edited_file(path: str, old: str, new: str) -> str:
    """Return a copy of a text file with ``new`` for ``old``, which stays as an override does."""
    with open(path, encoding="utf-8") as file:
        text = file.read().replace(old, new)
    name, suffix = os.path.splitext(os.path.basename(path))
    handle, copy = tempfile.mkstemp(prefix=f"{name}_", suffix=suffix, dir=_folder().name)
    with os.fdopen(handle, "w", encoding="utf-8") as made:
        made.write(text)
    return copy
