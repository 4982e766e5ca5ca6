"""The controller without ROS and without a clock: ``step(settings, state, inputs)``.

Whatever ends the motion (no row left, a fault, a guard, a stop), the commands slow down to rest
within the limits while k stands still; from then on nothing is sent until motion begins again.
It begins at the last command where the arm still stands there. Where it was moved, a guard has
closed the gate, and ``start`` begins a new run of the step count at the measured pose: no chunk
from before it can move the arm. The first command then lies within one (softened) velocity step of
that pose, and the velocity limit rises to its full value over ``soft_start_ticks``.

States are frozen: taking a decision back is dropping the new state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.chunk_player import ChunkPlayer, Offer, PlayedStep
from rtc_ros.core.command import HOLD, REASONS, Command
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.core.frozen import changed
from rtc_ros.core.guards import GOOD, Arm, Guards, Verdict, Watched
from rtc_ros.core.jerk import RowMean, jerk_window
from rtc_ros.core.limits import BRAKE_ROWS, JointLimits, soft_start_scale
from rtc_ros.core.set_points import Motion, SetPoints

CONTROL_POINTS = 4
"""Targets that a state keeps: the curve that a trajectory driver is on depends on so many."""


@dataclass(frozen=True, eq=False)
class ControllerSettings:
    """What doesn't change while a controller lives.

    ``soft_start_ticks``: until the full velocity limit holds, 0 for at once. ``guards``: None
    where there is no arm that could be elsewhere (a simulation in this process). ``points``: m,
    the set points of a period.

    Raises:
        ValueError: a jerk limit without acceleration or velocity limit; no such ``points``.
    """

    limits: JointLimits
    soft_start_ticks: int = 0
    guards: Guards | None = None
    points: int = 1
    path: SetPoints = field(init=False)
    window: int = field(init=False)
    """Set points in each command: the jerk limit's mean."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", SetPoints(self.limits, self.points))
        object.__setattr__(self, "window", jerk_window(self.path.limits))

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.limits.lower)


@dataclass(frozen=True, eq=False)
class ControllerState:
    """All that a tick changes; arrays are never written to.

    ``pose`` [A] is where the run begins as long as nothing was commanded (``row`` None).
    ``row`` [A] is the last executed or braking row, ``last_step`` [A] the change from the set
    point before it, ``last_bend`` [A] the change of that, ``mean`` what the jerk limit makes of
    the last set points, ``targets`` [CONTROL_POINTS, A] what went out at the end of the last
    periods, the newest last. ``history`` is the cursor's. ``problem`` says why motion is held or
    why a guard closed the gate. ``rest_ns`` is when a hold had braked the arm to rest, 0 while
    there is motion. ``ready_ns`` is since when motion only waits for news of the arm, 0 while it
    doesn't.
    """

    mode: Mode
    player: ChunkPlayer
    pose: np.ndarray
    last_step: np.ndarray
    last_bend: np.ndarray
    mean: RowMean
    targets: np.ndarray
    history: np.ndarray
    row: np.ndarray | None = None
    problem: str = ""
    last_problem: str = ""
    rest_ns: int = 0
    ready_ns: int = 0
    watched: Watched = field(default_factory=Watched)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether the gate is closed."""
        return self.mode in (Mode.STOPPED, Mode.LATCHED)

    @property
    def motion(self) -> Motion:
        """Where the next set points go on from."""
        at = self.pose if self.row is None else self.row
        return Motion(at, self.last_step, self.last_bend)

    @property
    def target(self) -> np.ndarray | None:
        """What went out last [A], None where nothing did in this run."""
        return None if self.row is None else self.targets[-1]

    @property
    def starved(self) -> bool:
        """Whether no row is left to execute: the next tick holds, unless a chunk waits."""
        chunk = self.player.current
        return chunk is None or chunk.row_of(self.player.step) is None


@dataclass(frozen=True)
class Inputs:
    """What a tick hears: a ``chunk`` to offer, where the ``arm`` is, and what was missed.

    For ``stalled_s`` until ``now_ns`` nobody was told anything (0: no deadline was missed): the
    arm stands where it was last told. For ``unheard_s`` nobody heard of an arm that is held.
    ``hold`` says why motion doesn't go on in this tick, "" where it does;
    nothing is wrong then.
    """

    chunk: ActionChunk | None = None
    arm: Arm | None = None
    stalled_s: float = 0.0
    now_ns: int = 0
    unheard_s: float = 0.0
    hold: str = ""


NOTHING = Inputs()


def stopped(settings: ControllerSettings) -> ControllerState:
    """Return the state of a controller that was never started."""
    nowhere = np.zeros(settings.action_dim)
    return _resting(
        ControllerState(
            Mode.STOPPED, ChunkPlayer(0, len(nowhere)), nowhere, nowhere, nowhere,
            RowMean(nowhere[None]), nowhere[None], np.zeros((HISTORY_ROWS, len(nowhere))),
        ),
        settings,
        nowhere,
    )  # fmt: skip


def step(
    settings: ControllerSettings, state: ControllerState, inputs: Inputs = NOTHING
) -> tuple[ControllerState, Command | None]:
    """Play one control period; None once the gate is closed and the arm at rest."""
    if inputs.stalled_s:
        state = _after_a_stall(settings, state, inputs)
    if inputs.unheard_s and settings.guards is not None and state.mode is not Mode.RUNNING:
        watched = settings.guards.after_a_stall(state.watched, inputs.unheard_s, inputs.now_ns)
        state = changed(state, watched=watched)
    state, verdict = _judged(settings, state, inputs.arm)
    if verdict.close and not state.stopped:
        state = _closed(state, verdict.close)
    if state.stopped:
        state, command = _hold(settings, state)
        return state, command if command.sends else None
    if inputs.chunk is not None:
        state, _ = offer(state, inputs.chunk)
    if verdict.hold or state.problem:
        state = _told(state, verdict.hold)
    if state.problem:
        state = _counted(changed(state, mode=Mode.FAULT), "ticks held: fault")
        state, command = _hold(settings, state)
    elif inputs.hold:
        state, command = _hold(settings, state, reason=inputs.hold)
    else:
        if state.row is None and inputs.arm is not None:
            # An arm that came to rest, or was moved, since ``start`` isn't thrown back.
            state = _resting(state, settings, inputs.arm.pose)
        state, command = _play(settings, state, inputs=inputs)
    if not command.sends and not state.rest_ns:
        state = changed(state, rest_ns=inputs.now_ns or 1)
    return state, command


def follow(
    settings: ControllerSettings, state: ControllerState, ticks: int, playing: bool
) -> tuple[ControllerState, list[Command]]:
    """Go on as a driver did that couldn't be told anything for ``ticks`` periods.

    Where it was ``playing`` a chunk, it went on along it whether the gate was closed meanwhile or
    not, and without a chunk that it wasn't sent; else it went on braking. Ends at rest.
    """
    gate, commands = state.mode, []
    for i in range(ticks):
        if settled(settings, state) and (not playing or state.starved):
            # Its curve depends on how long it was there.
            rest = np.tile(state.targets[-1], (min(ticks - i, CONTROL_POINTS), 1))
            targets = np.concatenate([state.targets, rest])[-CONTROL_POINTS:]
            zero = np.zeros(settings.action_dim)
            state = changed(state, last_step=zero, last_bend=zero, targets=targets)
            break
        state, command = _play(settings, state, swaps=False) if playing else _hold(settings, state)
        commands.append(command)
    if gate in (Mode.STOPPED, Mode.LATCHED):
        state = changed(state, mode=gate)
    return state, commands


def ahead(
    settings: ControllerSettings, state: ControllerState, *, plays: bool = True
) -> np.ndarray:
    """Return what goes out from the last target on if no chunk comes any more, float64[R, A].

    That target first: the rest of the chunk if it ``plays`` on, then down to rest.
    """
    assert state.row is not None, "nothing was commanded yet, so nothing goes on"
    path, chunk, k = settings.path, state.player.current, state.player.step
    motion, points = state.motion, [np.empty((0, settings.action_dim))]
    if plays and state.mode is Mode.RUNNING and chunk is not None and not state.starved:
        first = k - chunk.origin_step
        for i in range(first, chunk.rows):
            scale = float(soft_start_scale(k + i - first, settings.soft_start_ticks))
            points.append(path.play(chunk.actions[: chunk.rows], i, motion, scale))
            motion = motion.after(points[-1])
    for _ in range(BRAKE_ROWS):
        if path.rests(motion.step):
            break
        points.append(path.brake(motion))
        motion = motion.after(points[-1])
    # Whole periods, in which what the mean is late by comes to its end.
    more = -(-(settings.window - 1) // settings.points) * settings.points
    points.append(np.tile(motion.at, (more, 1)))
    _, targets = state.mean.push_all(np.concatenate(points))
    ends = targets[settings.points - 1 :: settings.points]
    return np.concatenate([state.targets[-1:], ends])


def offer(state: ControllerState, chunk: ActionChunk) -> tuple[ControllerState, Offer]:
    """Offer a chunk to the player; what was refused is counted under its reason."""
    player, result = state.player.offer(chunk)
    state = changed(state, player=player)
    if result not in (Offer.TAKEN, Offer.SAME):
        state = _counted(state, f"chunks refused: {result.value}")
    return state, result


def start(
    settings: ControllerSettings, state: ControllerState, epoch: int, measured: np.ndarray
) -> ControllerState:
    """Open the gate and begin the run ``epoch`` at the ``measured`` pose [A].

    Raises:
        ValueError: the pose is not finite or has another size; the arm is still being braked by
            the stop before, or that stop is latched.
    """
    if state.mode is Mode.LATCHED:
        raise ValueError("the stop is latched: clear it first")
    if not settled(settings, state):
        raise ValueError("the arm is still being braked to rest: try again")
    pose, size = np.array(measured, dtype=np.float64), settings.action_dim
    if pose.shape != (size,) or not np.isfinite(pose).all():
        raise ValueError(f"the measured pose is not {size} finite joint positions: {pose}")
    begun = changed(
        state,
        mode=Mode.WAITING,
        player=ChunkPlayer(epoch, size),
        row=None,
        history=np.zeros((HISTORY_ROWS, size)),
        problem="",
        watched=changed(state.watched, lag=None, received_ns=None, lost_ticks=0),
    )
    return _resting(begun, settings, pose)


def stop(state: ControllerState, *, latch: bool = False) -> ControllerState:
    """Close the gate: the arm is braked to rest. ``latch``: only ``clear`` lets it open again."""
    if state.mode is Mode.LATCHED:
        return state
    return changed(state, mode=Mode.LATCHED if latch else Mode.STOPPED, problem="")


def clear(state: ControllerState) -> ControllerState:
    """Lift a latched stop; the gate stays closed."""
    return changed(state, mode=Mode.STOPPED) if state.mode is Mode.LATCHED else state


def settled(settings: ControllerSettings, state: ControllerState) -> bool:
    """Tell whether nothing has to be commanded for the arm to stand still."""
    return state.row is None or (settings.path.rests(state.last_step) and state.mean.settled)


def begin_at(
    settings: ControllerSettings, state: ControllerState, begin: np.ndarray
) -> ControllerState:
    """Be at rest at ``begin`` [A], where the drivers were told to be."""
    return changed(_resting(state, settings, begin), row=begin)


def untold(
    state: ControllerState, before: ControllerState, joints: Sequence[int], *, rests: bool
) -> ControllerState:
    """Take back what ``follow`` said of ``joints`` since ``before``: nobody told them.

    Their rows go on from the last one, within the limits; from rest where the arm ``rests`` there.
    """
    changes = {}
    for name in ("row", "last_step", "last_bend", "targets"):
        changes[name] = np.array(getattr(state, name))
        changes[name][..., joints] = getattr(before, name)[..., joints]
    at, history = before.targets[-1], np.array(state.history)
    for past in range(
        max(before.player.step, state.player.step - HISTORY_ROWS), state.player.step
    ):
        history[past % HISTORY_ROWS, joints] = at[joints]
    mean = state.mean.taking(joints, before.mean)
    if rests:
        changes["row"][joints] = changes["targets"][:, joints] = at[joints]
        changes["last_step"][joints] = changes["last_bend"][joints] = 0.0
        mean = mean.standing(joints, at)
    return changed(state, history=history, mean=mean, **changes)


def cut(
    settings: ControllerSettings,
    state: ControllerState,
    command: Command,
    sent: int,
) -> tuple[ControllerState, Command]:
    """Take back all but the first ``sent`` set points of the last ``command``.

    Nobody was told them: the row that was executed is the last one that was sent. Returns the
    command as it was then, too.
    """
    assert command.path is not None, "nothing was sent"
    assert command.motion is not None and command.mean is not None, "they are set with it"
    path = command.path[:sent]
    motion = command.motion.after(path)
    mean, points = command.mean.push_all(path)
    before = state.targets[-2] if len(state.targets) > 1 else motion.at
    target = points[-1] if sent else before
    row = motion.at
    history = state.history
    if command.executes:
        history = history.copy()
        history[command.played.step % HISTORY_ROWS] = row
    state = _counted(
        state, "periods cut short",
        row=row, last_step=motion.step, last_bend=motion.bend, mean=mean, history=history,
        targets=np.concatenate([state.targets[:-1], target[None]]),
    )  # fmt: skip
    return state, replace(command, target=target, row=row, points=points, path=path)


def cursor(settings: ControllerSettings, state: ControllerState, tick_ns: int) -> CursorState:
    """Return what the inference side needs to know, as of ``tick_ns`` (CLOCK_MONOTONIC)."""
    player, limits, swap = state.player, settings.limits, state.player.last_swap
    chunk, seen = player.current, player.seen
    return CursorState.of(
        {
            "epoch": player.epoch,
            "step": player.step,
            "tick": player.tick_count,
            "still_ticks": player.still_ticks,
            "tick_ns": tick_ns,
            "mode": state.mode,
            "command": state.pose if state.row is None else state.row,
            "history": state.history,
            "lower": limits.lower,
            "upper": limits.upper,
            "max_step": limits.max_step,
            "max_bend": limits.max_bend,
            "turn": limits.turn,
            "last_step": state.last_step,
            "last_bend": state.last_bend,
            "points": settings.points,
            "coherent": limits.coherent,
            "soft_start_ticks": settings.soft_start_ticks,
            "chunk_epoch": NO_STEP if chunk is None else chunk.epoch,
            "chunk_seq": NO_STEP if chunk is None else chunk.seq,
            "chunk_origin_step": NO_STEP if chunk is None else chunk.origin_step,
            "seen_epoch": NO_STEP if seen is None else seen[0],
            "seen_seq": NO_STEP if seen is None else seen[1],
            "swap_step": NO_STEP if swap is None else swap.step,
            "swap_tick": NO_STEP if swap is None else swap.tick,
            "swap_still": NO_STEP if swap is None else swap.still_ticks,
            "swaps": player.swaps,
        }
    )


class Controller:
    """Holds the state for whoever steps it: the tick, simulations, replay.

    ``tick`` is ``step``; everything else is the function of that name.
    """

    def __init__(
        self,
        limits: JointLimits,
        soft_start_ticks: int = 0,
        guards: Guards | None = None,
        points: int = 1,
    ) -> None:
        self.settings = ControllerSettings(limits, soft_start_ticks, guards, points)
        self.state = stopped(self.settings)

    def start(self, epoch: int, measured: np.ndarray) -> None:
        """Open the gate at the ``measured`` pose [A]."""
        self.state = start(self.settings, self.state, epoch, measured)

    def stop(self, *, latch: bool = False) -> None:
        """Close it."""
        self.state = stop(self.state, latch=latch)

    def clear(self) -> None:
        """Lift a latched stop."""
        self.state = clear(self.state)

    def offer(self, chunk: ActionChunk) -> Offer:
        """Offer a chunk."""
        self.state, result = offer(self.state, chunk)
        return result

    def tick(self, inputs: Inputs = NOTHING) -> Command | None:
        """Play one control period."""
        self.state, command = step(self.settings, self.state, inputs)
        return command

    def close(self, problem: str) -> None:
        """Close the gate because of ``problem``, where it isn't closed."""
        if not self.state.stopped:
            self.state = _closed(self.state, problem)

    @property
    def settled(self) -> bool:
        """Whether nothing has to be commanded for the arm to stand still."""
        return settled(self.settings, self.state)

    @property
    def still_moves(self) -> str:
        """Why the arm isn't known to stand still; "" where it is, or nobody watches it."""
        guards = self.settings.guards
        return "" if guards is None else guards.moves(self.state.watched)

    def cursor(self, tick_ns: int) -> CursorState:
        """Return what the inference side needs to know."""
        return cursor(self.settings, self.state, tick_ns)


# ---------------------------------------------------------------------------- parts of a step


def _after_a_stall(
    settings: ControllerSettings, state: ControllerState, inputs: Inputs
) -> ControllerState:
    """Begin from rest again: a driver that is told nothing stands where it was last told."""
    if state.row is not None:
        state = begin_at(settings, state, state.targets[-1])
    if settings.guards is None:
        return state
    watched = settings.guards.after_a_stall(state.watched, inputs.stalled_s, inputs.now_ns)
    return changed(state, watched=watched)


def _judged(
    settings: ControllerSettings, state: ControllerState, arm: Arm | None
) -> tuple[ControllerState, Verdict]:
    if settings.guards is None or arm is None:
        return state, GOOD
    commands = None if state.stopped or state.row is None else state.targets
    moving = state.mode is Mode.RUNNING
    watched, verdict = settings.guards.judge(state.watched, arm, commands, moving)
    return changed(state, watched=watched), verdict


def _told(state: ControllerState, problem: str) -> ControllerState:
    """Hold because of ``problem``, or go on where it is empty."""
    if problem and not state.problem:
        state = _counted(state, "faults")
    return changed(state, problem=problem, last_problem=problem or state.last_problem)


def _closed(state: ControllerState, problem: str) -> ControllerState:
    """Close the gate because of ``problem``: only ``start`` opens it again."""
    return _counted(
        changed(state, mode=Mode.STOPPED, problem=problem, last_problem=problem),
        "gate closed by a guard",
    )


def _resting(
    state: ControllerState, settings: ControllerSettings, pose: np.ndarray
) -> ControllerState:
    """Be at rest at ``pose`` [A], whatever was before."""
    return changed(
        state,
        pose=pose,
        last_step=np.zeros(len(pose)),
        last_bend=np.zeros(len(pose)),
        mean=RowMean.resting(pose, settings.window),
        targets=np.tile(pose, (CONTROL_POINTS, 1)),
    )


def _play(
    settings: ControllerSettings,
    state: ControllerState,
    *,
    swaps: bool = True,
    inputs: Inputs = NOTHING,
) -> tuple[ControllerState, Command]:
    """Execute the next row within the limits, or brake where there is none."""
    guards, arm = settings.guards, inputs.arm
    scale = float(soft_start_scale(state.player.step, settings.soft_start_ticks))
    player, played = state.player.tick(swaps=swaps)
    before = state
    if played.action is None:
        mode = Mode.WAITING if player.current is None else Mode.STARVED
        held = changed(state, mode=mode, player=player)
        return _hold(settings, _counted(held, f"ticks held: {mode.name.lower()}"), played)
    # A policy that stands for a moment goes on moving, as the driver that has its chunk does.
    stood = state.mode is not Mode.RUNNING or inputs.stalled_s > 0 or state.ready_ns > 0
    begins = stood and not state.last_step.any() and settled(settings, state)
    if begins and arm is not None and guards is not None:
        ready_ns = state.ready_ns
        if joint := guards.unheard_of(arm, inputs.now_ns, ready_ns):
            state, command = _hold(settings, state, reason=f"until {joint} is heard of")
            return changed(state, ready_ns=ready_ns or inputs.now_ns), command
        # It stood when ~/start was called. What it did since is no place to begin at.
        if state.row is None and (moves := guards.may_begin(state.watched)):
            return _hold(settings, state, reason=f"until the arm stands, to begin there: {moves}")
    if state.mode is not Mode.RUNNING and arm is not None:
        begin = _beginning(settings, state, arm)
        if begin is None:
            return _hold(settings, state, reason="until the arm is seen at rest, to begin there")
        state = begin
    motion, chunk = state.motion, played.chunk
    assert chunk is not None, "there is a row to play"
    path = settings.path.play(chunk.actions[: chunk.rows], played.row, motion, scale)
    row = path[-1]
    limited = int((row != settings.limits.nearest(played.action, motion.at)).sum())
    history = state.history.copy()
    history[played.step % HISTORY_ROWS] = row
    names = ("steps", "steps limited") if limited else ("steps",)
    mean, points = state.mean.push_all(path)
    target = points[-1]
    if not np.isfinite(points).all():
        problem = f"the limits made {target} of row {played.row} of chunk {chunk.seq}"
        return _hold(settings, _closed(before, problem))
    after = motion.after(path)
    began, reason = state.mean, REASONS[Mode.RUNNING]
    state = _counted(
        state, *names,
        mode=Mode.RUNNING, player=player, row=row, last_step=after.step, last_bend=after.bend,
        history=history, rest_ns=0, ready_ns=0, mean=mean,
        targets=np.concatenate([state.targets[1:], target[None]]),
    )  # fmt: skip
    return state, Command(
        target, row, played.action, limited, state.mode, played, reason, True,
        points, path, motion, began,
    )  # fmt: skip


def _beginning(
    settings: ControllerSettings, state: ControllerState, arm: Arm
) -> ControllerState | None:
    """Begin beside the arm, where it gave way while it was held; None: it has to rest first.

    As much of a run that has executed nothing yet, once its drivers were told where to rest.
    """
    if settings.guards is None or state.row is None:
        return state
    begin = settings.guards.beside(state.watched, arm, state.targets[-1])
    if (begin == state.targets[-1]).all():
        return state
    if settled(settings, state):
        # Only where it stands, and was seen since: it may still come to its command by itself.
        came_ns = state.rest_ns + round(settings.guards.comes_within_s * 1e9)
        seen = state.rest_ns and (arm.received_ns > came_ns).all()
        if not seen or settings.guards.moves(state.watched):
            return None
        return begin_at(settings, state, begin)
    # It was sent something at each tick, so the motion never ended; unless the arm left it.
    gave_way = np.abs(begin - state.targets[-1]) > settings.limits.max_step
    return None if gave_way.any() else state


def _hold(
    settings: ControllerSettings,
    state: ControllerState,
    played: PlayedStep | None = None,
    reason: str = "",
) -> tuple[ControllerState, Command]:
    """Brake by one step, or stay; an arm at rest is sent nothing."""
    sends, reason = not settled(settings, state), state.problem or reason
    reason = f"{HOLD}{reason}" if reason else REASONS[state.mode]
    player = state.player
    if played is None:
        player, played = player.still()
    state = changed(state, ready_ns=0, player=player)
    if state.row is None:
        return state, Command(None, None, None, 0, state.mode, played, reason, False)
    motion, began = state.motion, state.mean
    path = settings.path.brake(motion) if sends else np.tile(state.row, (settings.points, 1))
    mean, points = state.mean.push_all(path)
    row, target, after = path[-1], points[-1], motion.after(path)
    state = changed(
        state, row=row, last_step=after.step, last_bend=after.bend, mean=mean,
        targets=np.concatenate([state.targets[1:], target[None]]),
    )  # fmt: skip
    return state, Command(
        target, row, None, 0, state.mode, played, reason, sends, points, path, motion, began
    )


def _counted(state: ControllerState, *names: str, **fields: Any) -> ControllerState:
    """Count ``names``, and change some other ``fields`` with them."""
    counts = dict(state.counts)
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return changed(state, counts=counts, **fields)
