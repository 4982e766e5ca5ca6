"""The nodes' parameters in a recording, as a parameter file that starts them alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtc_ros.bags.cdr import CdrError, string
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.parameter_files import sections_of

TOPIC = "/parameters"
"""Ends the names of the latched topics with the text of a parameter file."""

_TYPE = "std_msgs/msg/String"


def recorded_parameters(path: str | Path) -> dict[str, Any]:
    """Return node name → {"ros__parameters": {name: value}}, as they were last.

    Raises:
        BagError: none were recorded, or they can't be read.
    """
    last: dict[str, bytes] = {}
    with Bag(path) as bag:
        topics = [t for t, kind in bag.topics.items() if kind == _TYPE and t.endswith(TOPIC)]
        for topic, _, messages in bag.batches(*topics):
            last[topic] = messages[-1]
    if not last:
        raise BagError(f"{path} has no parameters: it was recorded without …{TOPIC}")
    tree: dict[str, Any] = {}
    for topic, data in sorted(last.items()):
        try:
            tree |= sections_of(string(data), f"{path}: {topic}")
        except CdrError as error:
            raise BagError(f"{path}: {topic} can't be read: {error}") from error
        except ValueError as error:
            raise BagError(str(error)) from error
    return tree
