"""Parameter files as ROS 2 has them: the one reader of their text, and how a value is written.

Whoever looks into one does so here: launch files and ``rtc_ros start``, the nodes and preflight
(what no node declares), the tools, and whoever reads the parameters that a recording holds.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

LEAF = "ros__parameters"


class _Loader(yaml.SafeLoader):
    """YAML's plain types. As rcl does, it takes no notice of tags that it doesn't know.

    A launch file's ``parameters=[{NAME: [1.0]}]`` comes as ``!!python/tuple``.
    """

    def plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return self.construct_sequence(node, deep=True)
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        tag = self.resolve(yaml.ScalarNode, node.value, (True, False))
        return self.yaml_constructors[tag](self, node)


_Loader.add_constructor(None, _Loader.plain)


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
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the parameter file {path} can't be read: {error}") from error
    return sections_of(text, f"the parameter file {path}")


def sections_of(text: str, what: str) -> dict[str, Any]:
    """Return the tree of a parameter file's ``text``; ``what`` names it in a sentence.

    Raises:
        ValueError: as ``read_sections``.
    """
    try:
        tree = _Loader(text).get_single_data()
    # PyYAML raises its constructors' errors as they come: ``2024-99-99`` is a ValueError.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{what} can't be read: {_words(error)}") from error
    if not (isinstance(tree, dict) and any(True for _ in sections(tree))):
        raise ValueError(f"{what} holds no parameters: it has no {LEAF}, as those in config/ have")
    if mixed := "; ".join(_mixed(tree)):
        raise ValueError(f"{what}: {mixed}")
    return tree


def _words(error: Exception) -> str:
    """Return what PyYAML says in one line, the place first."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    tab = "; indent with spaces, not with a tab" if repr("\t") in problem else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{tab}"


def _joined(above: str, name: str) -> str:
    slash = above and not (above.endswith("/") or name.startswith("/"))
    return f"{above}/{name}" if slash else above + name


def sections(
    tree: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each section's name and its parameters by their full names.

    Names of nested namespaces are joined by slashes.
    """
    for key, below in tree.items():
        if key == LEAF:
            yield above, dict(_leaves(below))
        elif isinstance(below, dict):
            yield from sections(below, _joined(above, str(key)))


def given_to(tree: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return what a file's tree gives to the node of that full name, as rcl would."""
    values: dict[str, Any] = {}
    for name, parameters in sections(tree):
        if is_for(name, node):
            values.update(parameters)
    return values


def is_for(section: str, node: str) -> bool:
    """Tell whether a section of that name is for the node of that full name, as rcl would."""
    pattern = re.escape(section if section.startswith("/") else f"/{section}")
    pattern = pattern.replace(r"/\*\*", "(/.*)?").replace(r"\*", "[^/]+")
    return re.fullmatch(pattern, node) is not None


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
    for _, values in sections(tree):
        for name, value in values.items():
            given = value if isinstance(value, list) else []
            kinds = {type(x) for x in given if not _may_be_any(x)}
            if kinds == {int, float}:
                whole = next(x for x in given if isinstance(x, int))
                yield (
                    f"{name} has whole numbers among others, which ROS 2 doesn't take: write "
                    f"{whole}.0 for {whole}"
                )
            elif len(kinds) > 1 and kinds <= {bool, int, float, str}:
                words = ", ".join(sorted(kind.__name__ for kind in kinds))
                yield f"{name} has values of different types ({words})"


def _may_be_any(value: object) -> bool:
    """Tell whether rcl may read another type than PyYAML did: 1e-3 is no number by YAML 1.1."""
    if not isinstance(value, str):
        return False
    with contextlib.suppress(ValueError):
        float(value)
        return True
    return False
