"""What runs, with which parameters: one description for `ros2 launch` and for `rtc_ros start`.

The launch files turn it into launch_ros actions, the starter into plain processes; neither knows
anything of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.overrides import edited_file, override_file
from rtc_ros.parameter_files import given_to, is_for, read_sections, sections
from rtc_ros.paths import expanded
from rtc_ros.spelling import letters, nearest_name

PACKAGE = "rtc_ros"

REFUSED = 2
"""The exit code of a node that can't begin, and says why in a sentence."""

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

MODULES = {
    "rtc_inference": "rtc_ros.inference",
    "rtc_controller": "rtc_ros.controller",
    "rtc_recorder": "rtc_ros.recorder",
    "rtc_monitor": "rtc_ros.monitor",
    "rtc_sim": "rtc_ros.sim",
    "rtc_link": "rtc_ros.link",
    "rtc_link_gpu": "rtc_ros.link.gpu",
}
"""Executables by name, and the module that each runs."""

MACHINES: dict[str, tuple[str, ...]] = {
    "": ("rtc_inference", "rtc_controller"),
    "robot": ("rtc_controller", "rtc_link"),
    "gpu": ("rtc_inference", "rtc_link_gpu"),
}
"""What runs beside the driver where there is one machine, and on each of two."""

LINKED_IMAGES = "rtc_link/image"
"""The topics on which the link carries images, each followed by its camera's name."""

PROFILES = {2: "FASTRTPS_DEFAULT_PROFILES_FILE", 3: "FASTDDS_DEFAULT_PROFILES_FILE"}
"""Where Fast DDS of that version looks for its profiles: 2 in Jazzy, 3 in Kilted."""


def fast_dds() -> int:
    """Return the major version of the Fast DDS of this ROS 2, by its library."""
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        for version, library in ((3, "libfastdds.so"), (2, "libfastrtps.so")):
            if (Path(prefix) / "lib" / library).exists():
                return version
    return 2 if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else 3


@dataclass(frozen=True)
class Argument:
    """One launch argument: a string, empty where the parameter files decide.

    It sets ``parameter`` of ``node`` (of every node where that is empty); ``kind`` is the type.
    An argument without a parameter is read by ``nodes_to_run`` itself. In a ``path``, ``~`` and
    environment variables are expanded.
    """

    name: str
    description: str
    default: str = ""
    node: str = ""
    parameter: str = ""
    kind: type = str
    path: bool = False


_INFERENCE = "rtc_inference"

COMMON_ARGUMENTS = (
    Argument(
        "params_file",
        "YAML file with the parameters of the nodes; simulated: config/sim.yaml unless given",
        path=True,
    ),
    Argument("namespace", "namespace of all nodes"),
    Argument(
        "use_sim_time", "follow /clock instead of the system's clock", "", "", "use_sim_time", bool
    ),
    Argument(
        "policy_path", "folder of the checkpoint", "", _INFERENCE, "policy_path", path=True
    ),
    Argument("task", "the task sentence", "", _INFERENCE, "task"),
    Argument("strategy", ", ".join(STRATEGIES), "", _INFERENCE, "strategy"),
    Argument("s_min", "least steps between two inference starts", "", _INFERENCE, "s_min", int),
    Argument("beta", "clip of the guidance weight", "", _INFERENCE, "beta", float),
    Argument("schedule", "decay of the soft mask", "", _INFERENCE, "schedule"),
    Argument("jacobian", "vjp or identity", "", _INFERENCE, "jacobian"),
    Argument(
        "inject_latency_ms",
        "extra latency of each inference, to try +100 and +200 ms",
        "",
        _INFERENCE,
        "inject_latency_ms",
        float,
    ),
    Argument(
        "start_when_ready",
        "open the motion gate as soon as joint states are there",
        "",
        "rtc_controller",
        "start_when_ready",
        bool,
    ),
    Argument(
        "dry_run",
        "do everything but command: nothing goes to any driver",
        "",
        "rtc_controller",
        "dry_run",
        bool,
    ),
    Argument("record", "folder of the rosbag2 bag to record; empty: no recording", path=True),
    Argument(
        "record_cameras",
        "with record: also the images that the policy sees, for rtc_ros replay",
        "",
        "rtc_recorder",
        "cameras",
        bool,
    ),
    Argument(
        "record_with",
        "with record: ros2_bag, rtc_recorder, or auto (ros2 bag where there is one that can)",
        "",
        "rtc_recorder",
        "record_with",
    ),
    Argument("log_level", ", ".join(LOG_LEVELS), "info"),
)

LINK_ARGUMENTS = (
    Argument(
        "robot_name",
        "the robot's name, the same on both machines; unless given, handoff_name and namespace",
        "",
        "rtc_link",
        "robot_name",
    ),
)
"""Beside the common ones, where there are two machines."""

SIM_ARGUMENTS = (
    *COMMON_ARGUMENTS,
    Argument("seed", "seed of the simulated episodes", "", "rtc_sim", "seed", int),
    Argument("cube_speed", "speed of the sliding cube [m/s]", "", "rtc_sim", "cube_speed", float),
    Argument(
        "new_cube_after_s",
        "a new cube so long after the last one was passed [s]; 0: never",
        "",
        "rtc_sim",
        "new_cube_after_s",
        float,
    ),
)


@dataclass(frozen=True)
class NodeToRun:
    """One process: its executable, its parameter files and the parameters on top of them."""

    executable: str
    namespace: str = ""
    params_files: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = "info"
    machine: str = ""
    """``robot`` or ``gpu`` where there are two."""

    @property
    def environment(self) -> dict[str, str]:
        """What it needs of Fast DDS across two machines; other middlewares don't read it.

        What the user has set is kept.
        """
        if not self.machine or any(name in os.environ for name in PROFILES.values()):
            return {}
        version = fast_dds()
        if self.executable != "rtc_link":
            return {PROFILES[version]: config_file("fastdds_two_machines.xml")}
        path = config_file("fastdds2_link.xml" if version == 2 else "fastdds_link.xml")
        if below := self.namespace.strip("/"):  # it names a topic
            path = edited_file(path, '"/rtc_link/', f'"/{below}/rtc_link/')
        return {PROFILES[version]: path}

    @property
    def module(self) -> str:
        """The Python module that runs it."""
        return MODULES[self.executable]

    def parameter_files(self) -> list[str]:
        """Return the parameter files to start it with, the last one with ``parameters``."""
        files = list(self.params_files)
        if self.parameters:
            files.append(override_file(self.params_files, self.parameters, self.executable))
        return files

    def ros_arguments(self) -> list[str]:
        """Return the process's command line from ``--ros-args`` on."""
        words = ["--ros-args", "--log-level", self.log_level]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for path in self.parameter_files():
            words += ["--params-file", path]
        return words


def config_file(name: str) -> str:
    """Return the path of a file of the package's config folder, installed or in a checkout.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    checkout = Path(__file__).resolve().parent.parent / "config" / name
    if checkout.is_file():
        return str(checkout)
    from ament_index_python.packages import (
        PackageNotFoundError,
        get_package_share_directory,
    )

    try:
        installed = Path(get_package_share_directory(PACKAGE)) / "config" / name
    except PackageNotFoundError:
        installed = Path(PACKAGE) / "config" / name
    if not installed.is_file():
        raise FileNotFoundError(f"there is no {name} in {checkout.parent} or {installed.parent}")
    return str(installed)


def parse(argument: Argument, text: str) -> Any:
    """Return the value of a launch argument's text.

    Raises:
        ValueError: the text isn't of the argument's type.
    """
    if argument.kind is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if argument.kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # 1e2 is a number, though none of YAML's
    good = (int, float) if argument.kind is float else (argument.kind,)
    if not isinstance(value, good) or (isinstance(value, bool) and argument.kind is not bool):
        word = {int: "a whole number", float: "a number", bool: "true or false"}[argument.kind]
        raise ValueError(f"{argument.name}:={text} is not {word}")
    return argument.kind(value)


def launch_arguments(*, simulated: bool, machine: str = "") -> tuple[Argument, ...]:
    """Return the arguments that have an effect there; ``machine`` as for ``nodes_to_run``."""
    arguments = SIM_ARGUMENTS if simulated else COMMON_ARGUMENTS
    if not machine:
        return arguments
    there = {"", *MACHINES[machine], "rtc_link"}
    if machine == "robot":
        there |= {"rtc_sim", "rtc_recorder"}
    record = () if machine == "robot" else ("record",)
    return tuple(
        a for a in (*arguments, *LINK_ARGUMENTS) if a.node in there and a.name not in record
    )


def unknown_arguments(names: Iterable[str], *, simulated: bool, machine: str = "") -> str:
    """Say which names are no launch arguments, and what may have been meant; "" where all are."""
    known = [a.name for a in launch_arguments(simulated=simulated, machine=machine)]
    elsewhere = {a.name for a in (*COMMON_ARGUMENTS, *LINK_ARGUMENTS)}
    told = []
    for name in sorted(set(names) - set(known)):
        nearest = nearest_name(name, known)
        if machine and name in elsewhere:
            other = "gpu" if machine == "robot" else "robot"
            told.append(f"unknown argument {name}; it is one of the {other} machine's")
        elif name in elsewhere - {a.name for a in COMMON_ARGUMENTS}:
            told.append(f"unknown argument {name}; it is one for two machines only")
        elif not simulated and name in {a.name for a in SIM_ARGUMENTS}:
            told.append(f"unknown argument {name}; it is one of the simulation only")
        elif nearest:
            told.append(f"unknown argument {name}; did you mean {nearest}:=…?")
        else:
            told.append(f"unknown argument {name}; there are {', '.join(sorted(known))}")
    return " ".join(told)


def refuse_undeclared(
    given: Iterable[str], words: Sequence[str], *, simulated: bool, machine: str = ""
) -> None:
    """End the launch by a misspelt argument, which launch itself drops without a word.

    Every argument is in a launch's configurations, ``given``, but so are those of a launch file
    that includes ours. What isn't declared here is refused where ours is the file that the
    command line ``words`` launches, and elsewhere only where it differs from one of ours by case,
    ``_`` or ``-`` alone.

    Raises:
        ValueError: names the argument, and the one that may have been meant.
    """
    names = [a.name for a in launch_arguments(simulated=simulated, machine=machine)]
    others = set(given) - set(names)
    file = "sim" if simulated else machine or "rtc"
    if not is_launched(words, f"{file}.launch.py"):
        ours = {letters(name) for name in names}
        others = {name for name in others if letters(name) in ours}
    if told := unknown_arguments(others, simulated=simulated, machine=machine):
        raise ValueError(told)


def is_launched(words: Sequence[str], file: str) -> bool:
    """Tell whether a command line is ``ros2 launch rtc_ros FILE …``, or has FILE's whole path."""
    pairs = zip(words, words[1:], strict=False)
    here = Path(__file__).resolve().parent.parent / "launch" / file
    paths = [Path(word) for word in words if word.endswith(file)]
    return (PACKAGE, file) in pairs or any(
        path.resolve() == here or path.parts[-4:-1] == ("share", PACKAGE, "launch")
        for path in paths
    )


def _check_words(namespace: str, log_level: str) -> None:
    """Refuse what the nodes would only answer with a traceback."""
    if not re.fullmatch(r"/?|/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", namespace, re.ASCII):
        raise ValueError(
            f"namespace:={namespace} is not a ROS namespace: letters, digits and _ between slashes"
        )
    if log_level not in LOG_LEVELS:
        raise ValueError(f"log_level:={log_level} is not one of {', '.join(LOG_LEVELS)}")


_LIKE_OURS = 0.88
"""How like a node's name (difflib's ratio) a section's is that is meant for it; 0.6 where it
begins with rtc. Others' nodes, a forward_controller say, may have parameters in the file, too."""


def sections_without_effect(file: Mapping[str, Any], namespace: str) -> str:
    """Say which sections of a file are for our nodes and reach none of them there; "" for none.

    A misspelt name, or another namespace. Where the file has a section for this very node, those
    for nodes of that name elsewhere are other robots'.
    """
    below = f"/{namespace.strip('/')}".rstrip("/")
    found = [f"/{name.strip('/')}" for name, _ in sections(file)]
    told = []
    for section in found:
        last = section.rpartition("/")[2]
        if "*" in last:
            continue
        node = f"{below}/{last}"
        if last in MODULES:
            if is_for(section, node) or (node in found and section != f"/{last}"):
                continue
            told.append(
                f"its section {section} is for no node that is started, that one is {node}: "
                f"name it /**/{last}"
            )
        else:
            least = 0.6 if letters(last).startswith("rtc") else _LIKE_OURS
            nearest = nearest_name(last, MODULES, least)
            if nearest:
                told.append(
                    f"its section {section} is for no node of {PACKAGE}; did you mean "
                    f"{section.removesuffix(last)}{nearest}?"
                )
    return "; ".join(told)


def _linked(executable: str, file: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return what a node is told where there are two machines, from what ``file`` tells others.

    Both links and the cameras of rtc_inference follow from the sections that one machine needs.
    """
    below = f"/{namespace.strip('/')}".rstrip("/")
    inference = given_to(file, f"{below}/rtc_inference")
    cameras = [str(name) for name in inference.get("cameras") or [] if name]
    if executable == "rtc_inference":
        seen: dict[str, Any] = {}
        for name in cameras:
            topic = f"{LINKED_IMAGES}/{name}"
            seen[f"camera.{name}.topic"] = topic
            seen[f"camera.{name}.transport"] = "compressed"
            # An image is many packets: of those that are lost it asks for the rest.
            seen[f"qos_overrides.{below}/{topic}.subscription.reliability"] = "reliable"
        return seen
    if not executable.startswith("rtc_link"):
        return {}
    beside = "rtc_controller" if executable == "rtc_link" else "rtc_inference"
    theirs = given_to(file, f"{below}/{beside}")
    names = ("joints", "control_period", "handoff_name")
    told = {name: theirs[name] for name in names if name in theirs}
    own = given_to(file, f"{below}/{executable}")
    told |= {"cameras": cameras} if cameras else {}
    for name in own.get("cameras", cameras):
        for leaf in ("topic", "transport"):
            key = f"camera.{name}.{leaf}"
            told |= {key: inference[key]} if key in inference else {}
    return {name: value for name, value in told.items() if name not in own}


def _cameras_recorded(
    file: Mapping[str, Any], namespace: str, machine: str, told: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what names the policy's images to a recorder that is ``told`` to record them.

    It could learn them from rtc_inference, but only once that is up: the first chunk may be made
    of an image from before, and a replay would lack it.
    """
    below = f"/{namespace.strip('/')}".rstrip("/")
    own = {**given_to(file, f"{below}/rtc_recorder"), **told}
    seen = given_to(file, f"{below}/rtc_inference")
    seen |= _linked("rtc_inference", file, namespace) if machine else {}
    names, others = (
        [each for each in given if each] if isinstance(given, list) else []
        for given in (seen.get("cameras"), own.get("camera_topics"))
    )
    topics = [str(seen.get(f"camera.{name}.topic", "~")) for name in names]
    # ~ is the node's own name, another one in the recorder.
    if own.get("cameras") is not True or not topics or any(t.startswith("~") for t in topics):
        return {}
    return {"camera_topics": list(dict.fromkeys([*others, *topics])), "cameras": False}


def nodes_to_run(
    values: Mapping[str, str], *, simulated: bool, machine: str = ""
) -> list[NodeToRun]:
    """Return the processes for these launch arguments (name → text; empty means not given).

    ``machine`` is ``robot`` or ``gpu`` where there are two, else empty; see ``MACHINES``.

    Raises:
        ValueError: an argument isn't of its type, there is no such parameter file or a section
            of it reaches no node, or a recording is there already.
    """
    arguments = launch_arguments(simulated=simulated, machine=machine)
    if told := unknown_arguments(values, simulated=simulated, machine=machine):
        raise ValueError(told)
    for name, text in values.items():
        inner = text.partition(":=")[0]
        if ":=" in text and inner in {a.name for a in arguments}:
            raise ValueError(f"{name}:={text} gives {name} no value: write {name}:=… {inner}:=…")
    given = {
        a.name: expanded(text) if a.path else text
        for a in arguments
        for text in [values.get(a.name) or a.default]
    }
    _check_words(given["namespace"], given["log_level"])
    params_file = given["params_file"] or (config_file("sim.yaml") if simulated else "")
    if not params_file:
        raise ValueError(
            "params_file:= must name the YAML file of your robot; start from one in config/"
        )
    if not Path(params_file).is_file():
        raise ValueError(f"params_file:={params_file} is not a file")
    file = read_sections(params_file)
    if told := sections_without_effect(file, given["namespace"]):
        raise ValueError(f"params_file:={params_file}: {told}")
    record = given.get("record", "")
    if record and Path(record).exists():
        # Said by the recorder alone, the robot would run on and nothing be recorded.
        raise ValueError(
            f"record:={record} exists already and a recording never overwrites; name "
            "another folder or remove that one"
        )
    executables = list(MACHINES[machine])
    if simulated and machine != "gpu":
        executables.insert(0, "rtc_sim")
    if record:
        executables.append("rtc_recorder")
    nodes = []
    for executable in executables:
        parameters = _linked(executable, file, given["namespace"]) if machine else {}
        parameters |= {
            a.parameter: parse(a, given[a.name])
            for a in arguments
            if a.parameter and given[a.name] and executable.startswith(a.node)
        }
        if executable == "rtc_recorder":
            parameters["output"] = record
            parameters |= _cameras_recorded(file, given["namespace"], machine, parameters)
        nodes.append(
            NodeToRun(
                executable, given["namespace"], (params_file,), parameters, given["log_level"],
                machine,
            )  # fmt: skip
        )
    return nodes
