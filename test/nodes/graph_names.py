"""What a policy file of SROS 2 allows a node, and what a node has in the ROS graph."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

Rights = dict[tuple[str, str], set[str]]
"""("topics", "publish") and so on → full names."""


def allowed(path: str | Path) -> dict[str, Rights]:
    """Return what each node of a policy file is allowed."""
    found: dict[str, Rights] = {}
    for profile in ET.parse(path).getroot().iter("profile"):
        namespace, node = profile.attrib["ns"], profile.attrib["node"]
        rights = found.setdefault(node, {})
        for expressions in profile:
            for direction, qualifier in expressions.attrib.items():
                assert qualifier == "ALLOW"
                names = {expanded(e.text or "", namespace, node) for e in expressions}
                assert len(names) == len(expressions), "a name is there twice"
                rights.setdefault((expressions.tag, direction), set()).update(names)
    return found


def expanded(name: str, namespace: str, node: str) -> str:
    """Return a name of a policy file as the graph has it."""
    base = namespace.rstrip("/")
    if name.startswith("~/"):
        return f"{base}/{node}{name[1:]}"
    return name if name.startswith("/") else f"{base}/{name}"


def in_graph(asker: Any, node: str, namespace: str = "/") -> Rights:
    """Return what a running node has; ``asker`` is a Node that looks."""
    look = {
        ("topics", "publish"): asker.get_publisher_names_and_types_by_node,
        ("topics", "subscribe"): asker.get_subscriber_names_and_types_by_node,
        ("services", "reply"): asker.get_service_names_and_types_by_node,
        ("services", "request"): asker.get_client_names_and_types_by_node,
    }
    return {kind: {name for name, _ in ask(node, namespace)} for kind, ask in look.items()}
