"""What a policy would have commanded on a recording's observations: nothing is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.bags.reader import BagError
from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity import RunLog
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.policy.protocol import Guidance, Policy
from rtc_ros.policy.row_filter import row_filter
from rtc_ros.replay.source import Recording

DELAY_WINDOW = 10
"""Q's length: that of the node's parameter."""


@dataclass(frozen=True)
class Timing:
    """When a shadow run begins [ns], its ticks, Δt [ns], and the ticks that inferences take.

    Inference number i takes ``delays[i mod n]`` ticks: recorded ones in their order, or one
    that was given.
    """

    begin_ns: int
    ticks: int
    period_ns: int
    delays: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Shadow:
    """A shadow run: the log, and how quickly it would have reacted.

    ``age_s`` is the mean time from the observation to the execution of a row made from it.
    ``held_back`` is the RMS difference of the chunks as they were handed over (guided, chosen or
    averaged) to what the policy makes of the same observation and noise alone, over the rows that
    are executed next [robot units]; None where no chunk continued another.
    """

    run: RunLog
    age_s: float | None
    held_back: float | None


def recorded_timing(
    recording: Recording, latency_s: float | None = None, seconds: float | None = None
) -> Timing:
    """Return the timing of the recording's longest section, or of its first ``seconds``.

    Args:
        recording: what was recorded.
        latency_s: a latency in place of the recorded ones.
        seconds: no more than this.

    Raises:
        BagError: nothing was executed, or no chunk tells a latency.
    """
    log = recording.run.commands
    origin = log.provenance
    if origin is None or not (origin.row != NO_STEP).any():
        raise BagError(f"{recording.path} can't be replayed: nothing was executed in it")
    played = np.flatnonzero(origin.row != NO_STEP)
    epochs, counts = np.unique(origin.step_epoch[played], return_counts=True)
    longest = epochs[counts.argmax()]
    rows = played[origin.step_epoch[played] == longest]
    period_ns = round(float(recording.settings["control_period"]) * 1e9)
    begin, end = int(log.stamp_ns[rows[0]]), int(log.stamp_ns[rows[-1]])
    # Until the cameras and all joints are there, there is nothing to see.
    while begin < end and recording.observed_at(begin) is None:
        begin += period_ns
    ticks = (end - begin) // period_ns + 1
    if seconds is not None:
        ticks = min(ticks, max(1, round(seconds * 1e9 / period_ns)))
    if latency_s is not None:
        delays: tuple[int, ...] = (_ticks(latency_s, period_ns),)
    else:
        latencies = [
            float(header["latency_ms"]) * 1e-3
            for chunk, header, _ in recording.chunks.values()
            if chunk.step_epoch == longest and header.get("previous", "") != "none"
        ]
        delays = tuple(_ticks(x, period_ns) for x in latencies)
    if not delays:
        raise BagError(f"{recording.path} has no chunk that tells a latency: give --latency-ms")
    return Timing(begin, ticks, period_ns, delays)


def _ticks(latency_s: float, period_ns: int) -> int:
    return int(np.ceil(latency_s * 1e9 / period_ns))


def shadow(
    recording: Recording,
    policy: Policy,
    settings: RtcSettings,
    timing: Timing,
    seed: int = 0,
) -> Shadow:
    """Run both halves of the algorithm on the recorded observations, on a virtual clock.

    The observations are those of the recorded run, whatever the shadow would have done: the arm
    does not follow it.
    """
    joints = tuple(recording.settings["joints"])
    scale, offset = recording.scale, recording.offset
    alone: dict[int, tuple[np.ndarray, int]] = {}
    run: VirtualRun

    def infer(request: InferenceRequest, seq: int) -> np.ndarray:
        observation = recording.observed_at(timing.begin_ns + run.ticks * timing.period_ns)
        assert observation is not None, "there was one when the run began"
        prev = None if request.prev is None else request.prev * scale + offset
        guidance = Guidance.of(settings, prev, request.weights)
        steps = settings.num_steps or None
        made = policy.infer(observation, guidance, num_steps=steps, seed=seed + seq).actions
        free = made
        if guidance is not None:
            free = policy.infer(observation, None, num_steps=steps, seed=seed + seq).actions
        if request.continues:
            alone[seq] = (np.asarray((free - offset) / scale), request.horizons.delay)
        return np.asarray((made - offset) / scale)

    limits = recording.limits() or JointLimits.none(len(joints))
    pose = recording.pose_at(timing.begin_ns)
    assert pose is not None
    estimator, spec = DelayEstimator(DELAY_WINDOW, timing.delays[0] + 1), policy.spec
    run = VirtualRun(
        Controller(limits),
        InferenceLoop(
            spec.horizon,
            estimator,
            settings,
            trained_delay=spec.trained_delay,
            row_filter=row_filter(timing.period_ns * 1e-9),
        ),
        infer,
        lambda seq: timing.delays[(seq - 1) % len(timing.delays)],
        timing.period_ns,
        joints,
        pose,
    )
    for _ in range(timing.ticks):
        run.tick()
    log = run.log()
    origin = log.commands.provenance
    assert origin is not None
    rows = origin.row[origin.row != NO_STEP]
    apart = []
    for chunk in log.chunks or ():
        if chunk.seq in alone:
            free, first = alone[chunk.seq]
            apart.append((chunk.actions - free)[first : first + settings.s_min])
    return Shadow(
        log,
        float(rows.mean()) * timing.period_ns * 1e-9 if len(rows) else None,
        _rms(apart),
    )


def _rms(blocks: Sequence[np.ndarray]) -> float | None:
    values = np.concatenate([b.ravel() for b in blocks]) if blocks else np.zeros(0)
    return float(np.sqrt((values**2).mean())) if len(values) else None
