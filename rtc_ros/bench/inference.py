"""`rtc_ros bench inference`: a chunk by the fast path against LeRobot's own code.

All contenders run on the same weights, observation, noise and previous chunk, and take turns in
one process, so a busy machine is busy for all of them. Read the ratios, which carry over to other
machines better than milliseconds do.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from rtc_ros.bench.inference_contenders import (
    COMPARED,
    FAST,
    GUIDED,
    LEROBOT_PREFIX,
    PLAIN,
    TRAINED_PREFIX,
    VJP,
    Contest,
)
from rtc_ros.bench.inference_models import MODELS, parts_of
from rtc_ros.bench.inference_phases import measure, operations_per_step
from rtc_ros.command_line import tool
from rtc_ros.paths import a_path
from rtc_ros.policy.lerobot_compat import lerobot_version

PHASES = ("vision", "prefix", "denoising", "guidance", "pre and post", "chunk")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write them where asked."""
    parser = tool("bench inference", __doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--cameras", type=int, default=2, help="of the full-size model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--delay", type=int, default=5, help="d [steps]")
    parser.add_argument("--stride", type=int, default=25, help="s [steps]; H is 50")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each; 0: 5, or 30 (small)")
    parser.add_argument("--quick", action="store_true", help="the shipped model, 3 rounds")
    parser.add_argument("--json", type=a_path, help="write the figures here")
    parser.add_argument("--markdown", type=a_path, help="write the tables here")
    options = parser.parse_args(argv)
    if options.quick:
        options.models, options.rounds = [MODELS[0]], options.rounds or 3
    if options.threads:
        torch.set_num_threads(options.threads)
    result: dict[str, Any] = {"machine": _machine(options), "models": {}}
    for model in options.models:
        with TemporaryDirectory() as folder:
            parts = parts_of(model, Path(folder), options.cameras, options.device, options.dtype)
            contest = Contest(parts, options.delay, options.stride)
            rounds = options.rounds or (30 if model == MODELS[0] else 5)
            result["models"][model] = compete(contest, rounds)
    text = markdown(result)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


def compete(contest: Contest, rounds: int) -> dict[str, Any]:
    """Return times [s] of each contender's rounds and the summary of one policy."""
    contest.fast.warm_up()
    everyone = contest.everyone()
    chunks = {name: everyone[name].run(0) for name in (*COMPARED, LEROBOT_PREFIX)}  # warms up, too
    contenders = {name: everyone[name] for name in COMPARED}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in COMPARED}
    device = next(contest.policy.parameters()).device
    for turn in range(rounds):
        for name, each in contenders.items():
            times[name].append(measure(partial(each.run, turn), each.phases, device))
    return {
        "times_s": times,
        "operations": {name: operations_per_step(c.steps) for name, c in contenders.items()},
        "difference": {
            "unguided": _apart(chunks[FAST], chunks[PLAIN]),
            "guided": _apart(chunks[GUIDED], chunks[VJP]),
            "trained prefix": _apart(chunks[TRAINED_PREFIX], chunks[LEROBOT_PREFIX]),
        },
        "memory_mb": {
            "LeRobot's weights": contest.weight_bytes / 1e6,
            "the fast path's own": contest.packed_bytes / 1e6,
            "process, largest": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
        "description": contest.describe(),
    }


def ratios(times: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return medians over LeRobot's plain sampling: whole chunks, and ours step by step."""
    median = {
        name: {phase: statistics.median(t[phase] for t in rounds) for phase in PHASES}
        for name, rounds in times.items()
    }
    steps = {name: each["denoising"] + each["guidance"] for name, each in median.items()}
    found = {name: each["chunk"] / median[PLAIN]["chunk"] for name, each in median.items()}
    found["denoising, ours guided"] = steps[GUIDED] / steps[PLAIN]
    found["denoising, ours unguided"] = steps[FAST] / steps[PLAIN]
    least = {name: min(t["chunk"] for t in rounds) for name, rounds in times.items()}
    found["trained prefix ÷ unguided"] = median[TRAINED_PREFIX]["chunk"] / median[FAST]["chunk"]
    found["quickest, trained prefix ÷ unguided"] = least[TRAINED_PREFIX] / least[FAST]
    found["quickest, ours guided"] = least[GUIDED] / least[PLAIN]
    found["vision and prefix, ours"] = (median[FAST]["vision"] + median[FAST]["prefix"]) / (
        median[PLAIN]["vision"] + median[PLAIN]["prefix"]
    )
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the tables."""
    lines = [f"{key}: {value}  " for key, value in result["machine"].items()]
    for model, figures in result["models"].items():
        ratio, operations = ratios(figures["times_s"]), figures["operations"]
        lines += [
            "",
            f"## {model}",
            "",
            figures["description"],
            "",
            "| median ms | "
            + " | ".join(PHASES)
            + " | p90 | least | ÷ plain | operations per step |",
            "|---|" + "---|" * (len(PHASES) + 4),
        ]
        for name, rounds in figures["times_s"].items():
            times = [statistics.median(t[phase] for t in rounds) for phase in PHASES]
            whole = [t["chunk"] for t in rounds]
            times += [float(np.quantile(whole, 0.9)), min(whole)]
            cells = " | ".join(f"{1e3 * time:.1f}" for time in times)
            lines.append(f"| {name} | {cells} | {ratio[name]:.2f} | {operations[name]:.0f} |")
        lines += [
            "",
            f"* denoising ÷ LeRobot's plain: ours guided {ratio['denoising, ours guided']:.2f}, "
            f"unguided {ratio['denoising, ours unguided']:.2f}; vision and prefix "
            f"{ratio['vision and prefix, ours']:.2f}",
            f"* quickest rounds, whole chunk ÷ LeRobot's plain: ours guided "
            f"{ratio['quickest, ours guided']:.2f}",
            f"* whole chunk, trained prefix ÷ unguided: {ratio['trained prefix ÷ unguided']:.3f}, "
            f"quickest rounds {ratio['quickest, trained prefix ÷ unguided']:.3f}",
            f"* operations per step ÷ LeRobot's with the true VJP: ours guided "
            f"{operations[GUIDED] / operations[VJP]:.2f}",
            "* largest difference of a chunk, relative to its largest entry: unguided to "
            f"LeRobot's sample_actions {figures['difference']['unguided']:.1e}, guided to "
            f"autograd through LeRobot's denoise_step {figures['difference']['guided']:.1e}, "
            "trained prefix to LeRobot's denoise_step "
            f"{figures['difference']['trained prefix']:.1e}",
            "* memory [MB]: "
            + ", ".join(f"{name} {value:.0f}" for name, value in figures["memory_mb"].items()),
        ]
    return "\n".join(lines) + "\n"


def _machine(options: argparse.Namespace) -> dict[str, str]:
    where = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.device(options.device).type == "cuda":
        where += f", {torch.cuda.get_device_name(options.device)}"
    return {
        "machine": where,
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, LeRobot "
        f"{lerobot_version()}, {options.dtype} on {options.device}",
        "date": datetime.date.today().isoformat(),
        "guidance": f"d = {options.delay}, s = {options.stride}",
    }


def _apart(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    sys.exit(main())
