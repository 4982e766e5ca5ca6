"""`rtc_ros finetune`: teach a SmolVLA to go on from the first d rows (``strategy: rtc_trained``).

A checkpoint of LeRobot's and the data set that it was trained on (a LeRobotDataset, or one like
it) make a checkpoint of the same kind, which runs as the old one did and with given rows too. On a
GPU it computes in bfloat16. Ctrl-C loses what came after the last save: --resume goes on there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from rtc_ros.command_line import tool
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.checkpoint_files import checkpoint_path


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune; 0, or 2 where it can't begin or go on."""
    args = _parser().parse_args(argv)
    from rtc_ros.policy.finetune import Finetune, FinetuneSettings

    settings = FinetuneSettings(
        **{name: getattr(args, name) for name in FinetuneSettings.__dataclass_fields__}
    )
    out: Path = args.out or Path(f"{Path(args.checkpoint.split(':')[-1]).name}-d{args.max_delay}")
    history: list[dict[str, float]] = []
    minutes = 0.0
    try:
        source = checkpoint_path(args.checkpoint)
        if out.resolve() == source.resolve():
            raise ValueError(f"--out {out} is the checkpoint itself; name another folder")
        if (out / "config.json").is_file() and not args.resume:
            raise ValueError(f"{out} holds a checkpoint already: --resume goes on with it")
        run = Finetune(
            source,
            args.dataset,
            settings,
            backbone=args.backbone,
            device=args.device,
            workers=args.workers,
        )
        if args.resume:
            state = run.resume(out)
            history, minutes = list(state["history"]), float(state["minutes"])
        return _train(run, out, args, history, minutes)
    except (ImportError, OSError, ValueError) as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 2


def _train(
    run: Any, out: Path, args: argparse.Namespace, history: list[dict[str, float]], minutes: float
) -> int:
    began = time.monotonic() - 60.0 * minutes
    end = run.settings.steps if args.until is None else min(args.until, run.settings.steps)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=run.settings.steps, completed=run.step)

        def report() -> None:
            progress.update(bar, completed=run.step)
            now = (time.monotonic() - began) / 60.0
            if run.step % args.report_every == 0 or run.step == end:
                history.append({"step": run.step, "loss": run.loss, "minutes": now,
                                "learning_rate": run.learning_rate})  # fmt: skip
                print(f"{run.step:6d}  loss {run.loss:.4f}  {now:.1f} min", flush=True)
            if run.step % args.save_every == 0 or run.step == end:
                run.save(out, history=history, minutes=now)
                _record(run, out, history)

        run.go(end, report)
    print(f"checkpoint in {out}, trained for d up to {run.settings.max_delay}: policy_path:={out} "
          "strategy:=rtc_trained")  # fmt: skip
    return 0


def _record(run: Any, out: Path, history: list[dict[str, float]]) -> None:
    """Write the record of the training, and its loss curve."""
    from rtc_ros.sim.loss_curve import draw

    record = {
        "settings": asdict(run.settings),
        "device": run.device,
        "frames": run.frames,
        "history": history,
    }
    text = json.dumps(record, indent=1) + "\n"
    (out / "finetune.json").write_text(text, encoding="utf-8")
    draw(history, [], out / "finetune.png")


def _parser() -> argparse.ArgumentParser:
    parser = tool("finetune", __doc__)
    add = parser.add_argument
    add("checkpoint", type=path_text, help="folder of a SmolVLA, or package:NAME")
    add("dataset", type=a_path, help="folder of a LeRobotDataset")
    add("--max-delay", type=int, required=True, metavar="D", help="largest d to learn [steps]")
    add("--out", type=a_path, help="folder to write (the checkpoint's name and D)")
    add("--steps", type=int, default=3000, help="%(default)s")
    add("--batch", type=int, default=32, help="frames of a step (%(default)s)")
    add("--train", choices=("expert", "all"), default="expert",
        help="all but the VLM (LeRobot's default), or all")  # fmt: skip
    add("--learning-rate", type=float, default=0.0, help="peak; 0: the checkpoint's own")
    add("--augment", action="store_true", help="change images at random, as LeRobot does")
    add("--seed", type=int, default=0)
    add("--backbone", type=a_path, help="folder of the VLM's configuration and tokenizer")
    add("--device", default="auto", help="%(default)s: CUDA where there is one")
    add("--workers", type=int, default=0, help="processes that read frames (%(default)s)")
    add("--report-every", type=int, default=20, help="steps (%(default)s)")
    add("--save-every", type=int, default=500, help="steps (%(default)s)")
    add("--until", type=int, help="stop after this step")
    add("--resume", action="store_true", help="go on where --out was saved")
    return parser


if __name__ == "__main__":
    sys.exit(main())
