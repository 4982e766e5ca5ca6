"""The configurations in config/: every name exists, nothing moves by itself, limits are real."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from rtc_ros.bringup import MODULES, config_file
from rtc_ros.controller.parameters import CONTROLLER, GROUP
from rtc_ros.core.set_points import ratio
from rtc_ros.inference.parameters import CAMERA, INFERENCE
from rtc_ros.recorder.parameters import RECORDER
from rtc_ros.ros.parameter_table import COMMON
from rtc_ros.sim.driver_parameters import DRIVER, camera_parameters

CONFIG = Path(config_file("sim.yaml")).parent
PAIRS = ("viperx_pair.yaml", "openarm_pair.yaml", "so101_pair.yaml")


def flat(tree, prefix=""):
    """Parameters by their full names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def sections(name):
    """Section -> parameters of a file of config/."""
    tree = yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))
    return {key.removeprefix("/**/"): dict(flat(s["ros__parameters"])) for key, s in tree.items()}


def known(section, values):
    """The parameters that the nodes of a section declare, given its cameras and groups."""
    tables = {
        "/**": [("", COMMON)],
        "rtc_inference": [
            ("", COMMON + INFERENCE),
            *((f"camera.{c}.", CAMERA) for c in values.get("cameras", [])),
        ],
        "rtc_controller": [
            ("", COMMON + CONTROLLER),
            *((f"group.{g}.", GROUP) for g in values.get("command_groups", [])),
        ],
        "rtc_recorder": [("", RECORDER)],
        "rtc_sim": [
            ("", DRIVER),
            *((f"camera.{c}.", camera_parameters(c)) for c in values.get("cameras", [])),
        ],
    }
    return {prefix + p.name: p for prefix, table in tables[section] for p in table}


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIG.glob("*.yaml")))
def test_names_only_parameters_that_exist_with_values_of_their_type(name):
    for section, values in sections(name).items():
        assert section == "/**" or section in MODULES
        table = known(section, values)
        assert not set(values) - set(table), f"{name}, {section}"
        for key, value in values.items():
            default = table[key].default
            first, like = (value[0], default[0]) if isinstance(default, list) else (value, default)
            assert type(first) is type(like), f"{name}: {key} is {value!r}"
            if isinstance(value, list):
                assert {type(x) for x in value} == {type(first)}, f"{name}: {key} mixes types"


@pytest.mark.parametrize("name", PAIRS)
def test_the_commands_are_among_what_is_recorded(name):
    parts = sections(name)
    topics = {v for k, v in parts["rtc_controller"].items() if k.endswith(".topic")}
    topics |= set(parts["/**"]["joint_state_topics"])
    assert topics <= set(parts["rtc_recorder"]["topics"])


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_moves_by_itself_and_every_joint_has_real_limits(name):
    parts = sections(name)
    joints, controller = parts["/**"]["joints"], parts["rtc_controller"]
    assert controller["start_when_ready"] is False
    lower, upper = (np.array(controller[f"position_{x}"]) for x in ("lower", "upper"))
    speed = np.array(controller["max_velocity"])
    assert len(joints) == len(set(joints)) == len(lower) == len(upper) == len(speed)
    assert np.isfinite(lower).all() and (lower < upper).all() and (speed > 0).all()
    assert np.isfinite(controller["max_acceleration"]).all()


@pytest.mark.parametrize(
    ("name", "driver_hz"),
    [("viperx_pair.yaml", 100), ("openarm_pair.yaml", 100), ("so101_pair.yaml", 100)],
)
def test_the_command_rate_is_one_of_its_rows_and_no_more_than_its_driver_has(name, driver_hz):
    parts = sections(name)
    controller, period_s = parts["rtc_controller"], parts["/**"]["control_period"]
    assert ratio(controller["command_rate"], period_s) > 1
    assert driver_hz / 2 < controller["command_rate"] <= driver_hz
    kinds = {v for k, v in controller.items() if k.endswith(".type")}
    assert "joint_trajectory_chunk" not in kinds, "set points are refused beside it"
