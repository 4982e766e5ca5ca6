"""Parameters that win over those of a parameter file, whatever its sections are called.

ROS 2 applies the sections that match a node in the order in which their names first came up:
``-p x:=v`` (section ``/**``) and ``-p node:x:=v`` (section ``/node``, no namespace) both lose
against, say, ``/**/node``, without a word. So the values are written under each section name that
the files use; and of two files of which the later one loses so, nothing is taken.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rtc_ros.parameter_files import LEAF, is_for, read_sections, sections, yaml_value


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


def parameter_files(words: Sequence[str]) -> list[str]:
    """Return the ``--params-file FILE`` of a command line, in their order."""
    return [b for a, b in zip(words, words[1:], strict=False) if a == "--params-file"]


def with_last_words(words: Sequence[str], executable: str) -> list[str]:
    """Return a node's command line on which each ``-p NAME:=VALUE`` wins over its files.

    They are given once more in a parameter file, in memory, which lives as long as the process.
    """
    given, files = _rules(words, executable), parameter_files(words)
    if not (given and files):
        return list(words)
    names = ["/**"]
    try:
        for path in files:
            names += [name for name, _ in sections(read_sections(path))]
    except ValueError:
        return list(words)  # rcl says what is wrong with it
    # Else what is no parameter of this node would count as one of another.
    names += [f"/**/{executable}"] * bool(executable)
    # The values in their own words: rcl reads 1e-3 as a number, PyYAML doesn't.
    values = "".join(f"    {yaml_value(name)}: {text}\n" for name, text in given.items())
    unique = dict.fromkeys(names)
    text = "".join(f"{yaml_value(name)}:\n  {LEAF}:\n{values}" for name in unique)
    descriptor = os.memfd_create(f"{executable}_overrides", 0)
    os.write(descriptor, text.encode())
    return [*words, "--ros-args", "--params-file", f"/proc/self/fd/{descriptor}"]


def _rules(words: Sequence[str], executable: str) -> dict[str, str]:
    """Return the parameters that a command line sets for this node: name → the value's text."""
    found, ros = {}, False
    for before, word in zip(words, words[1:], strict=False):
        ros = before == "--ros-args" or (ros and before != "--")
        if not ros or before not in ("-p", "--param"):
            continue
        left, separator, text = word.partition(":=")
        node, _, name = left.rpartition(":")
        ours = node.rpartition("/")[2] in ("", executable)
        if separator and name and ours and text.strip() and "\n" not in text:
            found[name] = text
    return found


def losing(words: Sequence[str], node: str) -> list[str]:
    """Return a sentence for each parameter of which a later file loses against an earlier one.

    ``node`` is the node's full name. A launch file's ``parameters=[FILE, {NAME: VALUE}]`` is two
    such files.
    """
    holds: dict[str, dict[str, tuple[Any, str]]] = {}  # section → name → value, file
    last: dict[str, tuple[Any, str, str]] = {}
    for path in parameter_files(words):
        try:
            found = list(sections(read_sections(path)))
        except ValueError:
            continue  # rcl has read it; nothing is known of a file that only we can't read
        for section, values in found:
            if is_for(section, node):
                key = section if section.startswith("/") else f"/{section}"
                for name, value in values.items():
                    holds.setdefault(key, {})[name] = (value, path)
                    last[name] = (value, section, path)
    told = []
    for name, (value, section, path) in last.items():
        winner, (wins, by) = [(s, v[name]) for s, v in holds.items() if name in v][-1]
        if wins != value and by != path:
            told.append(
                f"{name} is {value!r} in {path} (section {section}) and {wins!r} in {by} (section "
                f"{winner}), which wins in ROS 2 though it comes first: name the section {winner} "
                "in both (in a launch file give the Node a name and a namespace)"
            )
    return told


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
