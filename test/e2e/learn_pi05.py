"""A π0.5 that learns the simulated robot's task a little, in seconds on one core."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from tiny_pi import _byte_tokenizer, processors, small, tiny_config

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import FAMILIES
from rtc_ros.sim.cameras import Cameras
from rtc_ros.sim.demonstrations import ACTION, HORIZON, IMAGE, PLAN, POLICY_IMAGE, STATE, Recorder
from rtc_ros.sim.robot import AlohaCube

STEPS, BATCH, RATE = 200, 8, 3e-3


def demonstrated(trials: int, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return frames of the expert, [N, …] by name, and the sentence of each."""
    robot = AlohaCube(seed=seed)
    parts, tasks = [], []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        recorder = Recorder(seed, cameras, robot)
        for _ in range(trials):
            for frames, task in recorder.trial():
                parts.append(frames)
                tasks += [task] * len(frames[STATE])
    return {n: np.concatenate([p[n] for p in parts]) for n in (IMAGE, STATE, ACTION, PLAN)}, tasks


def statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return a data set's statistics as LeRobot has them; a joint at rest has ±0.05."""
    centre = values.mean(0)
    quantiles = {f"q{q:02d}": np.quantile(values, q / 100, axis=0) for q in (1, 10, 90, 99)}
    found = {"min": values.min(0), "max": values.max(0), **quantiles}
    for low, high in (("min", "max"), ("q01", "q99"), ("q10", "q90")):
        found[low] = np.minimum(found[low], centre - 0.05)
        found[high] = np.maximum(found[high], centre + 0.05)
    return {"mean": centre, "std": np.maximum(values.std(0), 0.05), **found}


def learn(
    folder: Path, frames: dict[str, np.ndarray], tasks: list[str]
) -> tuple[Path, tuple[float, float]]:
    """Write a checkpoint trained by LeRobot's own loss; return it, and that loss's first and last
    twenty steps' means.
    """  # noqa: D205
    config = tiny_config(
        "pi05",
        cameras={IMAGE: POLICY_IMAGE},
        chunk_size=HORIZON,
        action_dim=14,
        state_dim=14,
        max_action_dim=14,
        max_state_dim=14,
        # Attention is what a step costs. LeRobot 0.4 names 32 joints in the prompt.
        tokenizer_max_length=200 if metadata.version("lerobot").startswith("0.4.") else 128,
    )
    pre, post = processors(
        config, {STATE: statistics(frames[STATE]), ACTION: statistics(frames[ACTION])}
    )
    with small("pi05"):
        policy = FAMILIES["pi05"].build(config, seed=0)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    policy.train()
    losses = []
    for _ in range(STEPS):
        at = random.integers(len(tasks), size=BATCH)
        batch = pre(
            {
                IMAGE: torch.tensor(frames[IMAGE][at]).permute(0, 3, 1, 2).float() / 255,
                STATE: torch.tensor(frames[STATE][at]),
                ACTION: torch.tensor(frames[PLAN][at]),
                "task": [tasks[i] for i in at],
            }
        )
        loss, _ = policy.forward(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    _byte_tokenizer().save_pretrained(folder / compat.BACKBONE)
    means = float(np.mean(losses[:20])), float(np.mean(losses[-20:]))
    return compat.save_checkpoint(folder, policy, pre, post), means
