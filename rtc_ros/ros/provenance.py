"""What was executed at each step and why, as standard messages: people, plots and bags read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.chunk_player import Swap
from rtc_ros.core.command import Command
from rtc_ros.core.set_points import Motion, motion_text
from rtc_ros.core.settings import RtcSettings, task_mark
from rtc_ros.ros.diagnostics import OK, Report, status

FIELDS = (
    "rtc/step",
    "rtc/tick",
    "rtc/row",
    "rtc/origin_step",
    "rtc/chunk_epoch",
    "rtc/chunk_seq",
    "rtc/step_epoch",
    "rtc/limited",
    "rtc/lateness_us",
    "rtc/mode",
    "rtc/points",
    "rtc/unsent",
    "rtc/sending_us",
)
"""What follows the joints in an ``executed`` message, as if they were joints: plotting tools show
them beside the motion. -1 stands for "there is none"."""


def duration(seconds: float) -> Duration:
    """Return ``seconds`` as a ROS duration."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def executed_message(
    command: Command,
    joints: Sequence[str],
    step_epoch: int,
    late_s: float,
    stamp: Any,
    unsent: int = 0,
    sending_s: float = 0.0,
) -> JointState:
    """Return one tick's command with where it came from (docs/interface.md, ``~/executed``).

    ``unsent``: of its set points; sending one of the others took up to ``sending_s``.
    """
    played, chunk = command.played, command.played.chunk
    nothing = [float("nan")] * len(joints)
    row = nothing if command.row is None else command.row.tolist()
    message = JointState(name=[*joints, *FIELDS])
    message.header.stamp = stamp
    message.header.frame_id = command.reason
    message.position = row + [
        float(played.step),
        float(played.tick),
        float(played.row),
        float(NO_STEP if chunk is None else chunk.origin_step),
        float(NO_STEP if chunk is None else chunk.epoch),
        float(NO_STEP if chunk is None else chunk.seq),
        float(step_epoch),
        float(command.limited),
        late_s * 1e6,
        float(command.mode),
        float(len(command.points) if command.sends and command.points is not None else 0),
        float(unsent),
        sending_s * 1e6,
    ]
    wanted = row if command.wanted is None else command.wanted.tolist()
    message.velocity = wanted + [0.0] * len(FIELDS)
    return message


def swap_message(swap: Swap, node_name: str) -> DiagnosticStatus:
    """Return a seam (docs/interface.md, ``~/swap``)."""
    chunk, previous = swap.chunk, swap.previous
    return status(
        "swap",
        Report(
            OK,
            f"chunk {chunk.seq} from step {swap.step}, row {swap.row}",
            {
                "step": swap.step,
                "tick": swap.tick,
                "row": swap.row,
                "origin_step": chunk.origin_step,
                "chunk_epoch": chunk.epoch,
                "chunk_seq": chunk.seq,
                "previous_epoch": NO_STEP if previous is None else previous.epoch,
                "previous_seq": NO_STEP if previous is None else previous.seq,
                "previous_row": swap.previous_row,
                "delay_forecast": chunk.delay,
                "delay_observed": swap.delay,
                "stride": chunk.stride,
                "guided": int(chunk.guided),
                "step_epoch": chunk.step_epoch,
                "held_ticks": swap.held_ticks,
            },
        ),
        node_name,
    )


@dataclass(frozen=True)
class ChunkSource:
    """What a chunk was made of: enough to make it again from a recording.

    ``start_step`` is the next step to execute when the inference began, ``previous`` the chunk
    it continues. The stamps are those of the images (in the order of the cameras) and of the
    joint states (of each joint) [ns]. Of the task a mark is said; the sentence is in the settings.
    ``points`` is the controller's m, and ``motion``, where that is more than 1, where the motion
    was then: what will be executed depends on it.
    """

    seed: int
    start_step: int
    previous: tuple[int, int] | None
    velocity_scale: float
    settings: RtcSettings
    image_stamps: tuple[int, ...]
    joint_stamps: tuple[int, ...]
    task: str
    points: int = 1
    motion: Motion | None = None

    def __str__(self) -> str:
        """Return it as key=value fields."""
        used = self.settings
        stamps = self.joint_stamps
        if len(set(stamps)) == 1:
            stamps = stamps[:1]  # one driver for all joints
        fields = {
            "seed": self.seed,
            "start_step": self.start_step,
            "previous": "none" if self.previous is None else "{}:{}".format(*self.previous),
            "velocity_scale": repr(float(self.velocity_scale)),
            **self._between(),
            "strategy": used.strategy,
            "schedule": used.mask_schedule,
            "beta": repr(float(used.beta)),
            "sigma_d": repr(float(used.sigma_d)),
            "jacobian": used.jacobian,
            "num_steps": used.num_steps,
            "decay": repr(float(used.ensemble_decay)),
            "average_new": repr(float(used.average_new)),
            "candidates": used.bid_candidates,
            "contrast": used.bid_contrast,
            **({"filter_cutoff": repr(float(used.filter_cutoff))} if used.filter_cutoff else {}),
            "task": task_mark(self.task),
            "images": ",".join(str(s) for s in self.image_stamps) or "none",
            "joints": ",".join(str(s) for s in stamps) or "none",
        }
        return " ".join(f"{key}={value}" for key, value in fields.items())

    def _between(self) -> dict[str, object]:
        """Return the fields about set points between the rows, none where there are none."""
        if self.points == 1 or self.motion is None:
            return {}
        return {"points": self.points, "motion": motion_text(self.motion)}


def chunk_message(
    chunk: ActionChunk,
    joints: Sequence[str],
    period_s: float,
    row_0: Any,
    latency_ms: float,
    source: ChunkSource,
) -> JointTrajectory:
    """Return a chunk (docs/interface.md, ``~/chunk``); ``row_0`` is the ROS time of row 0."""
    message = JointTrajectory(joint_names=list(joints))
    message.header.stamp = row_0
    message.header.frame_id = (
        f"epoch={chunk.epoch} seq={chunk.seq} origin_step={chunk.origin_step} "
        f"step_epoch={chunk.step_epoch} rows={chunk.rows} delay={chunk.delay} "
        f"stride={chunk.stride} guided={int(chunk.guided)} latency_ms={latency_ms:.1f} {source}"
    )
    message.points = [
        JointTrajectoryPoint(positions=row.tolist(), time_from_start=duration(i * period_s))
        for i, row in enumerate(chunk.actions)
    ]
    return message
