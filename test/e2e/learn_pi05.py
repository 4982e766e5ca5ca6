"""A π0.5 that learns the simulated robot's task a little, in seconds on one core.

It begins as if it had been pretrained a little: each number of the prompt is one token, and those
of neighbouring numbers are alike. With a token for each letter it learned nothing of the state.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_pi import processors, small, tiny_config
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import FAMILIES
from rtc_ros.sim.cameras import Cameras
from rtc_ros.sim.demonstrations import ACTION, HORIZON, IMAGE, PLAN, POLICY_IMAGE, STATE, Recorder
from rtc_ros.sim.robot import AlohaCube

STEPS, BATCH, RATE = 400, 8, 3e-3
BINS = 256


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


def words(tasks: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of which each word of the sentences, and each bin of a state, is one token."""
    known = sorted({word for task in tasks for word in task.split()})
    known = ["<pad>", "<unk>", "Task:", "State:", "Action:", ",", ";", *known]
    known += [str(number) for number in range(BINS)]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("[,;]"), "isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="<pad>"
    )


def know_numbers(policy: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let the words of neighbouring numbers be alike."""
    own = policy.model.paligemma_with_expert.paligemma.get_input_embeddings().weight
    at = torch.arange(BINS) / (BINS / 2) - 1.0
    smooth = torch.stack([at, at**2 - 1 / 3, (np.pi * at).sin(), (np.pi * at).cos()], dim=1)
    mixed = smooth @ torch.randn(4, own.shape[1], generator=torch.Generator().manual_seed(0))
    rows = tokenizer.convert_tokens_to_ids([str(number) for number in range(BINS)])
    with torch.no_grad():
        own[rows] = 1.4 * own.std() * mixed


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
        tokenizer_max_length=64 if metadata.version("lerobot").startswith("0.4.") else 40,
    )
    tokenizer = words(tasks)
    stats = {STATE: statistics(frames[STATE]), ACTION: statistics(frames[ACTION])}
    pre, post = processors(config, stats, tokenizer)
    with small("pi05"):
        policy = FAMILIES["pi05"].build(config, seed=0)
    know_numbers(policy, tokenizer)
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
    tokenizer.save_pretrained(folder / compat.BACKBONE)
    means = float(np.mean(losses[:20])), float(np.mean(losses[-20:]))
    return compat.save_checkpoint(folder, policy, pre, post), means
