"""`rtc_ros set`: what values are read as, and who is asked."""

import threading

import pytest
from rcl_interfaces.msg import ParameterType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from rtc_ros.tools.set import _value, main

pytestmark = pytest.mark.ros

BOOL, INTEGER = ParameterType.PARAMETER_BOOL, ParameterType.PARAMETER_INTEGER
DOUBLE, STRING = ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_STRING
DOUBLES, STRINGS = ParameterType.PARAMETER_DOUBLE_ARRAY, ParameterType.PARAMETER_STRING_ARRAY


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", BOOL, True),
        ("False", BOOL, False),
        ("-3", INTEGER, -3),
        ("7", DOUBLE, 7.0),
        ("1e-3", DOUBLE, 1e-3),
        ("7", STRING, "7"),
        ("", STRING, ""),
        ("[1, 2.5]", DOUBLES, [1.0, 2.5]),
        ('["top", "1", "a b"]', STRINGS, ["top", "1", "a b"]),
        ("[]", STRINGS, []),
    ],
)
def test_a_value_is_read_as_its_parameter_s_type(text, kind, value):
    found = _value("rtc_inference", "x", text, kind)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *[(x, BOOL) for x in ("yes", "1", "", "{}")],
        *[(x, INTEGER) for x in ("12.0", "1_0", "9" * 20, "", "٣")],
        *[(x, DOUBLE) for x in ("nan", "inf", "1e400", "1_0", "a", "")],
        ("a\udcffb", STRING),
        *[(x, DOUBLES) for x in ("1", "[1, a]", "[[1]]", "[1, nan]", "{}", "[", "")],
        *[(x, STRINGS) for x in ("a", "{a: b}", "[a]", '[["a"]]', "[1]", "[true]", "[null]")],
        ("[1]", ParameterType.PARAMETER_BYTE_ARRAY),
    ],
)
def test_what_it_can_not_be_is_told(text, kind):
    with pytest.raises(ValueError, match="^x (is|has) "):
        _value("rtc_inference", "x", text, kind)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a:=1", "a:=2"], "a has two values"),
        ([":=5"], "not of the form name:=value"),
        (["a:=1", "--node", "a b"], "a b"),
        (["a:=1", "--namespace", "left arm"], "left arm"),
    ],
)
def test_words_that_can_not_be_asked_with_are_told(words, why, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("set: ") and why in told and told.count("\n") == 1


def test_of_two_nodes_with_one_name_neither_is_changed(ros, capsys):
    nodes = [Node("twin", namespace="left") for _ in range(2)]
    try:
        for node in nodes:
            node.declare_parameter("speed", 1.0)
        assert main(["--node", "twin", "--namespace", "/left/", "speed:=2"]) == 1
        assert "2 nodes are called twin here" in capsys.readouterr().err
        assert [n.get_parameter("speed").value for n in nodes] == [1.0, 1.0]
    finally:
        for node in nodes:
            node.destroy_node()


def test_a_list_can_be_emptied(ros, capsys):
    """An empty list tells no type by itself."""
    node = Node("lists")
    node.declare_parameter("names", ["a", "b"])
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spins = threading.Thread(target=executor.spin, daemon=True)
    spins.start()
    try:
        assert main(["--node", "lists", "names:=[]"]) == 0, capsys.readouterr().err
        assert node.get_parameter("names").value == []
        assert main(["--node", "lists", 'names:=["c"]']) == 0
        assert node.get_parameter("names").value == ["c"]
    finally:
        executor.shutdown()
        spins.join(5.0)
        node.destroy_node()
