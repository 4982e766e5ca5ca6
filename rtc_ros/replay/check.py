"""Makes recorded chunks again, from their seeds, settings and observations, and compares them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rtc_ros.core.blending import (
    average_of_predictions,
    average_with_previous,
    with_given_rows,
)
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.inference_loop import frozen_rows
from rtc_ros.core.limits import limit_rows, soft_start_scale
from rtc_ros.core.set_points import SetPoints, motion_of
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import AVERAGE, CHOOSE, ENSEMBLE, GUIDE, STRATEGIES, TRAINED
from rtc_ros.policy.protocol import Guidance, Policy
from rtc_ros.policy.row_filter import filtered_rows
from rtc_ros.replay.recorded_policy import loaded_otherwise
from rtc_ros.replay.source import Recording

_FIELDS = ("seed", "start_step", "previous", "velocity_scale", "beta", "images", "joints")
_OF_STRATEGY = {
    ENSEMBLE: ("decay",),
    AVERAGE: ("average_new",),
    CHOOSE: ("candidates", "contrast"),
}
_KEPT = 64
"""Unblended chunks that are remembered: what an average needs reaches back H steps."""

Made = tuple[np.ndarray | None, str]
"""A chunk's actions [H, A] in the robot's units; or None, and why it can't be made again."""


@dataclass(frozen=True)
class Reproduction:
    """``same`` chunks came out to the bit, ``others`` didn't: the largest difference [rad].

    ``different`` has the difference of each by its name (EPOCH:SEQ). ``impossible`` counts those
    that couldn't be made again, by the reason, and ``not_made`` names them. ``by_strategy`` has
    ``same``, ``others`` and ``impossible`` of each strategy.
    """

    same: int = 0
    others: int = 0
    largest: float = 0.0
    impossible: Mapping[str, int] = field(default_factory=dict)
    by_strategy: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    different: Mapping[str, float] = field(default_factory=dict)
    not_made: Mapping[str, Sequence[str]] = field(default_factory=dict)


def reproduce(
    recording: Recording, policy: Policy, most: int | None = None, path: str | None = None
) -> Reproduction:
    """Make the recorded chunks again, the first ``most`` of them, and compare every bit.

    ``path`` is that of the policy where it isn't the recorded one.
    """
    different: dict[str, float] = {}
    not_made: dict[str, list[str]] = {}
    kinds: dict[str, list[int]] = {}
    maker = ChunkMaker(recording, policy, path)
    for name, (chunk, header, time_ns) in list(recording.chunks.items())[:most]:
        made, problem = maker.make(name)
        counts = kinds.setdefault(_strategy(recording, header, time_ns), [0, 0, 0])
        if made is None:
            not_made.setdefault(problem, []).append("{}:{}".format(*name))
            counts[2] += 1
        elif np.array_equal(made, chunk.actions):
            counts[0] += 1
        else:
            counts[1] += 1
            apart = float(np.abs(made - chunk.actions).max())
            different["{}:{}".format(*name)] = apart
    same, others, _ = (sum(c[i] for c in kinds.values()) for i in range(3))
    by_strategy = {kind: (c[0], c[1], c[2]) for kind, c in kinds.items()}
    largest = max(different.values(), default=0.0)
    impossible = {reason: len(names) for reason, names in not_made.items()}
    return Reproduction(same, others, largest, impossible, by_strategy, different, not_made)


def _strategy(recording: Recording, header: Mapping[str, str], time_ns: int) -> str:
    known = header.get("strategy") or recording.settings_at(time_ns).get("strategy", "")
    return str(known)


class ChunkMaker:
    """Makes a recording's chunks again; what an average needs of earlier ones, too.

    ``path`` is that of the policy where it isn't the recorded one.
    """

    def __init__(self, recording: Recording, policy: Policy, path: str | None = None) -> None:
        self._recording, self._policy, self._path = recording, policy, path
        self._unblended: OrderedDict[tuple[int, int], Made] = OrderedDict()

    def make(self, name: tuple[int, int]) -> Made:
        """Return the chunk of this name as it was handed over."""
        chunk, header, time_ns = self._recording.chunks[name]
        made, problem = self._blended(name)
        cutoff_hz = float(header.get("filter_cutoff", 0.0))
        if made is None or not cutoff_hz:
            return made, problem
        period_s = float(self._recording.settings_at(time_ns)["control_period"])
        frozen = 0
        if chunk.guided:
            prev, problem = previous_rows(self._recording, chunk, header)
            if prev is None:
                return None, problem
            strategy = _strategy(self._recording, header, time_ns)
            frozen = frozen_rows(prev, self._weights(chunk, header, strategy, len(prev)))
        return filtered_rows(
            period_s, made, cutoff_hz, frozen, self._recording.limits(time_ns)
        ), ""

    def _blended(self, name: tuple[int, int]) -> Made:
        """Return the chunk of this name before the filter."""
        chunk, header, time_ns = self._recording.chunks[name]
        strategy = _strategy(self._recording, header, time_ns)
        if strategy not in STRATEGIES:
            return None, f"its strategy is {strategy or 'unknown'}"
        blend = STRATEGIES[strategy].blend
        absent = [f for f in _OF_STRATEGY.get(blend or "", ()) if f not in header]
        if absent:
            return None, f"its header doesn't say {', '.join(absent)}"
        made, problem = self.unblended(name)
        if made is None:
            return None, problem
        if STRATEGIES[strategy].prefix == TRAINED and chunk.guided:
            prev, problem = previous_rows(self._recording, chunk, header)
            if prev is None:
                return None, problem
            weights = self._weights(chunk, header, strategy, len(prev))
            return with_given_rows(made, prev, weights), ""
        if blend == ENSEMBLE:
            return self._ensembled(name, made, float(header["decay"]))
        if blend == AVERAGE and header["previous"] != "none":
            prev, problem = previous_rows(self._recording, chunk, header)
            if prev is None:
                return None, problem
            limits = self._recording.limits(time_ns)
            return average_with_previous(prev, made, float(header["average_new"]), limits), ""
        return made, ""

    def _ensembled(self, name: tuple[int, int], made: np.ndarray, decay: float) -> Made:
        """Average with the predictions of all earlier chunks that reach this one."""
        chunks = self._recording.chunks
        chunk, _, time_ns = chunks[name]
        predictions = [(chunk.origin_step, made)]
        for seq in range(chunk.seq - 1, 0, -1):
            known = chunks.get((chunk.epoch, seq))
            if known is None:
                return None, "a chunk that is averaged into it wasn't recorded"
            earlier = known[0]
            reaches = earlier.origin_step + earlier.horizon > chunk.origin_step
            if earlier.step_epoch != chunk.step_epoch or not reaches:
                break
            before, problem = self.unblended(earlier.name)
            if before is None:
                return None, f"of a chunk that is averaged into it: {problem}"
            predictions.append((earlier.origin_step, before))
        limits = self._recording.limits(time_ns)
        return average_of_predictions(predictions[::-1], decay, limits), ""

    def unblended(self, name: tuple[int, int]) -> Made:
        """Return the chunk as the policy made it, before any average."""
        if name not in self._unblended:
            self._unblended[name] = self._infer(*self._recording.chunks[name])
            while len(self._unblended) > _KEPT:
                self._unblended.popitem(last=False)
        return self._unblended[name]

    def _infer(self, chunk: ActionChunk, header: Mapping[str, str], time_ns: int) -> Made:
        recording = self._recording
        prefix = STRATEGIES[_strategy(recording, header, time_ns)].prefix
        needed = (*_FIELDS, *_OF_STRATEGY.get(prefix or "", ()))
        absent = [f for f in needed if f not in header]
        if absent:
            return None, f"its header doesn't say {', '.join(absent)}"
        if problem := loaded_otherwise(recording, time_ns, self._path):
            return None, problem
        observation, problem = recording.observed(
            _stamps(header["images"]), _stamps(header["joints"]), time_ns, header.get("task", "")
        )
        if observation is None:
            return None, problem
        horizon = self._policy.spec.horizon
        if chunk.horizon != horizon:
            return None, f"it has H = {chunk.horizon} rows, and the policy makes {horizon}"
        guidance = None
        if chunk.guided:
            prev, problem = previous_rows(recording, chunk, header)
            if prev is None:
                return None, problem
            strategy = _strategy(recording, header, time_ns)
            weights = self._weights(chunk, header, strategy, len(prev))
            guidance = Guidance(
                prev * recording.scale + recording.offset,
                weights,
                float(header["beta"]),
                float(header["sigma_d"]),
                header["jacobian"],
                prefix or GUIDE,
                int(header.get("candidates", 0)),
                int(header.get("contrast", 0)),
            )
        result = self._policy.infer(
            observation,
            guidance,
            num_steps=int(header["num_steps"]) or None,
            seed=int(header["seed"]),
        )
        return (result.actions - recording.offset) / recording.scale, ""

    def _weights(
        self, chunk: ActionChunk, header: Mapping[str, str], strategy: str, rows: int
    ) -> np.ndarray:
        settings = RtcSettings(strategy=strategy, schedule=header["schedule"])
        trained = self._policy.spec.trained_delay
        weights = settings.weights(chunk.horizon, chunk.delay, chunk.stride, rows, trained)
        assert weights is not None, "a guided chunk's strategy has a mask"
        return weights


def previous_rows(recording: Recording, chunk: ActionChunk, header: Mapping[str, str]) -> Made:
    """Return A_prev [R, A] as the inference had it, or None and what isn't recorded."""
    if header["previous"] == "none":
        return None, "it continues no chunk"
    epoch, seq = (int(x) for x in header["previous"].split(":"))
    known = recording.chunks.get((epoch, seq))
    limits = recording.limits(recording.chunks[chunk.name][2])
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
    if limits.bends and "motion" not in header and not np.isfinite(last_step).all():
        return None, "the command before its start wasn't recorded"
    wanted = previous.actions[chunk.origin_step - previous.origin_step : previous.rows]
    ahead = wanted[start - chunk.origin_step :]
    scale = float(header["velocity_scale"])
    # 1/(n + 1) of the velocity limit at step 0, all of it from step n on.
    ticks = round((start + 1) / scale) - 1 if scale < 1 else 0
    scales = soft_start_scale(start + np.arange(len(ahead)), ticks)
    points = int(header.get("points", 1))
    if points > 1:
        if "motion" not in header:
            return None, "the set points before its start, from which it goes on, aren't recorded"
        motion = motion_of(header["motion"], executed[-1])
        # The rows around each of them say how the motion passes through it.
        index = start - previous.origin_step
        path = SetPoints(limits, points)
        ahead = path.play_all(previous.actions[: previous.rows], index, motion, scales)[0]
    else:
        ahead = limit_rows(ahead, executed[-1], limits, scales, last_step)
    history = executed[len(executed) - (start - chunk.origin_step) :]
    rows = np.concatenate([np.array(history).reshape(-1, ahead.shape[1]), ahead])
    return limits.nearest(rows, wanted), ""


def _stamps(text: str) -> list[int]:
    return [] if text == "none" else [int(s) for s in text.split(",")]
