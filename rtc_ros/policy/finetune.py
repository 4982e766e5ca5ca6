"""One fine-tuning of a checkpoint for given rows, that can be stopped and taken up again.

LeRobot's own parts: its processors (the checkpoint's, whose normalisation the weights know), data
set, optimiser and schedule. The loss is ``flow_loss``. Frames, noise, times and delays of a step
follow from the seed and the number of the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.checkpoint_writer import save_finetuned
from rtc_ros.policy.flow_input import renamed_features
from rtc_ros.policy.flow_loss import draw_delays, flow_loss
from rtc_ros.policy.loading import load_parts
from rtc_ros.policy.training_state import load_state, save_state

EXPERT, ALL = "expert", "all"
STATE_FILE = "finetune_state.pt"


@dataclass(frozen=True)
class FinetuneSettings:
    """How to train. ``max_delay``: the largest d that the policy learns to go on from.

    ``train`` is "expert" (all but the VLM, LeRobot's default) or "all"; ``learning_rate`` is the
    schedule's peak, 0 for the checkpoint's own ``optimizer_lr``; ``augment``: images go through
    LeRobot's random changes.
    """

    max_delay: int
    steps: int = 3000
    batch: int = 32
    train: str = EXPERT
    learning_rate: float = 0.0
    augment: bool = False
    seed: int = 0


class Finetune:
    """Policy, data, optimiser and schedule; ``step`` counts what is done."""

    def __init__(
        self,
        checkpoint: Path,
        dataset: Path,
        settings: FinetuneSettings,
        *,
        backbone: Path | None = None,
        device: str = "auto",
        workers: int = 0,
    ) -> None:
        """Load both and check that they go together.

        Raises:
            CheckpointError, ValueError, OSError: they don't; the message says why.
            ImportError: LeRobot came without data sets.
        """
        from rtc_ros.policy.lerobot_data import open_frames

        self.settings, self._source, self._workers = settings, checkpoint, workers
        described = read_checkpoint(checkpoint)
        self._family, spec = described.family, described.spec
        self._dims, rows = spec.action_dim, spec.horizon
        if not self._family.row_times:
            raise CheckpointError(
                f"{checkpoint} is a {self._family.label}: only a SmolVLA learns to go on from "
                "given rows here"
            )
        if not 1 <= settings.max_delay < rows:
            raise ValueError(
                f"max_delay is {settings.max_delay}; it must be from 1 to {rows - 1}, below the "
                f"{rows} rows of a chunk"
            )
        if settings.steps < 1 or settings.batch < 1:
            raise ValueError(
                f"steps is {settings.steps} and batch {settings.batch}; both must be 1 or more"
            )
        parts = load_parts(checkpoint, backbone=backbone, device=device)
        self.policy, self._pre, self.device = parts.policy, parts.preprocessor, parts.device
        names = renamed_features(self._pre)
        wanted = (names.get(compat.STATE, compat.STATE), *spec.image_features)
        self._data = open_frames(dataset, compat.ACTION, rows, wanted, augment=settings.augment)
        for name, size in ((compat.ACTION, spec.action_dim), (wanted[0], spec.state_dim)):
            shape = tuple(self._data.features[name]["shape"])
            if shape != (size,):
                raise ValueError(
                    f"{dataset}: {name} has shape {list(shape)}, the policy's has [{size}]"
                )
        self._parameters = self._choose_parameters()
        config = self.policy.config
        if settings.learning_rate:
            config.optimizer_lr = settings.learning_rate
        preset = config.get_optimizer_preset()
        self._clip = preset.grad_clip_norm
        self._optimizer = preset.build(self._parameters)
        self._schedule = config.get_scheduler_preset().build(self._optimizer, settings.steps)
        self.step, self.loss = 0, math.nan
        self._batches: Iterator[Any] | None = None

    def _choose_parameters(self) -> list[nn.Parameter]:
        self.policy.train()
        self.policy.requires_grad_(True)
        if self.settings.train == EXPERT:
            vlm = self.policy.model.vlm_with_expert.vlm
            vlm.requires_grad_(False)
            vlm.eval()
        return [p for p in self.policy.parameters() if p.requires_grad]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._data)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def _indices(self) -> Iterator[list[int]]:
        """Yield the frames of each step to come: each epoch takes all, in an order of its own."""
        epoch, order = -1, torch.zeros(0)
        for step in range(self.step, self.settings.steps):
            chosen = []
            for at in range(step * self.settings.batch, (step + 1) * self.settings.batch):
                if at // self.frames != epoch:
                    epoch = at // self.frames
                    source = torch.Generator().manual_seed(1_000_003 * self.settings.seed + epoch)
                    order = torch.randperm(self.frames, generator=source)
                chosen.append(int(order[at % self.frames]))
            yield chosen

    def _draw(self) -> dict[str, Any]:
        if self._batches is None:
            loader = torch.utils.data.DataLoader(
                self._data, batch_sampler=list(self._indices()), num_workers=self._workers
            )
            self._batches = iter(loader)
        return dict(self._pre(next(self._batches)))

    def advance(self) -> None:
        """Train on one batch."""
        batch = self._draw()
        torch.manual_seed(1_000_003 * (self.settings.seed + 1) + self.step)
        cuda = torch.device(self.device).type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            loss = self.loss_of(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
        self._schedule.step()
        now = loss.item()
        if not math.isfinite(now):
            raise ValueError(
                f"the loss of step {self.step} is {now}: a lower --learning-rate may help; what "
                "was saved before is untouched"
            )
        self.loss = now if self.step == 0 else 0.95 * self.loss + 0.05 * now
        self.step += 1

    def loss_of(self, batch: dict[str, Any]) -> Tensor:
        """Return the loss of a preprocessed batch, with noise, times and delays drawn now."""
        policy, config = self.policy, self.policy.config
        wanted = self._family.to_model_actions(policy, batch[compat.ACTION].float())
        actions = nn.functional.pad(wanted, (0, config.max_action_dim - wanted.shape[-1]))
        count, device = len(actions), actions.device
        return flow_loss(
            self._family,
            policy,
            self._family.encode_prefix(policy, batch),
            actions,
            dims=self._dims,
            noise=torch.randn(actions.shape).to(device),
            time=policy.model.sample_time(count, device),
            delays=draw_delays(count, self.settings.max_delay, device),
            padded=batch.get(f"{compat.ACTION}_is_pad"),
        )

    def save(self, folder: Path, **more: Any) -> Path:
        """Write the checkpoint, and what the next step depends on; return the folder."""
        save_finetuned(folder, self._source, self.policy, self.settings.max_delay)
        trained = {n: p.detach() for n, p in self.policy.named_parameters() if p.requires_grad}
        save_state(
            folder / STATE_FILE,
            asdict(self.settings),
            step=self.step,
            loss=self.loss,
            weights=trained,
            optimizer=self._optimizer.state_dict(),
            schedule=self._schedule.state_dict(),
            **more,
        )
        return folder

    def resume(self, folder: Path) -> dict[str, Any]:
        """Go on where ``save`` was called; return all that was saved.

        Raises:
            ValueError: nothing was, or with other settings.
        """
        state = load_state(folder / STATE_FILE, asdict(self.settings))
        own = dict(self.policy.named_parameters())
        with torch.no_grad():
            for name, value in state["weights"].items():
                own[name].copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step, self.loss, self._batches = state["step"], state["loss"], None
        return state

    def go(self, end: int, report: Callable[[], None]) -> None:
        """Train up to step ``end``; ``report`` is called after each step."""
        while self.step < min(end, self.settings.steps):
            self.advance()
            report()
