"""Every parameter of every node of this package, and what is said of one that none has.

ROS 2 drops what a node doesn't declare without a word: with ``dry_runn: true`` the arms move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtc_ros.controller.parameters import CONTROLLER, GROUP
from rtc_ros.inference.parameters import CAMERA, INFERENCE
from rtc_ros.link.parameters import LINK
from rtc_ros.monitor.parameters import MONITOR
from rtc_ros.overrides import parameter_files
from rtc_ros.parameter_files import read_sections, sections
from rtc_ros.recorder.parameters import RECORDER
from rtc_ros.ros.parameter_table import COMMON, Parameter
from rtc_ros.sim.driver_parameters import DRIVER, camera_parameters
from rtc_ros.spelling import nearest_name


@dataclass(frozen=True)
class Members:
    """Parameters ``KIND.NAME.…``, for each NAME in the list parameter ``listed_in``."""

    kind: str
    listed_in: str
    table: tuple[Parameter, ...]

    def names(self, members: Iterable[str]) -> Iterator[str]:
        """Yield the full names for these NAMEs."""
        return (f"{self.kind}.{member}.{p.name}" for member in members for p in self.table)

    def may_be(self, name: str) -> bool:
        """Tell whether ``name`` is one for some NAME."""
        words = name.split(".")
        leaves = {p.name for p in self.table}
        return len(words) > 2 and words[0] == self.kind and words[-1] in leaves


@dataclass(frozen=True)
class NodeParameters:
    """What one node declares; ``members`` is None where it has no KIND.NAME parameters."""

    table: tuple[Parameter, ...]
    members: Members | None = None

    def names(self, given: Mapping[str, Any]) -> list[str]:
        """Return all full names, where ``given`` says of which members."""
        names = [p.name for p in self.table]
        if self.members is not None:
            default = next(p.default for p in self.table if p.name == self.members.listed_in)
            listed = given.get(self.members.listed_in, default)
            if isinstance(listed, Sequence) and not isinstance(listed, str):
                names += self.members.names(str(x) for x in listed if x != "")
        return names

    def may_have(self, name: str) -> bool:
        """Tell whether the node declares ``name``, by some list of members."""
        plain = any(p.name == name for p in self.table)
        return plain or (self.members is not None and self.members.may_be(name))


NODES = {
    "rtc_inference": NodeParameters((*COMMON, *INFERENCE), Members("camera", "cameras", CAMERA)),
    "rtc_controller": NodeParameters(
        (*COMMON, *CONTROLLER), Members("group", "command_groups", GROUP)
    ),
    "rtc_recorder": NodeParameters(RECORDER),
    "rtc_monitor": NodeParameters(MONITOR),
    "rtc_link": NodeParameters(LINK, Members("camera", "cameras", CAMERA)),
    "rtc_link_gpu": NodeParameters(LINK, Members("camera", "cameras", CAMERA)),
    "rtc_sim": NodeParameters(DRIVER, Members("camera", "cameras", camera_parameters("NAME"))),
}

QOS = "qos_overrides."
QOS_POLICIES: dict[str, tuple[str, ...]] = {
    "history": ("keep_last", "keep_all", "system_default"),
    "depth": (),
    "reliability": ("reliable", "best_effort", "best_available", "system_default"),
}
"""What a topic's QoS can be overridden in, and by which words; a depth is a number."""

_RCLPY_S_OWN = ("use_sim_time", "start_type_description_service")


def without_effect(
    executable: str, given: Mapping[str, Any], shared: Callable[[str], bool]
) -> list[str]:
    """Return a sentence for each of the parameters ``given`` to a node that it doesn't declare.

    Args:
        executable: the node's.
        given: name → value.
        shared: tells whether a name was given to several nodes at once; then it is enough that
            one of them declares it.
    """
    own = NODES[executable]
    declared = set(own.names(given))
    told = []
    for name in sorted(given):
        if name.startswith(QOS):
            told += [f"{executable}: {wrong}"] if (wrong := _qos_fault(name, given[name])) else []
            continue
        if name in declared or name in _RCLPY_S_OWN:
            continue
        owners = [node for node, other in NODES.items() if other.may_have(name)]
        if shared(name) and owners:
            continue
        told.append(_sentence(executable, name, given, owners))
    return told


def _qos_fault(name: str, value: object) -> str:
    """Say what is wrong with an override ``qos_overrides./TOPIC.SIDE.POLICY``; "" for nothing.

    Whether there is such a topic only the node knows.
    """
    topic, _, rest = name.removeprefix(QOS).partition(".")
    side, _, policy = rest.partition(".")
    sides = ("publisher", "subscription")
    if side not in sides or policy not in QOS_POLICIES:
        side = side if side in sides else nearest_name(side, sides) or "subscription"
        near = nearest_name(policy, QOS_POLICIES, 0.8)
        meant = f"did you mean {QOS}{topic}.{side}.{near}?" if near else (
            f"a topic's {', '.join(QOS_POLICIES)} can be overridden"
        )  # fmt: skip
        return f"{name} has no effect; {meant}"
    words = QOS_POLICIES[policy]
    if words and value not in words:
        return f"{name} is {value!r}; it must be one of {', '.join(words)}"
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not words and not whole:
        return f"{name} is {value!r}; it must be a whole number above 0"
    return ""


def _sentence(
    executable: str, name: str, given: Mapping[str, Any], owners: Sequence[str]
) -> str:
    own = NODES[executable]
    head = f"{executable} has no parameter {name}"
    members = own.members
    if executable in owners and members is not None:
        listed = sorted({n.split(".")[1] for n in own.names(given) if "." in n})
        return f"{head}: {members.listed_in} names {', '.join(listed) or 'none'} only"
    if owners:
        return f"{head}; it is one of {' and '.join(owners)}: set it there"
    candidates = {n: executable for n in own.names(given)}
    for node, other in NODES.items():
        for theirs in other.names(given):
            candidates.setdefault(theirs, node)
    nearest = nearest_name(name, candidates)
    if not nearest:
        return f"{head}, nor has any other node; see docs/parameters.md"
    whose = candidates[nearest]
    return f"{head}; did you mean {nearest}" + ("?" if whose == executable else f" of {whose}?")


def given_to_several(words: Sequence[str], node: str) -> Callable[[str], bool]:
    """Return what tells whether a parameter comes from a section for several nodes alone.

    Args:
        words: the command line of the node's process, with its ``--params-file FILE``.
        node: the node's name; a section that ends with it is its own.
    """
    several: set[str] = set()
    own: set[str] = set()
    for path in parameter_files(words):
        try:
            found = list(sections(read_sections(path)))
        except ValueError:
            continue  # rcl has read it; a file that only we can't read shares nothing
        for section, names in found:
            last = section.rstrip("/").rpartition("/")[2]
            if "*" in last:
                several.update(names)
            elif last == node:
                own.update(names)
    return lambda name: name in several and name not in own
