"""Train the small SmolVLA that ships with the package, on one CPU thread.

Two stages. First the vision part learns to tell where the cube is: a linear readout of its mean
image token is fitted to the cube's position. Then the whole policy learns the flow from noise to
the expert's next H targets (LeRobot's own loss), with that readout as an auxiliary loss. The
readout is thrown away; what it leaves is an image token that says where the cube is, which 1200
cube positions alone do not teach a network this small.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy import tiny
from rtc_ros.policy.checkpoint_writer import BACKBONE, save_checkpoint
from rtc_ros.sim.batches import HORIZON, Batches
from rtc_ros.sim.demonstrations import TASK, Demonstrations

CAMERA_FEATURE = f"{compat.IMAGES}top"
_AUXILIARY_WEIGHT = 0.3
_EMA = 0.998


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults made the checkpoint that ships with the package.

    A step is one batch of frames, each of them used with ``flows`` noises: two cost half as much
    again as one.
    ``learning_rate`` falls to 2 % along a cosine. ``start_from`` is a checkpoint of the same sizes
    whose weights are trained on; empty: new weights.
    """

    vision_steps: int = 800
    steps: int = 2500
    batch: int = 64
    flows: int = 1
    learning_rate: float = 1e-3
    seed: int = 0
    threads: int = 1
    start_from: str = ""


def policy_spec(image: tuple[int, int]) -> tiny.TinySpec:
    """Return the sizes of the policy for one camera with pictures of ``image`` (height, width)."""
    return tiny.TinySpec(
        chunk_size=HORIZON,
        image_features={CAMERA_FEATURE: image},
        image_size=max(image),
        patch=12,
        vision_layers=2,
        max_action_dim=14,
        max_state_dim=14,
    )


class CubeReadout(nn.Module):
    """A linear readout of the cube's position from the mean image token of a policy."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self._vlm = policy.model.vlm_with_expert
        self._tokens: Tensor | None = None
        self.linear = nn.Linear(self._vlm.config.text_config.hidden_size, 3)
        self._vlm.get_vlm_model().connector.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._tokens = output

    def of_last(self) -> Tensor:
        """Return the cube position [B, 3] read from the tokens of the last forward pass."""
        assert self._tokens is not None, "no forward pass yet"
        return self.linear(self._tokens.mean(dim=1))

    def of_images(self, images: Tensor) -> Tensor:
        """Return the cube position [B, 3] read from ``images`` [B, 3, h, w] in 0..1."""
        self._vlm.embed_image(2.0 * images - 1.0)  # as SmolVLA does
        return self.of_last()

    def vision_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of vision, connector and readout."""
        vlm = self._vlm.get_vlm_model()
        modules = (vlm.vision_model, vlm.connector, self.linear)
        return [p for m in modules for p in m.parameters()]


def train(data: Demonstrations, folder: Path, settings: Settings) -> Path:
    """Train a policy and write its checkpoint folder; return the folder."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    began = time.monotonic()
    batches = Batches(data, settings.seed)
    spec = policy_spec(data.images.shape[1:3])
    backbone = tiny.write_backbone(folder / BACKBONE, spec)
    policy = tiny.make_tiny_policy(backbone, spec, seed=settings.seed)
    if settings.start_from:
        compat.load_weights(policy, Path(settings.start_from) / "model.safetensors")
    pre, post = compat.make_processors(policy.config, batches.stats)
    language = _language(pre, data)
    readout = CubeReadout(policy)
    history: list[dict[str, float]] = []

    def report(stage: str, step: int, loss: float) -> None:
        with torch.no_grad():
            sample = batches.take(batches.held_out)
            error = (readout.of_images(sample["image"]) - sample["cube"]).numpy()
        rms = float(1e3 * np.sqrt(((error * batches.cube_std_m)[:, :2] ** 2).mean()))
        minutes = (time.monotonic() - began) / 60.0
        history.append({"step": step, "loss": loss, "cube_mm": rms, "minutes": minutes})
        line = f"{stage} {step:5d}  loss {loss:.4f}  cube {rms:.1f} mm  {minutes:.1f} min"
        print(line, flush=True)

    vision = readout.vision_parameters()
    for step, optimizer in _schedule(vision, settings.vision_steps, settings.learning_rate):
        batch = batches.draw(settings.batch)
        loss = nn.functional.mse_loss(readout.of_images(batch["image"]), batch["cube"])
        _descend(loss, vision, optimizer)
        if step % 100 == 0:
            report("vision", step, loss.item())

    parameters = [*policy.parameters(), *readout.linear.parameters()]
    parameters = [p for p in parameters if p.requires_grad]
    average = copy.deepcopy(policy.state_dict())
    recent = 0.0
    for step, optimizer in _schedule(parameters, settings.steps, settings.learning_rate):
        batch = batches.draw(settings.batch)
        flow = _flow_loss(policy, batch, language, settings.flows)
        cube = nn.functional.mse_loss(readout.of_last(), batch["cube"])
        _descend(flow + _AUXILIARY_WEIGHT * cube, parameters, optimizer)
        keep = min(_EMA, (1.0 + step) / (10.0 + step))
        for name, value in policy.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1.0 - keep)
        recent = flow.item() if step == 0 else 0.98 * recent + 0.02 * flow.item()
        if step % 200 == 0:
            report("policy", step, recent)
    report("policy", settings.steps, recent)
    policy.load_state_dict(average)
    save_checkpoint(folder, policy, pre, post, backbone=backbone)
    record = {
        "settings": asdict(settings),
        "episodes": int(data.actions.shape[0]),
        "frames": len(data.steps),
        "history": history[-1:],
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    return folder


def _flow_loss(
    policy: Any, batch: dict[str, Tensor], language: dict[str, Tensor], flows: int
) -> Tensor:
    """Return LeRobot's flow-matching loss, with ``flows`` noises and times for each frame.

    The prefix (image, task, state) is computed once for all of them: it is more than half of the
    work, and the noise is what the gradient's variance comes from.
    """
    count = len(batch["state"])
    inputs = {name: value.expand(count, -1) for name, value in language.items()}
    inputs[compat.STATE], inputs[CAMERA_FEATURE] = batch["state"], batch["image"]
    prefix = compat.repeat_prefix(compat.encode_prefix(policy, inputs), flows)
    actions = batch["actions"].repeat_interleave(flows, dim=0)
    noise = torch.randn_like(actions)
    time = policy.model.sample_time(len(actions), actions.device)
    at = time[:, None, None]
    velocity = compat.denoise(policy, prefix, at * noise + (1.0 - at) * actions, time)
    return nn.functional.mse_loss(velocity, noise - actions)


def _language(preprocessor: Any, data: Demonstrations) -> dict[str, Tensor]:
    """Return the task sentence's tokens [1, L] and mask, from the checkpoint's own step."""
    height, width = data.images.shape[1:3]
    batch = preprocessor({
        compat.STATE: torch.zeros(data.states.shape[1]),
        CAMERA_FEATURE: torch.zeros(3, height, width),
        "task": TASK,
    })  # fmt: skip
    return {
        compat.TOKENS: batch[compat.TOKENS],
        compat.TOKEN_MASK: batch[compat.TOKEN_MASK].bool(),
    }


def _schedule(
    parameters: list[nn.Parameter], steps: int, peak: float
) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """Yield each step with its optimiser at that step's learning rate (warm-up, then cosine)."""
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.95), weight_decay=1e-4)
    warm = max(1, min(100, steps // 10))
    for step in range(steps):
        fraction = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / warm) * fraction
        yield step, optimizer


def _descend(
    loss: Tensor, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def main(argv: Sequence[str] | None = None) -> int:
    """Train the small SmolVLA from recorded demonstrations."""
    parser = argparse.ArgumentParser(prog="rtc_ros sim train", description=main.__doc__)
    parser.add_argument("demonstrations", type=Path, help="folder of npz files")
    parser.add_argument("checkpoint", type=Path, help="folder to write the policy to")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = vars(parser.parse_args(argv))
    data = Demonstrations.load(args.pop("demonstrations"))
    folder = train(data, args.pop("checkpoint"), Settings(**args))
    print(f"checkpoint in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
