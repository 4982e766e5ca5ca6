"""The controller without ROS and without a clock: gate, player, limits, and the cursor."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.chunk_player import ChunkPlayer, Offer, PlayedStep
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.core.limits import JointLimits, limit_row

REASONS = {
    Mode.STOPPED: "hold: stopped",
    Mode.WAITING: "hold: waiting for the first chunk",
    Mode.RUNNING: "execute",
    Mode.STARVED: "hold: starved",
    Mode.FAULT: "hold: fault",
}


@dataclass(frozen=True)
class Command:
    """What one tick sends to the arm.

    ``target`` float64[A] is the row after the limits, None where nothing was ever commanded (the
    arm keeps the pose that its driver holds). ``wanted`` is the row before the limits, None on
    a hold. ``limited`` counts the joints that the limits changed.
    """

    target: np.ndarray | None
    wanted: np.ndarray | None
    limited: int
    mode: Mode
    played: PlayedStep
    reason: str


class Controller:
    """One command per tick, whatever comes in.

    The motion gate is closed until ``start``. Each start begins a new run of the step count, so
    no chunk from before it can move the arm. The first command lies within one (softened)
    velocity step of the measured pose, and the velocity limit then rises to its full value over
    ``soft_start_ticks``, so the first motion has no pop.

    Args:
        action_dim: A.
        limits: position and per-step limits.
        soft_start_ticks: ticks until the full velocity limit holds; 0 for at once.
    """

    def __init__(self, action_dim: int, limits: JointLimits, soft_start_ticks: int = 0) -> None:
        self.action_dim = action_dim
        self.limits = limits
        self.soft_start_ticks = soft_start_ticks
        self.mode = Mode.STOPPED
        self.fault = ""
        self.counts: Counter[str] = Counter()
        self.player = ChunkPlayer(0, action_dim)
        self.command: np.ndarray | None = None
        self._measured: np.ndarray = np.zeros(action_dim)
        self._history = np.zeros((HISTORY_ROWS, action_dim))

    def start(self, epoch: int, measured: np.ndarray) -> None:
        """Open the gate and begin the run ``epoch`` at the ``measured`` pose [A].

        Raises:
            ValueError: the pose is not finite or has another size.
        """
        pose = np.asarray(measured, dtype=np.float64)
        if pose.shape != (self.action_dim,) or not np.isfinite(pose).all():
            raise ValueError(
                f"the measured pose is not {self.action_dim} finite joint positions: {pose}"
            )
        self.player = ChunkPlayer(epoch, self.action_dim)
        self._measured = pose
        self.command = None
        self.fault = ""
        self._history[:] = 0.0
        self.mode = Mode.WAITING

    def stop(self) -> None:
        """Close the gate: the arm holds where it was last commanded to."""
        self.mode = Mode.STOPPED

    def set_fault(self, reason: str) -> None:
        """Hold because of ``reason``, or go on where it is empty. No effect while stopped."""
        if reason and not self.fault:
            self.counts["faults"] += 1
        self.fault = reason

    def offer(self, chunk: ActionChunk) -> Offer:
        """Offer a chunk to the player; what was refused is counted under its reason."""
        result = self.player.offer(chunk)
        if result not in (Offer.TAKEN, Offer.SAME):
            self.counts[f"chunks refused: {result.value}"] += 1
        return result

    def tick(self) -> Command | None:
        """Return this period's command, or None while stopped (nothing is sent then)."""
        if self.mode is Mode.STOPPED:
            return None
        if self.fault:
            self.mode = Mode.FAULT
            self.counts["ticks held: fault"] += 1
            played = PlayedStep(
                self.player.step, self.player.tick_count, NO_STEP, None, self.player.current
            )
            return Command(self.command, None, 0, self.mode, played, f"hold: {self.fault}")
        velocity_scale = self.velocity_scale
        played = self.player.tick()
        if played.action is None:
            self.mode = Mode.WAITING if self.player.current is None else Mode.STARVED
            self.counts[f"ticks held: {self.mode.name.lower()}"] += 1
            return Command(self.command, None, 0, self.mode, played, REASONS[self.mode])
        self.mode = Mode.RUNNING
        previous = self._measured if self.command is None else self.command
        target = limit_row(played.action, previous, self.limits, velocity_scale)
        limited = int((target != played.action).sum())
        self.counts["steps"] += 1
        self.counts["steps limited"] += limited > 0
        self.command = target
        self._history[played.step % HISTORY_ROWS] = target
        return Command(target, played.action, limited, self.mode, played, REASONS[self.mode])

    @property
    def velocity_scale(self) -> float:
        """The factor on the velocity limit for the next step, rising to 1 (soft start)."""
        return min(1.0, (self.player.step + 1) / (self.soft_start_ticks + 1))

    def cursor(self, tick_ns: int) -> CursorState:
        """Return what the inference side needs to know, as of ``tick_ns`` (CLOCK_MONOTONIC)."""
        player, swap = self.player, self.player.last_swap
        chunk, seen = player.current, player.seen
        return CursorState(
            epoch=player.epoch,
            step=player.step,
            tick=player.tick_count,
            tick_ns=tick_ns,
            mode=self.mode,
            command=self._measured if self.command is None else self.command,
            history=self._history,
            lower=self.limits.lower,
            upper=self.limits.upper,
            max_step=self.limits.max_step,
            velocity_scale=self.velocity_scale,
            chunk_epoch=NO_STEP if chunk is None else chunk.epoch,
            chunk_seq=NO_STEP if chunk is None else chunk.seq,
            chunk_origin_step=NO_STEP if chunk is None else chunk.origin_step,
            seen_epoch=NO_STEP if seen is None else seen[0],
            seen_seq=NO_STEP if seen is None else seen[1],
            swap_step=NO_STEP if swap is None else swap.step,
            swap_tick=NO_STEP if swap is None else swap.tick,
            swaps=player.swaps,
        )
