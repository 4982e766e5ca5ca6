"""Which topics of a bag belong to one run: by their names, in whatever namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtc_ros.bags.columns import settings_of
from rtc_ros.bags.reader import Bag, BagError

JOINT_STATE = "sensor_msgs/msg/JointState"
STATUS = "diagnostic_msgs/msg/DiagnosticStatus"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"


@dataclass(frozen=True)
class TopicNames:
    """Which topics to read; None: found by their usual names, in whatever namespace."""

    executed: str | None = None
    swap: str | None = None
    chunk: str | None = None
    joint_states: str | None = None
    settings: str | None = None
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Topics:
    """The topics of one run in a bag; None: it doesn't have such a topic.

    ``joint_states`` maps each joint-state topic to what is put before the names there.
    """

    executed: str
    swap: str | None
    chunk: str | None
    joint_states: Mapping[str, str]
    settings: str | None

    @classmethod
    def in_bag(cls, bag: Bag, names: TopicNames) -> Topics | None:
        """Find them; None where there is no ``executed``.

        Raises:
            BagError: a named topic isn't there, has another type, or the choice isn't clear.
        """
        executed = find_topic(bag, names.executed, "rtc_controller/executed", JOINT_STATE)
        if executed is None:
            return None
        space = None if names.executed else executed.removesuffix("rtc_controller/executed")
        settings = find_topic(bag, names.settings, "rtc_inference/settings", STRING, space)
        return cls(
            executed,
            find_topic(bag, names.swap, "rtc_controller/swap", STATUS, space),
            find_topic(bag, names.chunk, "rtc_inference/chunk", TRAJECTORY, space),
            _joint_states(bag, names.joint_states, settings, space),
            settings,
        )

    def all(self) -> list[str]:
        """Return the topics that there are."""
        single = (self.executed, self.swap, self.chunk, self.settings)
        return [*(t for t in single if t is not None), *self.joint_states]


def find_topic(
    bag: Bag, named: str | None, usual: str, msgtype: str, space: str | None = None
) -> str | None:
    """Return the topic that is ``named``, or the one with the ``usual`` name, None without one.

    ``space`` is the namespace to look in first.

    Raises:
        BagError: the named one isn't there or has another type, or the choice isn't clear.
    """
    mixed = [
        t for t in bag.mixed if t == named or (named is None and f"/{t}".endswith(f"/{usual}"))
    ]
    if mixed and (named is not None or space is None or f"{space}{usual}" in mixed):
        kinds = " and ".join(sorted(bag.mixed[mixed[0]]))
        raise BagError(f"{bag.path}: {mixed[0]} has two types, {kinds}")
    if named is not None:
        if named not in bag.topics:
            raise BagError(f"{bag.path} has no topic {named}; it has {', '.join(bag.topics)}")
        if bag.topics[named] != msgtype:
            raise BagError(f"{named} has the type {bag.topics[named]}, expected {msgtype}")
        return named
    found = [
        t for t, kind in bag.topics.items() if kind == msgtype and f"/{t}".endswith(f"/{usual}")
    ]
    if space is not None and f"{space}{usual}" in found:
        return f"{space}{usual}"
    if len(found) > 1:
        raise BagError(
            f"{bag.path} has {len(found)} topics of that name, {', '.join(sorted(found))}: "
            "name the one that is meant"
        )
    return found[0] if found else None


def _joint_states(
    bag: Bag, named: str | None, settings: str | None, space: str | None
) -> Mapping[str, str]:
    """Return the joint-state topics with their prefixes: the named one, else those of the run."""
    if named is None and settings is not None:
        there = states_of(next((data for _, _, data in bag.batches(settings)), ()))
        if there.keys() <= bag.topics.keys() and there:
            return there
    found = find_topic(bag, named, "joint_states", JOINT_STATE, space)
    return {} if found is None else {found: ""}


def states_of(settings: Sequence[bytes]) -> dict[str, str]:
    """Return the joint-state topics that the first settings message names, with their prefixes."""
    try:
        said = settings_of(settings[0])
        topics = list(said["joint_state_topics"])
        # Recordings of before there were prefixes don't have them.
        prefixes = said.get("joint_state_prefixes") or [""] * len(topics)
        return dict(zip(topics, prefixes, strict=True))
    except (IndexError, KeyError, TypeError, ValueError):
        return {}
