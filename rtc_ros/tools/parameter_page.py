"""`rtc_ros docs parameters`: writes docs/parameters.md from the tables that declare them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rtc_ros.bringup import COMMON_ARGUMENTS, LINK_ARGUMENTS, SIM_ARGUMENTS, Argument
from rtc_ros.controller.parameters import CONTROLLER, GROUP
from rtc_ros.inference.parameters import CAMERA, INFERENCE
from rtc_ros.link.parameters import LINK
from rtc_ros.monitor.parameters import MONITOR
from rtc_ros.parameter_files import yaml_value
from rtc_ros.paths import a_path
from rtc_ros.recorder.parameters import RECORDER
from rtc_ros.ros.parameter_table import COMMON, UNSET, Parameter
from rtc_ros.sim.driver_parameters import DRIVER, camera_parameters

INTRODUCTION = """\
# Parameters

Written by `rtc_ros docs parameters` from the tables that declare them:
`rtc_ros/ros/parameter_table.py`, `rtc_ros/inference/parameters.py`,
`rtc_ros/controller/parameters.py`, `rtc_ros/recorder/parameters.py`,
`rtc_ros/monitor/parameters.py`, `rtc_ros/link/parameters.py`,
`rtc_ros/sim/driver_parameters.py` and, for the launch arguments, `rtc_ros/bringup.py`.

*Live* parameters may change while the robot moves (`ros2 param set`, `rtc_ros set`); a change is
validated as a whole, refused with a sentence where it can't work, and takes effect at the next
chunk. *Reload* parameters may change while the lifecycle node is unconfigured. All others are
read-only once the node runs. Whole examples are in `config/`.
"""

SECTIONS = (
    ("rtc_inference and rtc_controller", "", COMMON),
    ("rtc_inference", "", INFERENCE),
    ("rtc_inference, for each camera NAME", "camera.NAME.", CAMERA),
    ("rtc_controller", "", CONTROLLER),
    ("rtc_controller, for each command group NAME", "group.NAME.", GROUP),
    ("rtc_recorder", "", RECORDER),
    ("rtc_monitor", "", MONITOR),
    ("rtc_link and rtc_link_gpu", "", LINK),
    ("rtc_sim, the simulated robot", "", DRIVER),
    ("rtc_sim, for each camera NAME", "camera.NAME.", camera_parameters("NAME")),
)

LAUNCH = """
## Launch arguments

Of `ros2 launch rtc_ros rtc.launch.py NAME:=VALUE …` (the two nodes beside your own driver), of
`sim.launch.py` (all of it, simulated), of `robot.launch.py` and `gpu.launch.py` (two machines:
those that belong to its nodes), and of `rtc_ros start rtc`, `sim`, `robot` and `gpu`, which do the
same without `ros2 launch`. One that is given wins over the parameter file; one that is not
leaves it alone.

| argument | default | sets | |
|---|---|---|---|
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(value: object) -> str:
    if value in ("", [""]) or value is UNSET:
        return ""
    if isinstance(value, list):
        return f"`[{', '.join(map(_plain, value))}]`"
    return f"`{_plain(value)}`"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else yaml_value(value)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _rows(prefix: str, table: Iterable[Parameter]) -> list[str]:
    lines = ["| parameter | default | unit | range | |", "|---|---|---|---|---|"]
    for p in table:
        span = ", ".join(f"`{c}`" for c in p.choices)
        if p.low is not None and p.high is not None:
            span = f"{_number(p.low)} … {_number(p.high)}"
        live = "**live** " if p.live else "*reload* " if p.reload else ""
        cells = (f"`{prefix}{p.name}`", _default(p.default), p.unit, span, live + p.description)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return lines


def _camera_note(names: Sequence[str]) -> str:
    """Say which cameras have defaults of their own."""
    said = []
    for name in names:
        height, width, rate = (p.default for p in camera_parameters(name))
        said.append(f"`{name}` is {height} × {width} px at {rate:g} Hz")
    return f"By default {' and '.join(said)}; every other camera as in the table."


def _argument(argument: Argument) -> str:
    sets = f"`{argument.parameter}` of {argument.node or 'every node'}"
    where = "" if argument in COMMON_ARGUMENTS else "; only simulated"
    where = "; with two machines" if argument in LINK_ARGUMENTS else where
    cells = (
        f"`{argument.name}`",
        f"`{argument.default}`" if argument.default else "",
        sets if argument.parameter else "",
        argument.description + where,
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def as_markdown() -> str:
    """Return docs/parameters.md."""
    parts = [INTRODUCTION]
    for title, prefix, table in SECTIONS:
        parts.append("\n".join(["", f"## {title}", "", *_rows(prefix, table), ""]))
    parts.append(f"\n{_camera_note(('top', 'film'))}\n")
    parts.append(LAUNCH + "".join(_argument(a) + "\n" for a in (*SIM_ARGUMENTS, *LINK_ARGUMENTS)))
    return "".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; with ``--check`` write nothing and return 1 where it has drifted."""
    parser = argparse.ArgumentParser(prog="rtc_ros docs parameters", description=__doc__)
    parser.add_argument("--output", type=a_path, default=Path("docs/parameters.md"))
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it has drifted")
    options = parser.parse_args(argv)
    path: Path = options.output
    if options.check:
        if path.is_file() and path.read_text(encoding="utf-8") == as_markdown():
            print(f"{path} is up to date")
            return 0
        wrong = "is not what the tables say" if path.is_file() else "isn't there"
        print(f"{path} {wrong}: run rtc_ros docs parameters", file=sys.stderr)
        return 1
    try:
        path.write_text(as_markdown(), encoding="utf-8")
    except OSError as error:
        print(f"can't write {path}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
