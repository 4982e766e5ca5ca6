"""`rtc_ros layouts`: PlotJuggler and Foxglove layouts that show seams and provenance."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from rtc_ros.core.continuity.run_log import Provenance
from rtc_ros.parameter_files import read_sections, sections
from rtc_ros.paths import a_path

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a7a")
SEAM = "rtc seam"
_EXECUTED, _SWAP, _STATES = "rtc_controller/executed", "rtc_controller/swap", "joint_states"
_GROUP = 7
"""Joints in one plot."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write both layouts; 0, or 2 where the parameter file names no joints."""
    parser = argparse.ArgumentParser(prog="rtc_ros layouts", description=__doc__)
    add = parser.add_argument
    add("params_file", type=a_path, help="the nodes' parameters: their joints are plotted")
    add("--out", type=a_path, default=Path("."), metavar="DIR", help="where to write to (here)")
    add("--name", help="of the files (default: the parameter file's)")
    add("--namespace", default="", help="of the nodes")
    options = parser.parse_args(argv)
    try:
        joints = joints_of(options.params_file)
        name = options.name or options.params_file.stem
        space = f"/{options.namespace.strip('/')}/" if options.namespace.strip("/") else "/"
        for path, text in (
            (options.out / f"plotjuggler_{name}.xml", plotjuggler(joints, space)),
            (options.out / f"foxglove_{name}.json", foxglove(joints, space)),
        ):
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    except (OSError, ValueError) as error:
        print(f"layouts: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def joints_of(path: Path) -> list[str]:
    """Return the ``joints`` of a parameter file.

    Raises:
        ValueError: it names none, or can't be read.
    """
    for _, values in sections(read_sections(str(path))):
        if isinstance(joints := values.get("joints"), list) and joints:
            return [str(joint) for joint in joints]
    raise ValueError(f"{path} names no joints")


def groups(joints: Sequence[str]) -> list[Sequence[str]]:
    """Return the joints plot by plot."""
    return [joints[i : i + _GROUP] for i in range(0, len(joints), _GROUP)]


# PlotJuggler


def plotjuggler(joints: Sequence[str], space: str = "/") -> str:
    """Return a PlotJuggler layout; its series of a JointState are TOPIC/JOINT/position."""

    def sent(name: str, field: str = "position") -> str:
        return f"{space}{_EXECUTED}/{name}/{field}"

    def origin(*names: str) -> list[str]:
        return [sent(f"rtc/{name}") for name in names]

    motion = [[sent(j) for j in part] for part in groups(joints)]
    arm = [
        [c for j in part for c in (sent(j), f"{space}{_STATES}/{j}/position")]
        for part in groups(joints)
    ]
    limits = [[c for j in part for c in (sent(j), sent(j, "velocity"))] for part in groups(joints)]
    tabs = (
        ("motion and seams", [*motion, [SEAM], origin("row")]),
        ("provenance", [origin("chunk_seq"), origin("row"), origin("mode"), origin("limited")]),
        ("timing", [origin("lateness_us"), origin("step", "tick"), origin("origin_step")]),
        ("arm against commands", arm),
        ("commands against wanted", limits),
    )
    sources = escape(origin("chunk_seq")[0])
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<root>\n"
        ' <tabbed_widget name="Main Window" parent="main_window">\n'
        + "".join(_tab(name, plots) for name, plots in tabs)
        + '  <currentTabIndex index="0"/>\n </tabbed_widget>\n'
        ' <use_relative_time_offset enabled="1"/>\n <Plugins/>\n <customMathEquations>\n'
        f"  <snippet name={quoteattr(SEAM)}>\n   <global>last = nil</global>\n"
        "   <function>local seam = 0\nif last ~= nil and value ~= last then seam = 1 end\n"
        "last = value\nreturn seam</function>\n"
        f"   <linked_source>{sources}</linked_source>\n  </snippet>\n"
        " </customMathEquations>\n <snippets/>\n</root>\n"
    )


def _tab(name: str, plots: Sequence[Sequence[str]]) -> str:
    sizes = ";".join([f"{1 / len(plots):.6f}"] * len(plots))
    lines = [
        f'  <Tab tab_name={quoteattr(name)} containers="1">\n   <Container>\n'
        f'    <DockSplitter orientation="-" count="{len(plots)}" sizes="{sizes}">\n'
    ]
    for curves in plots:
        lines.append('     <DockArea name="...">\n      <plot style="Lines" mode="TimeSeries" ')
        lines.append('flip_x="false" flip_y="false">\n       <limitY/>\n')
        for i, curve in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            lines.append(f'       <curve name={quoteattr(curve)} color="{colour}"/>\n')
        lines.append("      </plot>\n     </DockArea>\n")
    return "".join([*lines, "    </DockSplitter>\n   </Container>\n  </Tab>\n"])


# Foxglove


def foxglove(joints: Sequence[str], space: str = "/") -> str:
    """Return a Foxglove layout; it finds joints and provenance by their place in the message."""
    executed = f"{space}{_EXECUTED}"
    place = {name: len(joints) + i for i, name in enumerate(Provenance.names())}

    def origin(name: str) -> tuple[str, str]:
        return f"{executed}.position[{place[name]}]", name

    panels: dict[str, Any] = {}
    index = 0
    for number, part in enumerate(groups(joints), 1):
        paths = [(f"{executed}.position[{index + i}]", j) for i, j in enumerate(part)]
        index += len(part)
        panels[f"Plot!motion{number}"] = _plot("commanded", paths)
    panels["StateTransitions!why"] = _transitions(
        [
            (f"{executed}.header.frame_id", "why"),
            (f"{space}{_SWAP}.message", "seams"),
            origin("chunk_seq"),
        ]
    )
    panels["Plot!row"] = _plot("row of the chunk in use", [origin("row")])
    late = [origin("lateness_us"), origin("limited")]
    panels["Plot!late"] = _plot("lateness [µs], limited joints", late)
    panels["DiagnosticSummary!health"] = {"minLevel": 0, "topicToRender": "/diagnostics"}
    panels["RawMessages!swap"] = {"topicPath": f"{space}{_SWAP}"}
    names = list(panels)
    split = names.index("DiagnosticSummary!health")
    layout = {
        "direction": "row",
        "first": _stack(names[:split]),
        "second": _stack(names[split:]),
        "splitPercentage": 72,
    }
    whole = {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": layout,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _plot(title: str, paths: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "foxglovePanelTitle": title,
        "paths": [
            {"value": path, "label": label, "enabled": True, "timestampMethod": "headerStamp"}
            for path, label in paths
        ],
        "showLegend": True,
        "legendDisplay": "left",
        "isSynced": True,
        "xAxisVal": "timestamp",
    }


def _transitions(paths: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "foxglovePanelTitle": "why, and seams",
        "paths": [
            {"value": path, "label": label, "timestampMethod": "receiveTime"}
            for path, label in paths
        ],
        "isSynced": True,
    }


def _stack(names: Sequence[str]) -> Any:
    """Return the panels one above the other, of equal height."""
    if len(names) == 1:
        return names[0]
    return {
        "direction": "column",
        "first": names[0],
        "second": _stack(names[1:]),
        "splitPercentage": 100 / len(names),
    }


if __name__ == "__main__":
    sys.exit(main())
