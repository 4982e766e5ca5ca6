"""One training run that can be stopped after any step and taken up again as if it had not been.

Two stages. First the vision part learns to tell where the cube is: a linear readout of its mean
image token is fitted to the cube's position. Then the whole policy learns the flow from noise to
the expert's plan (LeRobot's own loss), with that readout as an auxiliary loss. The readout is
thrown away; what it leaves is an image token that says where the cube is, which cube positions
alone, by the thousand, do not teach a network this small.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.flow_loss import draw_delays, flow_loss
from rtc_ros.policy.training_state import load_state, save_state
from rtc_ros.sim.batches import Batches
from rtc_ros.sim.cube_readout import CubeReadout
from rtc_ros.sim.tasks import TASKS

CAMERA_FEATURE = f"{compat.IMAGES}top"
_AUXILIARY_WEIGHT = 0.3
_EMA = 0.998
_FITTED = 1024
"""Frames to which the readout of weights that are trained on is fitted."""


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults made the checkpoint that ships with the package.

    A step is one batch of frames, each of them used with ``flows`` noises: two cost half as much
    again as one. ``learning_rate`` falls to 2 % along a cosine. ``start_from`` is a checkpoint of
    the same sizes whose weights are trained on; empty: new weights. ``max_delay``: d up to which
    the policy learns to go on from given rows (``rtc_trained``); 0: it doesn't.
    """

    vision_steps: int = 800
    steps: int = 8000
    batch: int = 64
    flows: int = 1
    learning_rate: float = 1e-3
    seed: int = 0
    threads: int = 1
    start_from: str = ""
    max_delay: int = 0


class Trainer:
    """Policy, readout, optimiser and random states; ``step`` counts both stages together.

    ``language`` are the tokens and their mask [len(TASKS), L] of each sentence.
    """

    def __init__(
        self, policy: Any, batches: Batches, language: Mapping[str, Tensor], settings: Settings
    ) -> None:
        self.policy, self.settings = policy, settings
        self.step = 0
        self.loss = math.nan  # of the stage's recent steps
        self._batches, self._language = batches, language
        device = next(policy.parameters()).device
        self._readout = CubeReadout(policy).to(device)
        if settings.start_from:
            # A new one would first of all pull at tokens that the policy already reads.
            known = batches.draw(_FITTED)
            self._readout.fit(known["image"], known["cube"])
        self._average = copy.deepcopy(policy.state_dict())
        self._begin_stage()

    @property
    def total(self) -> int:
        """Steps of both stages."""
        return self.settings.vision_steps + self.settings.steps

    @property
    def stage(self) -> str:
        """Return "vision" or "policy"."""
        return "vision" if self.step < self.settings.vision_steps else "policy"

    def _begin_stage(self) -> None:
        if self.stage == "vision":
            self._parameters = self._readout.vision_parameters()
        else:
            every = [*self.policy.parameters(), *self._readout.linear.parameters()]
            self._parameters = [p for p in every if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=self.settings.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=1e-4,
        )

    def advance(self) -> None:
        """Train on one batch."""
        stage, settings = self.stage, self.settings
        done = self.step - (settings.vision_steps if stage == "policy" else 0)
        for group in self._optimizer.param_groups:
            steps = settings.vision_steps if stage == "vision" else settings.steps
            group["lr"] = settings.learning_rate * _rate(done, steps)
        batch = self._batches.draw(settings.batch)
        if stage == "vision":
            loss = recent = nn.functional.mse_loss(
                self._readout.of_images(batch["image"]), batch["cube"]
            )
        else:
            recent = self._flow_loss(batch)
            cube = nn.functional.mse_loss(self._readout.of_last(), batch["cube"])
            loss = recent + _AUXILIARY_WEIGHT * cube
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.loss = recent.item() if done == 0 else 0.98 * self.loss + 0.02 * recent.item()
        if stage == "policy":
            keep = min(_EMA, (1.0 + done) / (10.0 + done))
            for name, value in self.policy.state_dict().items():
                if value.is_floating_point():
                    self._average[name].lerp_(value, 1.0 - keep)
        self.step += 1
        if self.stage != stage:
            self._begin_stage()
            for name, value in self.policy.state_dict().items():
                self._average[name].copy_(value)

    def _flow_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the flow's loss, with ``flows`` noises, times and delays for each frame.

        The prefix (image, task, state) is computed once for all of them: it is more than half of
        the work, and the noise is what the gradient's variance comes from.
        """
        flows, policy = self.settings.flows, self.policy
        inputs = {name: value[batch["task"]] for name, value in self._language.items()}
        inputs[compat.STATE], inputs[CAMERA_FEATURE] = batch["state"], batch["image"]
        actions = batch["actions"].repeat_interleave(flows, dim=0)
        noise = torch.randn_like(actions)
        return flow_loss(
            SMOLVLA,
            policy,
            SMOLVLA.encode_prefix(policy, inputs).repeat(flows),
            actions,
            dims=actions.shape[-1],
            noise=noise,
            time=policy.model.sample_time(len(actions), actions.device),
            delays=draw_delays(len(actions), self.settings.max_delay, actions.device),
        )

    def cube_error_mm(self) -> float:
        """Return how far off the readout is (RMS in x and y) in episodes not trained on."""
        sample = self._batches.take(self._batches.held_out)
        with torch.no_grad():
            error = (self._readout.of_images(sample["image"]) - sample["cube"]).cpu().numpy()
        return float(1e3 * np.sqrt(((error * self._batches.cube_std_m)[:, :2] ** 2).mean()))

    def averaged(self) -> dict[str, Tensor]:
        """Return the weights to ship: their average over the last steps."""
        return self._average

    def save(self, path: Path, **more: Any) -> None:
        """Write all that the next step depends on, and ``more``, in one piece."""
        save_state(
            path,
            asdict(self.settings),
            step=self.step,
            loss=self.loss,
            policy=self.policy.state_dict(),
            readout=self._readout.state_dict(),
            average=self._average,
            optimizer=self._optimizer.state_dict(),
            batches=self._batches.state(),
            **more,
        )

    def load(self, path: Path) -> dict[str, Any]:
        """Take up a saved run; return all that was saved.

        Raises ValueError where it was made with other settings.
        """
        state = load_state(path, asdict(self.settings), free=("threads",))
        self.step, self.loss = state["step"], state["loss"]
        self.policy.load_state_dict(state["policy"])
        self._readout.load_state_dict(state["readout"])
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self._begin_stage()
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.restore(state["batches"])
        return state


def _rate(step: int, steps: int) -> float:
    """Return the learning rate's factor: warm-up, then a cosine down to 2 %."""
    warm = max(1, min(100, steps // 10))
    cosine = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / warm) * cosine


def sentences(preprocessor: Any, image: tuple[int, int], device: str) -> dict[str, Tensor]:
    """Return the tokens and mask [len(TASKS), L] of all sentences, from the checkpoint's step."""
    rows = [
        preprocessor({
            compat.STATE: torch.zeros(14),
            CAMERA_FEATURE: torch.zeros(3, *image),
            "task": task,
        })
        for task in TASKS
    ]  # fmt: skip
    found = {}
    for name in (compat.TOKENS, compat.TOKEN_MASK):
        # Shorter sentences are filled up with tokens that the mask hides.
        found[name] = nn.utils.rnn.pad_sequence([r[name][0] for r in rows], batch_first=True)
    found[compat.TOKEN_MASK] = found[compat.TOKEN_MASK].bool()
    return {name: value.to(device) for name, value in found.items()}
