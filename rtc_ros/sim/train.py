"""`rtc_ros sim train`: train the small SmolVLA on recorded data sets, on one CPU thread or a GPU.

Every report is a line, a point of the loss curve (``training.png``, ``training.json``) and a place
from which ``--resume`` goes on. At every check the averaged weights are written as a checkpoint
and let loose on a few cubes, in closed loop.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from rtc_ros.command_line import COUNT, whole
from rtc_ros.paths import a_path
from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy import tiny
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_writer import BACKBONE, save_checkpoint
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.position_lookup import measured, show
from rtc_ros.sim.batches import Batches, Frames
from rtc_ros.sim.demonstrations import HORIZON
from rtc_ros.sim.loss_curve import draw
from rtc_ros.sim.trainer import CAMERA_FEATURE, Settings, Trainer, sentences

STATE_FILE = "training_state.pt"
CHECK_SEED = 8000
"""Of the cubes of the closed-loop checks; scores are taken on others."""
CHECK_SPEED_MPS = 0.06
CHECK_EXECUTE = 10
QUICK: dict[str, Any] = {"vision_steps": 3, "steps": 4, "batch": 8}


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


class Run:
    """A training run in a checkpoint folder.

    ``report_every`` and ``check_every`` are steps, ``check_episodes`` those of a check with still
    cubes, and as many with sliding ones; ``resume``: go on where the folder's state was saved.
    """

    def __init__(
        self,
        data: Frames,
        folder: Path,
        settings: Settings,
        *,
        report_every: int = 200,
        check_every: int = 2000,
        check_episodes: int = 10,
        resume: bool = False,
    ) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self._folder, self._data = folder, data
        self._report_every, self._check_every = report_every, check_every
        self._check_episodes = check_episodes
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        image = (data.images.shape[1], data.images.shape[2])
        spec = policy_spec(image)
        self._backbone = tiny.write_backbone(folder / BACKBONE, spec)
        policy = tiny.make_tiny_policy(self._backbone, spec, seed=settings.seed)
        if settings.start_from:
            start = read_checkpoint(settings.start_from)
            SMOLVLA.load_weights(policy, start.folder / "model.safetensors")
            if start.positions.needed is not None:
                show(policy, start.positions.needed)
        batches = Batches(data, settings.seed, self._device)
        self._processors = compat.make_processors(policy.config, batches.stats)
        language = sentences(self._processors[0], image, self._device)
        self.trainer = Trainer(policy.to(self._device), batches, language, settings)
        self.history: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self._minutes = 0.0
        if resume:
            state = self.trainer.load(folder / STATE_FILE)
            self.history, self.checks = state["history"], state["checks"]
            self._minutes = state["minutes"]
            if state.get("image_positions") is not None:
                show(policy, state["image_positions"])

    def go(self, until: int | None = None) -> Path:
        """Train to the end, or to step ``until``; return the folder, with a whole checkpoint."""
        trainer, total = self.trainer, self.trainer.total
        end = total if until is None else min(until, total)
        began = time.monotonic() - 60.0 * self._minutes
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(trainer.stage, total=trainer.total, completed=trainer.step)
            while trainer.step < end:
                stage = trainer.stage
                trainer.advance()
                progress.update(bar, completed=trainer.step, description=stage)
                self._minutes = (time.monotonic() - began) / 60.0
                last = trainer.step == trainer.total or trainer.stage != stage
                if trainer.step % self._report_every == 0 or last:
                    self._report(stage)
                if self._check_episodes and trainer.step % self._check_every == 0 and not last:
                    self._check()
                if trainer.step % self._report_every == 0 or trainer.step == end:
                    self._save()
        return self.write()

    def _report(self, stage: str) -> None:
        trainer = self.trainer
        point: dict[str, Any] = {"step": trainer.step, "stage": stage, "loss": trainer.loss,
                 "cube_mm": trainer.cube_error_mm(), "minutes": self._minutes}  # fmt: skip
        self.history.append(point)
        print("{stage} {step:6d}  loss {loss:.4f}  cube {cube_mm:.1f} mm  {minutes:.1f} min"
              .format(**point), flush=True)  # fmt: skip

    def _check(self) -> None:
        """Write the checkpoint and let it pass still and sliding cubes."""
        from rtc_ros.policy.adapter import FlowAdapter
        from rtc_ros.sim.rollout import score

        self.write()
        policy = FlowAdapter.load(self._folder, torch_threads=self.trainer.settings.threads)
        check: dict[str, Any] = {"step": self.trainer.step, "episodes": self._check_episodes}
        with torch.random.fork_rng():
            for name, speed in (("still", 0.0), ("sliding", CHECK_SPEED_MPS)):
                episodes = score(policy, self._check_episodes, seed=CHECK_SEED,
                                 execute=CHECK_EXECUTE, cube_speed=speed,
                                 until_done=True)  # fmt: skip
                check[name] = sum(episode.passed for episode in episodes)
        self.checks.append(check)
        print("check  {step:6d}  passed {still} still and {sliding} sliding cubes of {episodes}"
              .format(**check), flush=True)  # fmt: skip

    def _save(self) -> None:
        more = {"history": self.history, "checks": self.checks, "minutes": self._minutes,
                "image_positions": measured(self.trainer.policy)}  # fmt: skip
        self.trainer.save(self._folder / STATE_FILE, **more)
        draw(self.history, self.checks, self._folder / "training.png")

    def write(self) -> Path:
        """Write the averaged weights as a checkpoint, with the record of how they came about."""
        policy = SMOLVLA.build(self.trainer.policy.config)
        policy.load_state_dict(self.trainer.averaged())
        policy.config.device = "cpu"
        save_checkpoint(self._folder, policy, *self._processors, backbone=self._backbone,
                        image_positions=measured(self.trainer.policy),
                        trained_delay=self.trainer.settings.max_delay)  # fmt: skip
        settings = self.trainer.settings
        record = {
            "settings": asdict(settings) | {"start_from": Path(settings.start_from).name},
            "device": self._device,
            "episodes": self._data.episode_count,
            "frames": len(self._data.states),
            "history": self.history,
            "checks": self.checks,
        }
        text = json.dumps(record, indent=1) + "\n"
        (self._folder / "training.json").write_text(text, encoding="utf-8")
        return self._folder


def main(argv: Sequence[str] | None = None) -> int:
    """Train the small SmolVLA on recorded data sets; 2 where it can't begin."""
    parser = argparse.ArgumentParser(prog="rtc_ros sim train", description=main.__doc__)
    parser.add_argument("data", nargs="+", type=a_path, help="data sets of `sim record`")
    parser.add_argument("checkpoint", type=a_path, help="folder to write the policy to")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--episodes", type=COUNT, help="train on the first so many only")
    parser.add_argument("--check-every", type=COUNT, default=2000, help="steps")
    parser.add_argument("--check-episodes", type=whole(0), default=10, help="0: no such checks")
    parser.add_argument("--until", type=int, help="stop after this step of both stages together")
    parser.add_argument("--resume", action="store_true", help="go on where it was stopped")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
    args = parser.parse_args(argv)
    settings = Settings(**{name: getattr(args, name) for name in asdict(Settings())})
    if args.quick:
        settings = replace(settings, **QUICK)
    try:
        data = Frames.load(args.data)
        run = Run(
            data if args.episodes is None else data.first(args.episodes),
            args.checkpoint,
            settings,
            check_every=args.check_every,
            check_episodes=0 if args.quick else args.check_episodes,
            resume=args.resume,
        )
    except (ImportError, OSError, ValueError) as error:
        print(f"sim train: {error}", file=sys.stderr)
        return 2
    folder = run.go(args.until)
    print(f"checkpoint in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
