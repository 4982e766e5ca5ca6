"""Makes recorded chunks again, from their seeds, settings and observations, and compares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.limits import limit_rows, soft_start_scale
from rtc_ros.core.prefix import prefix_weights
from rtc_ros.core.strategies import GUIDE, STRATEGIES
from rtc_ros.policy.protocol import Guidance, Policy
from rtc_ros.replay.source import Recording

REPLAYED = ("rtc", "rtc_hard", "naive_async", "synchronous", "prefix_overwrite")
"""Strategies whose chunks depend on the recorded ones and on the policy alone."""

_FIELDS = ("seed", "start_step", "previous", "velocity_scale", "beta", "images", "joints")


@dataclass(frozen=True)
class Reproduction:
    """``same`` chunks came out to the bit, ``others`` didn't: the largest difference [rad].

    ``impossible`` counts those that couldn't be made again, by the reason.
    """

    same: int = 0
    others: int = 0
    largest: float = 0.0
    impossible: Mapping[str, int] = field(default_factory=dict)


def reproduce(recording: Recording, policy: Policy, most: int | None = None) -> Reproduction:
    """Make the recorded chunks again, the first ``most`` of them, and compare every bit."""
    same = others = 0
    largest = 0.0
    impossible: Counter[str] = Counter()
    for chunk, header, time_ns in list(recording.chunks.values())[:most]:
        made, problem = make_again(recording, policy, chunk, header, time_ns)
        if made is None:
            impossible[problem] += 1
        elif np.array_equal(made, chunk.actions):
            same += 1
        else:
            others += 1
            largest = max(largest, float(np.abs(made - chunk.actions).max()))
    return Reproduction(same, others, largest, dict(impossible))


def make_again(
    recording: Recording,
    policy: Policy,
    chunk: ActionChunk,
    header: Mapping[str, str],
    time_ns: int,
) -> tuple[np.ndarray | None, str]:
    """Return the chunk's actions [H, A] in the robot's units, or None and why not."""
    strategy = header.get("strategy") or recording.settings_at(time_ns).get("strategy")
    if strategy not in REPLAYED:
        return None, f"chunks of the strategy {strategy} can't be made again yet"
    absent = [f for f in _FIELDS if f not in header]
    if absent:
        return None, f"its header doesn't say {', '.join(absent)}"
    observation, problem = recording.observed(
        _stamps(header["images"]), _stamps(header["joints"]), time_ns
    )
    if observation is None:
        return None, problem
    guidance = None
    if chunk.guided:
        prev, problem = previous_rows(recording, chunk, header)
        if prev is None:
            return None, problem
        weights = prefix_weights(chunk.horizon, chunk.delay, chunk.stride, header["schedule"])
        weights[len(prev) :] = 0.0
        guidance = Guidance(
            prev * recording.scale + recording.offset,
            weights,
            float(header["beta"]),
            float(header["sigma_d"]),
            header["jacobian"],
            STRATEGIES[strategy].prefix or GUIDE,
        )
    result = policy.infer(
        observation,
        guidance,
        num_steps=int(header["num_steps"]) or None,
        seed=int(header["seed"]),
    )
    return (result.actions - recording.offset) / recording.scale, ""


def previous_rows(
    recording: Recording, chunk: ActionChunk, header: Mapping[str, str]
) -> tuple[np.ndarray | None, str]:
    """Return A_prev [R, A] as the inference had it, or None and what isn't recorded."""
    if header["previous"] == "none":
        return None, "it continues no chunk"
    epoch, seq = (int(x) for x in header["previous"].split(":"))
    known = recording.chunks.get((epoch, seq))
    limits = recording.limits()
    if known is None:
        return None, "the chunk that it continues wasn't recorded"
    if limits is None:
        return None, "the limits weren't recorded"
    previous, start = known[0], int(header["start_step"])
    log = recording.run.commands
    origin = log.provenance
    assert origin is not None
    mine = (origin.step_epoch == chunk.step_epoch) & (origin.row >= 0)
    executed = []
    for step in range(min(chunk.origin_step, start - 1), start):
        found = np.flatnonzero(mine & (origin.step == step))
        if not len(found):
            return None, "a step before it wasn't recorded"
        executed.append(log.command[found[-1]])
    here = int(found[-1])  # of the last step before the inference
    last_step = log.command[here] - log.command[here - 1] if here else np.nan * log.command[here]
    if limits.bends and not np.isfinite(last_step).all():
        return None, "the command before its start wasn't recorded"
    wanted = previous.actions[chunk.origin_step - previous.origin_step : previous.rows]
    ahead = wanted[start - chunk.origin_step :]
    scale = float(header["velocity_scale"])
    # 1/(n + 1) of the velocity limit at step 0, all of it from step n on.
    ticks = round((start + 1) / scale) - 1 if scale < 1 else 0
    scales = soft_start_scale(start + np.arange(len(ahead)), ticks)
    ahead = limit_rows(ahead, executed[-1], limits, scales, last_step)
    history = executed[len(executed) - (start - chunk.origin_step) :]
    rows = np.concatenate([np.array(history).reshape(-1, ahead.shape[1]), ahead])
    return limits.nearest(rows, wanted), ""


def _stamps(text: str) -> list[int]:
    return [] if text == "none" else [int(s) for s in text.split(",")]
