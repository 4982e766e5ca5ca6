"""The controller without ROS and without a clock: gate, player, limits, and the cursor."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.chunk_player import ChunkPlayer, Offer, PlayedStep
from rtc_ros.core.command import REASONS, Command
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.core.jerk import JerkFilter, jerk_window
from rtc_ros.core.limits import (
    JointLimits,
    at_rest,
    brake_row,
    brake_rows,
    limit_row,
    limit_rows,
    soft_start_scale,
)


class Controller:
    """One command per tick, whatever comes in.

    Whatever ends the motion (no row left, a fault, a stop), the commands slow down to rest
    within the acceleration limits, and k stands still meanwhile.

    The motion gate is closed until ``start``. Each start begins a new run of the step count, so
    no chunk from before it can move the arm. The first command lies within one (softened)
    velocity step of the measured pose, and the velocity limit then rises to its full value over
    ``soft_start_ticks``, so the first motion has no pop.

    Args:
        action_dim: A.
        limits: of position, velocity, acceleration and jerk.
        soft_start_ticks: ticks until the full velocity limit holds; 0 for at once.
    """

    def __init__(self, action_dim: int, limits: JointLimits, soft_start_ticks: int = 0) -> None:
        self.action_dim = action_dim
        self.limits = limits
        self.soft_start_ticks = soft_start_ticks
        self.mode = Mode.STOPPED
        self.fault = self.last_fault = ""
        self.counts: Counter[str] = Counter()
        self.player = ChunkPlayer(0, action_dim)
        self.row: np.ndarray | None = None
        self.target: np.ndarray | None = None
        self.last_step: np.ndarray = np.zeros(action_dim)
        self.jerk = JerkFilter(action_dim, jerk_window(limits))
        self._measured: np.ndarray = np.zeros(action_dim)
        self._history = np.zeros((HISTORY_ROWS, action_dim))

    def start(self, epoch: int, measured: np.ndarray) -> None:
        """Open the gate and begin the run ``epoch`` at the ``measured`` pose [A].

        Raises:
            ValueError: the pose is not finite or has another size; the arm is still being braked
                by the stop before, or that stop is latched.
        """
        if self.mode is Mode.LATCHED:
            raise ValueError("the stop is latched: clear it first")
        if not self.settled:
            raise ValueError("the arm is still being braked to rest: try again")
        pose = np.asarray(measured, dtype=np.float64)
        if pose.shape != (self.action_dim,) or not np.isfinite(pose).all():
            raise ValueError(
                f"the measured pose is not {self.action_dim} finite joint positions: {pose}"
            )
        self.player = ChunkPlayer(epoch, self.action_dim)
        self._measured = pose
        self.jerk.rest_at(pose)
        self.row = self.target = None
        self.last_step = np.zeros(self.action_dim)
        self.fault = ""
        self._history[:] = 0.0
        self.mode = Mode.WAITING

    def stand_at(self, measured: np.ndarray) -> None:
        """Take a newer finite ``measured`` pose [A] to begin at, while nothing was commanded yet.

        An arm that was moved, or came to rest, between ``start`` and the first chunk is not thrown
        back to where it was.
        """
        if self.row is None and not self.stopped:
            self._measured = np.array(measured, np.float64)
            self.jerk.rest_at(self._measured)

    def stop(self) -> None:
        """Close the gate: the arm is braked to rest and holds there; see ``settled``."""
        if self.mode is not Mode.LATCHED:
            self.mode = Mode.STOPPED

    def latch(self) -> None:
        """Close the gate so that only ``clear`` lets it be opened again."""
        self.mode = Mode.LATCHED

    def clear(self) -> None:
        """Lift a latched stop; the gate stays closed."""
        if self.mode is Mode.LATCHED:
            self.mode = Mode.STOPPED

    @property
    def stopped(self) -> bool:
        """Whether the gate is closed."""
        return self.mode in (Mode.STOPPED, Mode.LATCHED)

    @property
    def settled(self) -> bool:
        """Whether nothing has to be commanded for the arm to stand still."""
        return self.row is None or (at_rest(self.last_step, self.limits) and self.jerk.settled)

    def set_fault(self, reason: str) -> None:
        """Hold because of ``reason``, or go on where it is empty. No effect while stopped."""
        if reason and not self.fault:
            self.counts["faults"] += 1
        self.fault = reason
        self.last_fault = reason or self.last_fault

    def offer(self, chunk: ActionChunk) -> Offer:
        """Offer a chunk to the player; what was refused is counted under its reason."""
        result = self.player.offer(chunk)
        if result not in (Offer.TAKEN, Offer.SAME):
            self.counts[f"chunks refused: {result.value}"] += 1
        return result

    def tick(self, *, swaps: bool = True) -> Command | None:
        """Return this period's command, or None once stopped and at rest (nothing is sent).

        Without ``swaps``, a chunk that waits for its first step goes on waiting.
        """
        if self.stopped:
            return None if self.settled else self._hold(self._still(), REASONS[self.mode])
        return self._play(swaps=swaps)

    def play_on(self) -> Command:
        """Return what a driver did within a period in which nobody could tell it to stop.

        That is one more tick, whether the gate was closed meanwhile or not, and without a chunk
        that it wasn't sent.
        """
        mode = self.mode
        command = self._play(swaps=False)
        self.mode = mode if mode in (Mode.STOPPED, Mode.LATCHED) else self.mode
        return command

    def snapshot(self) -> dict[str, Any]:
        """Return all that a tick changes, for ``restore``."""
        return {name: copy.copy(value) for name, value in vars(self).items()}

    def restore(self, before: dict[str, Any]) -> None:
        """Take back everything since the ``snapshot``, which is used up."""
        vars(self).update(before)

    def stood_still(self, joints: Sequence[int], at: np.ndarray, step: int) -> None:
        """Take back what ``play_on`` said of ``joints`` from ``step`` on: they rest at ``at`` [A].

        Their rows begin from there again, within the limits.
        """
        assert self.row is not None and self.target is not None
        self.row, self.target = np.array(self.row), np.array(self.target)
        self.last_step = np.array(self.last_step)
        self.row[joints] = self.target[joints] = at[joints]
        self.last_step[joints] = 0.0
        self.jerk.stand(joints, at)
        for past in range(max(step, self.player.step - HISTORY_ROWS), self.player.step):
            self._history[past % HISTORY_ROWS, joints] = at[joints]

    def _play(self, *, swaps: bool = True) -> Command:
        if self.fault:
            self.mode = Mode.FAULT
            self.counts["ticks held: fault"] += 1
            return self._hold(self._still(), f"hold: {self.fault}")
        velocity_scale = self.velocity_scale
        played = self.player.tick(swaps=swaps)
        if played.action is None:
            self.mode = Mode.WAITING if self.player.current is None else Mode.STARVED
            self.counts[f"ticks held: {self.mode.name.lower()}"] += 1
            return self._hold(played, REASONS[self.mode])
        self.mode = Mode.RUNNING
        previous = self._measured if self.row is None else self.row
        chunk = played.chunk
        assert chunk is not None, "there is a row to play"
        following = chunk.actions[min(played.row + 1, chunk.rows - 1)]
        self.row = limit_row(
            played.action, previous, self.limits, velocity_scale, self.last_step, following
        )
        limited = int((self.row != self.limits.nearest(played.action, previous)).sum())
        self.counts["steps"] += 1
        self.counts["steps limited"] += limited > 0
        self.last_step = self.row - previous
        self._history[played.step % HISTORY_ROWS] = self.row
        return self._out(played.action, limited, played, REASONS[self.mode])

    def _still(self) -> PlayedStep:
        """Return a tick that isn't one of the run: k and its ticks stand still."""
        player = self.player
        return PlayedStep(player.step, player.tick_count, NO_STEP, None, player.current)

    def _hold(self, played: PlayedStep, reason: str) -> Command:
        """Brake by one step, or stay."""
        if self.row is not None:
            previous = self.row
            self.row = brake_row(previous, self.last_step, self.limits)
            self.last_step = self.row - previous
        return self._out(None, 0, played, reason)

    def _out(
        self, wanted: np.ndarray | None, limited: int, played: PlayedStep, reason: str
    ) -> Command:
        self.target = None if self.row is None else self.jerk.push(self.row)
        return Command(self.target, self.row, wanted, limited, self.mode, played, reason)

    def ahead(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what goes out from the last target on if no chunk comes any more.

        float64[R, A] positions, that target first: the rest of the chunk through the limits, then
        down to rest. float64[R, A] velocities [robot units / step] in those points, 0 in the last.

        Raises:
            ValueError: nothing was commanded yet.
        """
        if self.row is None:
            raise ValueError("nothing was commanded yet, so nothing goes on")
        rows, chunk, step = self.row[None], self.player.current, self.player.step
        if self.mode is Mode.RUNNING and chunk is not None:
            wanted = chunk.actions[step - chunk.origin_step : chunk.rows]
            scales = soft_start_scale(step + np.arange(len(wanted)), self.soft_start_ticks)
            rest = limit_rows(wanted, self.row, self.limits, scales, self.last_step)
            rows = np.concatenate([rows, rest])
        last_step = self.last_step if len(rows) == 1 else rows[-1] - rows[-2]
        rest = brake_rows(rows[-1], last_step, self.limits)
        return self.jerk.ahead(np.concatenate([rows[1:], rest]))

    @property
    def velocity_scale(self) -> float:
        """The factor on the velocity limit for the next step, rising to 1 (soft start)."""
        return float(soft_start_scale(self.player.step, self.soft_start_ticks))

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
            command=self._measured if self.row is None else self.row,
            history=self._history,
            lower=self.limits.lower,
            upper=self.limits.upper,
            max_step=self.limits.max_step,
            max_bend=self.limits.max_bend,
            turn=self.limits.turn,
            last_step=self.last_step,
            coherent=self.limits.coherent,
            soft_start_ticks=self.soft_start_ticks,
            chunk_epoch=NO_STEP if chunk is None else chunk.epoch,
            chunk_seq=NO_STEP if chunk is None else chunk.seq,
            chunk_origin_step=NO_STEP if chunk is None else chunk.origin_step,
            seen_epoch=NO_STEP if seen is None else seen[0],
            seen_seq=NO_STEP if seen is None else seen[1],
            swap_step=NO_STEP if swap is None else swap.step,
            swap_tick=NO_STEP if swap is None else swap.tick,
            swaps=player.swaps,
        )
