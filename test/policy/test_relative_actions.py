"""Relative actions: A_prev, in absolute joint units, is re-anchored to the state seen now."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import guide, observe, rtc_config
from test_pi import Reference, edit, still
from tiny_pi import KINDS, load_pi, write_pi

from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.protocol import Guidance

there = find_spec("lerobot.processor.relative_action_processor") is not None
pytestmark = pytest.mark.skipif(
    not there, reason="this LeRobot has no relative actions (they came with 0.5.1)"
)

JOINTS = ["waist", "shoulder", "elbow", "wrist", "roll", "gripper"]
RELATIVE = {
    "use_relative_actions": True,
    "relative_exclude_joints": ["gripper"],
    "action_feature_names": JOINTS,
    "max_action_dim": 6,
}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_pi(tmp_path / "tiny", request.param, **RELATIVE)


def test_the_chunk_is_absolute_and_lerobot_s(folder):
    adapter = load_pi(folder)
    observation = observe(adapter.spec)
    expected = Reference(folder).chunk(observation, adapter.noise(7))
    got = adapter.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # The same state moved by 1 moves the joints by 1 and not the gripper, but for what the
    # policy makes of seeing another state: nothing, where it doesn't see it move.
    still_adapter, _ = still(folder)
    moved = type(observation)(observation.state + 1.0, observation.images, observation.task)
    first, second = (still_adapter.infer(o, None, seed=7).actions for o in (observation, moved))
    np.testing.assert_allclose(second - first, np.tile([1.0] * 5 + [0.0], (16, 1)), atol=1e-5)


def test_prev_is_re_anchored_as_lerobot_does_it(folder):
    from lerobot.policies.rtc.relative import reanchor_relative_rtc_prefix

    adapter, reference = load_pi(folder), Reference(folder)
    observation, prev = observe(adapter.spec), guide(adapter.spec).prev
    steps = {type(step).__name__: step for step in reference.pre.steps}
    state = torch.tensor(observation.state, dtype=torch.float32)
    expected = reanchor_relative_rtc_prefix(
        torch.tensor(prev, dtype=torch.float32)[None],
        state,
        steps["RelativeActionsProcessorStep"],
        steps["NormalizerProcessorStep"],
        "cpu",
    )
    got = reference.batch(observation, prev)["action"]
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    batch = adapter._pre(
        {
            "observation.state": state,
            "task": observation.task,
            "action": torch.tensor(prev, dtype=torch.float32)[None],
            **{n: torch.tensor(i).permute(2, 0, 1) / 255 for n, i in observation.images.items()},
        }
    )
    torch.testing.assert_close(batch["action"], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_guidance_is_to_the_same_place_wherever_the_arm_is_now(folder, offset):
    """One step of weight 1 in a still field ends on prev, absolute, whatever the state is."""
    adapter, _ = still(folder)
    observation = observe(adapter.spec)
    seen = type(observation)(observation.state + offset, observation.images, observation.task)
    prev = np.random.default_rng(3).normal(size=(16, 6))
    got = adapter.infer(seen, Guidance(prev, np.ones(16), beta=1.0), num_steps=1).actions
    np.testing.assert_allclose(got, prev, atol=1e-5)


def test_identity_is_lerobot_s_rtc_with_its_re_anchored_prefix(folder):
    from rtc_ros.core.prefix import prefix_weights

    adapter, end = load_pi(folder), 11
    observation = observe(adapter.spec)
    prev = np.random.default_rng(3).normal(size=(end, 6))
    reference = Reference(folder, rtc_config(beta=5.0, end=end))
    expected = reference.chunk(
        observation,
        adapter.noise(7),
        inference_delay=3,
        prev_chunk_left_over=reference.batch(observation, prev)["action"],
        execution_horizon=end,
    )
    guidance = Guidance(prev, prefix_weights(16, 3, 5, "exp"), beta=5.0, jacobian="identity")
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("side", ["pre", "post"])
def test_relative_in_and_not_out_is_refused(folder, side):
    name = {"pre": "relative_actions_processor", "post": "absolute_actions_processor"}[side]

    def switch_off(pipeline: dict) -> None:
        next(s for s in pipeline["steps"] if s["registry_name"] == name)["config"].update(
            enabled=False
        )

    edit(folder / f"policy_{side}processor.json", switch_off)
    with pytest.raises(CheckpointError, match="relative to the state .*can't be fed back"):
        load_pi(folder)


def test_actions_that_are_normalised_before_they_are_relative_are_refused(folder):
    def swap(pipeline: dict) -> None:
        names = [s["registry_name"] for s in pipeline["steps"]]
        i, j = names.index("relative_actions_processor"), names.index("normalizer_processor")
        steps = pipeline["steps"]
        steps[i], steps[j] = steps[j], steps[i]

    edit(folder / "policy_preprocessor.json", swap)
    with pytest.raises(CheckpointError, match="normalises actions before it makes them relative"):
        load_pi(folder)


def test_a_checkpoint_without_them_says_so_in_its_files(tmp_path):
    folder = write_pi(tmp_path / "tiny", "pi05")
    config = json.loads((folder / "config.json").read_text())
    assert config["use_relative_actions"] is False
    assert load_pi(folder).spec.action_dim == 6
