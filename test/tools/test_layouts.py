"""The layouts name series that are really in the messages, and the shipped ones are current."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from rtc_ros.bags.columns import PREFIX
from rtc_ros.core.continuity.run_log import Provenance
from rtc_ros.tools.cli import main as rtc_ros
from rtc_ros.tools.layouts import foxglove, joints_of, plotjuggler

CONFIG = Path(__file__).parents[2] / "config"
JOINTS = [f"{side}_{i}" for side in ("left", "right") for i in range(9)]


def names():
    """The names in an executed message, as the controller publishes them."""
    return [*JOINTS, *(PREFIX + n for n in Provenance.names())]


def test_plotjuggler_series_are_joints_and_provenance_fields():
    root = ElementTree.fromstring(plotjuggler(JOINTS, "/robot/").encode())
    curves = {c.get("name") for c in root.iter("curve")}
    made = {s.get("name") for s in root.iter("snippet")}
    known = {f"/robot/rtc_controller/executed/{n}/{f}" for n in names() for f in FIELDS}
    known |= {f"/robot/joint_states/{j}/position" for j in JOINTS} | made
    assert curves <= known, curves - known
    shown = {c.split("/")[4] for c in curves if c.endswith("/position") and "executed" in c}
    assert shown >= set(JOINTS)
    for field in ("chunk_seq", "row", "mode", "limited", "lateness_us"):
        assert f"/robot/rtc_controller/executed/rtc/{field}/position" in curves
    (source,) = [s.text for s in root.iter("linked_source")]
    assert source in known
    for splitter in root.iter("DockSplitter"):
        sizes = splitter.get("sizes").split(";")
        assert int(splitter.get("count")) == len(list(splitter)) == len(sizes)


FIELDS = ("position", "velocity")


def test_foxglove_paths_lead_to_the_fields_they_are_labelled_with():
    layout = json.loads(foxglove(JOINTS, "/robot/"))
    labels = {}
    for panel in layout["configById"].values():
        for path in panel.get("paths", []):
            place = r"/robot/rtc_controller/executed\.position\[(\d+)\]"
            found = re.fullmatch(place, path["value"])
            if found:
                labels[path["label"]] = int(found.group(1))
    message = names()
    for label, place in labels.items():
        assert message[place] in (label, PREFIX + label)
    assert set(JOINTS) | {"row", "chunk_seq", "limited", "lateness_us"} <= set(labels)

    def leaves(node):
        if isinstance(node, str):
            return [node]
        assert node["direction"] in ("row", "column") and 0 < node["splitPercentage"] < 100
        return leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])


def test_the_shipped_layouts_are_what_the_tool_writes(tmp_path, capsys):
    assert rtc_ros(["layouts", str(CONFIG / "sim.yaml"), "--out", str(tmp_path)]) == 0
    for name in ("plotjuggler_sim.xml", "foxglove_sim.json"):
        assert (CONFIG / name).read_text() == (tmp_path / name).read_text()
    assert len(joints_of(CONFIG / "sim.yaml")) == 14


def test_the_joints_of_a_file_with_nested_namespaces_are_found_as_the_nodes_find_them(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("left:\n  rtc_controller:\n    ros__parameters: {joints: [a, b]}\n")
    assert joints_of(path) == ["a", "b"]
    path.write_text("left:\n  rtc_controller:\n    ros__parameters: {joints: [a, 2, 0.5]}\n")
    with pytest.raises(ValueError, match=r"robot\.yaml.*joints has values of different types"):
        joints_of(path)


@pytest.mark.parametrize("text", ["", "a: [", "a: {ros__parameters: {}}"])
def test_a_file_without_joints_is_refused(tmp_path, capsys, text):
    (tmp_path / "x.yaml").write_text(text)
    assert rtc_ros(["layouts", str(tmp_path / "x.yaml"), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("layouts: ") and said.count("\n") == 1
    assert rtc_ros(["layouts", str(tmp_path / "no.yaml")]) == 2
