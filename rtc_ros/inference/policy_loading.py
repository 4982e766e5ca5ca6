"""Loads the policy that the parameters name, checked against them and warmed up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtc_ros.core.delay import DelayEstimator
from rtc_ros.inference.checks import policy_problems
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameters import ConfigurationError

if TYPE_CHECKING:
    from rtc_ros.policy.protocol import Policy
    from rtc_ros.policy.task_length import TaskReader


def load_policy(
    p: Mapping[str, Any], units: PolicyUnits, features: Sequence[str], task: str
) -> tuple[Policy, float, StateSpread | None, TaskReader | None]:
    """Return the policy of the parameters ``p``, and of it how long a guided chunk takes [s].

    Then its training's states, and what tells how much of a sentence it reads.

    Raises:
        ConfigurationError: it doesn't fit the joints, or the image ``features`` of the cameras,
            or doesn't read all of ``task``.
        ValueError, OSError: the checkpoint can't be loaded; the message says where.
    """
    path = checkpoint_path(p["policy_path"])
    checkpoint = read_checkpoint(path)
    left_out = left_out_images(p)
    problems = policy_problems(checkpoint.spec, units, features, left_out)
    reader = checkpoint.task_reader(p["backbone_path"] or None)
    if reader is not None and reader.problem(task):
        problems.append(reader.problem(task))
    if problems:
        raise ConfigurationError("; ".join(problems))
    # Imported here: torch takes seconds, and the node answers meanwhile.
    from rtc_ros.policy.adapter import FlowAdapter

    options = {
        "backbone": p["backbone_path"] or None,
        "device": p["device"],
        "dtype": p["dtype"],
        "image_positions": p["image_positions"],
    }
    policy = FlowAdapter.load(
        path,
        **options,
        torch_threads=p["torch_threads"] or None,
        fast=p["fast"],
    )
    if left_out:
        policy.leave_out(left_out)
    if p["weak_policy_path"]:
        weak = FlowAdapter.load(checkpoint_path(p["weak_policy_path"]), **options, fast=False)
        if left_out:
            weak.leave_out(left_out)
        policy.contrast_with(weak)
    return policy, policy.warm_up(task), checkpoint.state_spread, reader


def left_out_images(p: Mapping[str, Any]) -> list[str]:
    """Return the image features that the parameters ``p`` leave out."""
    return [name for name in p["left_out_images"] if name]


def first_estimator(p: Mapping[str, Any], first_s: float) -> DelayEstimator:
    """Return Q with its first forecast: ``initial_delay``, or what ``first_s`` comes to."""
    initial = p["initial_delay"]
    if initial < 0:
        initial = math.ceil(first_s / p["control_period"]) + 1
    return DelayEstimator(p["delay_window"], initial)
