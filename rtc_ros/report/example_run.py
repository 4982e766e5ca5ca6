"""Runs made up for tests and pictures: the real controller, fed by a made-up policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.command import Command
from rtc_ros.core.continuity.run_log import CommandLog, JointLog, Provenance, RunLog, SwapEvent
from rtc_ros.core.controller import Controller
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.prefix import prefix_weights

PERIOD_S = 0.02
ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")


@dataclass(frozen=True)
class ExampleSettings:
    """What the made-up run is like.

    ``guided`` chunks follow the previous one over the soft mask; all chunks differ from each
    other by a smooth disagreement of ``disagreement_rad``. Inferences last ``delays`` ticks, in
    turn; ``forecast`` is the d that the chunks were made for.
    """

    ticks: int = 600
    guided: bool = True
    disagreement_rad: float = 0.06
    delays: tuple[int, ...] = (5, 6, 5, 7)
    forecast: int = 7
    horizon: int = 30
    s_min: int = 10
    max_velocity: float = np.inf
    step_epoch: int = 1
    seed: int = 0


def example_joints() -> tuple[str, ...]:
    """Return the 14 joints of two arms with grippers."""
    return tuple(f"{side}_{j}" for side in ("left", "right") for j in (*ARM_JOINTS, "gripper"))


def intended(time_s: np.ndarray) -> np.ndarray:
    """Return the smooth motion [N, 14] that every chunk aims for."""
    joint = np.arange(len(example_joints()))
    time = np.asarray(time_s, dtype=np.float64)[:, None]
    pose = 0.5 * np.sin(2 * np.pi * (0.10 + 0.03 * (joint % 5)) * time + joint)
    gripper = 0.5 + 0.5 * np.tanh(4 * np.sin(2 * np.pi * 0.15 * time + joint))
    return np.where(joint % 7 == 6, gripper, pose)


def example_run(settings: ExampleSettings = ExampleSettings()) -> RunLog:  # noqa: B008
    """Return a recording of such a run, with everything that the real one has."""
    rng = np.random.default_rng(settings.seed)
    joints = example_joints()
    velocity = np.full(len(joints), settings.max_velocity)
    infinite = np.full(len(joints), np.inf)
    limits = JointLimits(-infinite, infinite, velocity * PERIOD_S)
    controller = Controller(limits)
    controller.start(settings.step_epoch, intended(np.zeros(1))[0])
    chunks: list[ActionChunk] = []
    swaps: list[SwapEvent] = []
    ticks: list[Command] = []
    ready_at = 0
    waiting: ActionChunk | None = None
    for tick in range(settings.ticks):
        if waiting is not None and tick >= ready_at:
            controller.offer(waiting)
            waiting = None
        begun = chunks[-1].origin_step if chunks else -settings.s_min
        if waiting is None and controller.state.player.step - begun >= settings.s_min:
            ready_at = tick + settings.delays[len(chunks) % len(settings.delays)]
            waiting = _chunk(settings, rng, chunks, controller.state.player.step)
            chunks.append(waiting)
        command = controller.tick()
        assert command is not None
        ticks.append(command)
        if command.played.swap is not None:
            swaps.append(_event(command))
    log = _command_log(joints, ticks, settings.step_epoch, rng)
    return RunLog(log, swaps, chunks, _follow(log))


def _chunk(
    settings: ExampleSettings, rng: np.random.Generator, chunks: list[ActionChunk], step: int
) -> ActionChunk:
    """Make the next chunk: the intention, this chunk's own error, the previous chunk's pull."""
    horizon, last = settings.horizon, chunks[-1] if chunks else None
    time = (step + np.arange(horizon)) * PERIOD_S
    error = rng.normal(0, settings.disagreement_rad, len(example_joints()))
    actions = intended(time) + error
    stride, delay = 0, 0
    if last is not None:
        stride, delay = step - last.origin_step, settings.forecast
        if settings.guided:
            weights = prefix_weights(horizon, delay, stride)[:, None]
            previous = np.zeros_like(actions)
            previous[: horizon - stride] = last.actions[stride:]
            actions = weights * previous + (1 - weights) * actions
    return ActionChunk(
        actions,
        step,
        step_epoch=settings.step_epoch,
        epoch=7,
        seq=len(chunks),
        delay=delay,
        stride=stride,
        guided=settings.guided and last is not None,
    )


def _event(command: Command) -> SwapEvent:
    swap = command.played.swap
    assert swap is not None
    last = swap.previous
    return SwapEvent(
        step=swap.step,
        row=swap.row,
        origin_step=swap.chunk.origin_step,
        chunk_epoch=swap.chunk.epoch,
        chunk_seq=swap.chunk.seq,
        previous_epoch=NO_STEP if last is None else last.epoch,
        previous_seq=NO_STEP if last is None else last.seq,
        previous_row=swap.previous_row,
        delay_forecast=swap.chunk.delay,
        delay_observed=swap.delay,
        stride=swap.chunk.stride,
        guided=swap.chunk.guided,
        step_epoch=swap.chunk.step_epoch,
        held_ticks=swap.held_ticks,
    )


def _command_log(
    joints: tuple[str, ...], ticks: list[Command], step_epoch: int, rng: np.random.Generator
) -> CommandLog:
    pose = intended(np.zeros(1))[0]
    rows, wanted, sources = [], [], []
    for command in ticks:
        pose = pose if command.row is None else command.row
        played, chunk = command.played, command.played.chunk
        rows.append(pose)
        wanted.append(pose if command.wanted is None else command.wanted)
        name = (NO_STEP,) * 3 if chunk is None else (chunk.origin_step, *chunk.name)
        lateness = abs(rng.normal(80, 40))
        sources.append(
            (played.step, played.tick, played.row, *name, step_epoch, command.limited, lateness)
            + (int(command.mode),)
        )
    reasons = tuple(sorted({c.reason for c in ticks}))
    return CommandLog(
        joints,
        10**18 + np.arange(len(ticks)) * int(PERIOD_S * 1e9),
        np.array(rows),
        np.array(wanted),
        np.array([reasons.index(c.reason) for c in ticks]),
        reasons,
        Provenance.from_columns(np.array(sources, dtype=np.float64)),
    )


def _follow(log: CommandLog) -> JointLog:
    """Return the poses of an arm that follows its commands with a lag of 40 ms."""
    position = log.command.copy()
    for k in range(1, len(position)):
        position[k] = position[k - 1] + (log.command[k] - position[k - 1]) * PERIOD_S / 0.04
    return JointLog(log.stamp_ns, position)
