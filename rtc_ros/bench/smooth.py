"""`rtc_ros bench smooth`: what set points between the rows do to the simulated arms.

The policy moves the arms once, at 50 Hz with Real-Time Chunking; what was executed, seams and all,
is every rate's path: each row for 50 Hz, every second one for 25 Hz, every fifth for 10 Hz. The
controller plays them to the arms, whose physics go by 2 ms, as one command per row and as set
points. So everything but what is sent between two rows is the same.

The arms touch nothing then: contacts are off. Jerk and torque are those of the twelve arm joints,
RMS over all of them and the whole motion. The lag is that of the joints behind the 50 Hz path, the
error what is left beside it; `told` is how far the joints are from what the driver was told last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtc_ros.command_line import SECONDS, tool, whole
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.run_logger import RunLogger
from rtc_ros.core.controller import Controller
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.protocol import Policy

if TYPE_CHECKING:
    from rtc_ros.sim.robot import AlohaCube

ROW_S = 0.02
PHYSICS_S = 0.002
STRIDES = (1, 2, 5)
RATES_HZ = (0, 250, 500)
"""Commands per second; 0: one per row."""
_LONGEST_LAG_S = 0.25


@dataclass(frozen=True)
class Figures:
    """What one way of sending did: SI units, radians; ``jerk_ratio`` to one command per row."""

    policy_hz: float
    command_hz: float
    jerk: float
    jerk_ratio: float
    torque: float
    torque_rate: float
    told_error: float
    lag_s: float
    path_error: float


@dataclass(frozen=True, eq=False)
class Motion:
    """Every 2 ms: where the joints were, what moved them, and what they were told, [N, 12]."""

    position: np.ndarray
    acceleration: np.ndarray
    torque: np.ndarray
    told: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table; 2 where an option can't be used."""
    parser = tool("bench smooth", __doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", type=path_text, default="package:aloha_cube")
    add("--seconds", type=SECONDS, default=20.0, help="of motion")
    add("--delay", type=whole(0), default=12, help="d of the policy's run at 50 Hz")
    add("--seed", type=int, default=0)
    add("--rows", type=a_path, help="a .npz with the rows: written, or read where it is there")
    add("--max-acceleration", type=float, default=np.inf, help="limit of all joints [rad/s²]")
    add("--figure", type=a_path, help="write a picture here (.png)")
    add("--json", type=a_path, help="write the figures here")
    options = parser.parse_args(argv)
    try:
        rows = _rows(options)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"bench smooth: {error}", file=sys.stderr)
        return 2
    motions = {
        (stride, hz): played(rows, stride, hz, options.max_acceleration, options.seed)
        for stride in STRIDES
        for hz in RATES_HZ
    }
    found = figures(rows, motions)
    print(table(found), end="")
    if options.json:
        options.json.write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n")
    if options.figure:
        picture(rows, motions, options.figure)
    return 0


def _rows(options: Any) -> np.ndarray:
    if options.rows and options.rows.exists():
        return np.asarray(np.load(options.rows)["rows"])
    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path

    policy = FlowAdapter.load(checkpoint_path(options.checkpoint), torch_threads=1)
    rows = executed(policy, round(options.seconds / ROW_S), options.delay, options.seed)
    if options.rows:
        np.savez(options.rows, rows=rows)
    return rows


def executed(policy: Policy, ticks: int, delay: int, seed: int) -> np.ndarray:
    """Let the policy move the arms at 50 Hz; return the rows that were executed, [N, 14]."""
    from rtc_ros.sim.cameras import Cameras, choose_gl

    choose_gl()
    from rtc_ros.sim.demonstrations import POLICY_IMAGE
    from rtc_ros.sim.evaluate import begin_episode
    from rtc_ros.sim.robot import JOINT_NAMES, AlohaCube

    robot = AlohaCube(seed=seed)
    settings = RtcSettings(s_min=15, beta=10.0, sigma_d=0.4, schedule="linear")
    rows: list[np.ndarray] = []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        noise, logger = 1000 * seed, RunLogger(JOINT_NAMES)
        run = begin_episode(policy, settings, delay, robot, cameras, noise, logger, 1)
        for _ in range(ticks):
            command = run.tick()
            if command.executes and command.row is not None:
                robot.command(command.row)
                rows.append(command.row)
            robot.step()
            if robot.task_state().done:
                robot.new_cube()
    return np.array(rows)


def free_arms(pose: np.ndarray, seed: int = 0) -> tuple[AlohaCube, list[int]]:
    """Return arms at ``pose`` [14] that touch nothing, and which joints aren't fingers."""
    import mujoco

    from rtc_ros.sim.robot import GRIPPERS, AlohaCube

    robot = AlohaCube(seed=seed)
    # Knocks against cube and table are the task's, whatever is sent.
    robot.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    robot.reset(pose=pose)
    return robot, [j for j in range(len(pose)) if j not in GRIPPERS]


def played(
    rows: np.ndarray, stride: int, command_hz: float, max_acceleration: float, seed: int
) -> Motion:
    """Play every ``stride``-th of ``rows`` [N, 14] to the arms, which touch nothing."""
    period_s = ROW_S * stride
    points = round(command_hz * period_s) or 1
    dim = rows.shape[1]
    limits = JointLimits.from_velocity(
        [-np.inf] * dim, [np.inf] * dim, [5.0] * dim, period_s,
        [max_acceleration] * dim,
    )  # fmt: skip
    robot, arms = free_arms(rows[0], seed)
    controller = Controller(limits, points=points)
    controller.start(1, rows[0])
    wanted = rows[::stride]
    controller.offer(ActionChunk(wanted, 0, step_epoch=1, epoch=1, seq=1))
    steps = round(period_s / PHYSICS_S)
    # As the node sends them: a row at its tick, set points one m-th of a period later.
    at = np.arange(points) * steps // points + (steps // points if points > 1 else 0)
    due: dict[int, np.ndarray] = {}
    record: list[np.ndarray] = []
    for tick in range(len(wanted)):
        command = controller.tick()
        assert command is not None and command.points is not None, "there are rows to play"
        due.update({tick * steps + int(i): p for i, p in zip(at, command.points, strict=True)})
        for step in range(tick * steps, (tick + 1) * steps):
            if step in due:
                robot.command(due.pop(step))
            told = robot.targets()
            robot.step(1)
            values = (robot.positions(), robot.accelerations(), robot.torques(), told)
            record.append(np.array(values)[:, arms])
    return Motion(*np.moveaxis(np.array(record), 1, 0))


def figures(rows: np.ndarray, motions: dict[tuple[int, int], Motion]) -> list[Figures]:
    """Return the figures of each motion."""
    from rtc_ros.sim.robot import GRIPPERS

    arms = [j for j in range(rows.shape[1]) if j not in GRIPPERS]
    at_s = np.arange(len(rows)) * ROW_S
    found: list[Figures] = []
    for (stride, hz), motion in motions.items():
        skip = round(1.0 / PHYSICS_S)  # the beginning: from rest at the first row

        def rms(values: np.ndarray, skip: int = skip) -> float:
            return float(np.sqrt((values[skip:] ** 2).mean()))

        times = np.arange(len(motion.position)) * PHYSICS_S
        jerk = rms(np.diff(motion.acceleration, axis=0) / PHYSICS_S)
        lags = np.arange(0, _LONGEST_LAG_S, PHYSICS_S)
        errors = []
        for lag in lags:
            path = [np.interp(times - lag, at_s, rows[:, j]) for j in arms]
            errors.append(rms(motion.position - np.array(path).T))
        best = int(np.argmin(errors))
        of_rows = next((f.jerk for f in found if f.policy_hz == 1 / (ROW_S * stride)), jerk)
        found.append(
            Figures(
                1 / (ROW_S * stride), hz, jerk, jerk / of_rows, rms(motion.torque),
                rms(np.diff(motion.torque, axis=0) / PHYSICS_S),
                rms(motion.told - motion.position), float(lags[best]), errors[best],
            )
        )  # fmt: skip
    return found


def table(found: Sequence[Figures]) -> str:
    """Return them as a table."""
    lines = [
        "| policy [Hz] | commands [Hz] | joint jerk RMS [rad/s³] | of one per row | torque RMS "
        "[Nm] | its change RMS [Nm/s] | from what was told RMS [mrad] | lag [ms] "
        "| beside the path RMS [mrad] |",
        "|" + "---|" * 9,
    ]
    for f in found:
        sent = f"{f.command_hz:g}" if f.command_hz else f"{f.policy_hz:g}, the rows"
        lines.append(
            f"| {f.policy_hz:g} | {sent} | {f.jerk:.0f} | {f.jerk_ratio:.3f} | {f.torque:.2f} "
            f"| {f.torque_rate:.0f} | {f.told_error * 1e3:.1f} | {f.lag_s * 1e3:.0f} "
            f"| {f.path_error * 1e3:.1f} |"
        )
    return "\n".join(lines) + "\n"


def picture(rows: np.ndarray, motions: dict[tuple[int, int], Motion], path: Path) -> None:
    """Draw half a second of the joint that moves most at 25 Hz: told, gone, its acceleration."""
    from matplotlib.figure import Figure

    stride = 2
    shown = [(0, "one command per row", "#d55e00"), (250, "set points at 250 Hz", "#0072b2")]
    told = motions[stride, 0].told
    width = round(0.6 / PHYSICS_S)
    travel = np.abs(told[width:] - told[:-width])
    first, joint = np.unravel_index(int(np.argmax(travel)), travel.shape)
    part = slice(int(first), int(first) + width)
    times = np.arange(width) * PHYSICS_S
    figure = Figure(figsize=(10, 7.5), facecolor="white", layout="constrained")
    axes = figure.subplots(3, 1)
    for hz, name, colour in shown:
        motion = motions[stride, hz]
        axes[0].step(times, motion.told[part, joint], where="post", color=colour, lw=1.2,
                     label=f"told: {name}")  # fmt: skip
        axes[0].plot(times, motion.position[part, joint], color=colour, lw=1.0, ls="--",
                     label="the joint")  # fmt: skip
        axes[1].plot(times, motion.acceleration[part, joint], color=colour, lw=1.0)
        spectrum = np.abs(np.fft.rfft(motion.acceleration, axis=0)).mean(axis=1)
        hertz = np.fft.rfftfreq(len(motion.acceleration), PHYSICS_S)
        smooth = np.convolve(spectrum, np.ones(25) / 25, "same")
        axes[2].semilogy(hertz, smooth, color=colour, lw=1.0, label=name)
    axes[0].set_ylabel("position [rad]")
    axes[0].legend(fontsize=8, frameon=False)
    axes[1].set_ylabel("joint acceleration [rad/s²]")
    axes[1].set_xlabel("time [s]")
    axes[2].axvline(1 / (ROW_S * stride), color="0.6", lw=0.8)
    axes[2].set_xlabel("frequency [Hz]; the line is the policy's rate")
    axes[2].set_ylabel("acceleration, all joints")
    axes[2].legend(fontsize=8, frameon=False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
