"""A value of another type than the parameter's: the words say what to write."""

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter as Value

from rtc_ros.ros.parameter_table import Parameter
from rtc_ros.ros.parameters import ConfigurationError, declare

pytestmark = pytest.mark.ros

TABLE = {
    "control_period": Parameter("control_period", 0.02, "", low=0.001, high=100.0),
    "s_min": Parameter("s_min", 10, ""),
    "handoff_name": Parameter("handoff_name", "rtc", ""),
    "publish_chunks": Parameter("publish_chunks", True, ""),
    "max_velocity": Parameter("max_velocity", [1.0], ""),
    "joints": Parameter("joints", [""], ""),
}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("control_period", 20, "is 20; it must be a number with a point, as 20.0"),
        ("control_period", "0.02", "is '0.02'; it must be a number with a point, as 1.0"),
        ("control_period", [0.02], "is [0.02]; it must be a number with a point, as 1.0"),
        ("s_min", 10.0, "is 10.0; it must be a whole number, without a point"),
        ("s_min", True, "is True; it must be a whole number, without a point"),
        ("handoff_name", 7, "is 7; it must be text"),
        ("publish_chunks", 1, "is 1; it must be true or false"),
        ("max_velocity", [1, 2], "is [1, 2]; it must be a list, each a number with a point, as 1.0"),  # noqa: E501
        ("max_velocity", 2.0, "is 2.0; it must be a list, each a number with a point, as 1.0"),
        ("joints", "waist", "is 'waist'; it must be a list, each text"),
    ],
)
def test_the_value_and_what_it_must_be_are_said(ros, name, value, said):
    node = Node("typed", parameter_overrides=[Value(name, value=value)])
    try:
        with pytest.raises(ConfigurationError) as refused:
            declare(node, [TABLE[name]])
    finally:
        node.destroy_node()
    assert str(refused.value) == f"parameter {name} {said}"
