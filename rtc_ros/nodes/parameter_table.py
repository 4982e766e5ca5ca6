"""Every ROS parameter of the two nodes: what declares them, and what writes their page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rtc_ros.core.prefix import SCHEDULES
from rtc_ros.core.settings import ANCHORS, COUNT_FROM, JACOBIANS, RtcSettings
from rtc_ros.core.strategies import STRATEGIES


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``default`` also fixes the type; an empty tuple of strings is ``[""]``.

    ``low``/``high`` bound numbers (inclusive). ``live`` says that it may change while the node
    runs, ``reload`` that it may change while the node is unconfigured; all others are read-only.
    ``choices`` are the words that are allowed.
    """

    name: str
    default: Any
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    reload: bool = False


_RTC = RtcSettings()

UNSET = [math.nan]
"""The default of numbers that must be set: there is no safe guess."""

COMMON = (
    Parameter(
        "joints",
        [""],
        "The joints that the policy commands, in the order of its action vector. Must be set.",
    ),
    Parameter("control_period", 0.02, "Δt: one action is executed per period.", "s", 0.001, 1.0),
    Parameter(
        "handoff_name",
        "rtc_ros",
        "Names the shared memory between the two nodes, followed by their namespace; give each "
        "robot on a machine one or the other of its own.",
    ),
    Parameter(
        "joint_state_topics",
        ["joint_states"],
        "Where sensor_msgs/JointState comes from; joints are matched by name over all topics.",
    ),
    Parameter(
        "joint_state_prefixes",
        [""],
        "One for each of joint_state_topics, put before the names there: for arms that call their "
        "joints the same. Empty: the names as they are.",
    ),
    Parameter(
        "joint_state_timeout",
        0.5,
        "Joint states older than this are stale: the controller holds, no inference starts.",
        "s",
        0.01,
        60.0,
    ),
)

INFERENCE = (
    Parameter(
        "policy_path",
        "",
        "Folder of a LeRobot SmolVLA checkpoint, or `package:NAME` for one that ships with "
        "rtc_ros. Must be set.",
        reload=True,
    ),
    Parameter(
        "backbone_path",
        "",
        "Folder of the vision-language backbone's configuration and tokenizer. Empty: the "
        "checkpoint's `backbone` folder, else what its configuration names.",
        reload=True,
    ),
    Parameter(
        "weak_policy_path",
        "",
        "Folder of a weaker checkpoint of the same shape, an early one of the same training, for "
        "the forward contrast of `bid`. Empty: none.",
        reload=True,
    ),
    Parameter("device", "auto", "Torch device: auto, cpu, cuda, cuda:0 …", reload=True),
    Parameter(
        "dtype",
        "float32",
        "Precision of the network; guidance is always computed in float32.",
        choices=("float32", "bfloat16", "checkpoint"),
        reload=True,
    ),
    Parameter(
        "fast",
        True,
        "Compute the policy by the package's fast path where its numbers are LeRobot's (checked "
        "while warming up); false: by LeRobot's own code.",
        reload=True,
    ),
    Parameter(
        "torch_threads",
        0,
        "Threads for torch on the CPU; 0 leaves torch's own.",
        "",
        0,
        256,
        reload=True,
    ),
    Parameter(
        "seed",
        -1,
        "Seed of the noise; -1 takes new noise for each chunk.",
        "",
        -1,
        2**31,
        reload=True,
    ),
    Parameter(
        "cameras",
        [""],
        "Names of the cameras. Each has the parameters camera.NAME.topic, camera.NAME.transport "
        "and camera.NAME.feature.",
    ),
    Parameter(
        "camera_timeout",
        0.5,
        "Images older than this are stale: no inference starts.",
        "s",
        0.01,
        60.0,
    ),
    Parameter(
        "joint_scale",
        [1.0],
        "Per joint, or one for all: policy value = joint_scale × robot value + joint_offset "
        "(57.2957795 where the policy speaks degrees).",
    ),
    Parameter("joint_offset", [0.0], "See joint_scale.", "policy units"),
    Parameter(
        "state_joints",
        [""],
        "The joints of the policy's observation.state, in its order, where they aren't `joints`: "
        "a gripper's actions may have been recorded as the motor's angle and its state as the "
        "fingers' place. Names as in joint_state_topics, after the prefixes. Empty: `joints`.",
    ),
    Parameter(
        "state_scale",
        UNSET,
        "Of state_joints: policy value = state_scale × robot value + state_offset. Not set, or "
        ".nan for a joint: joint_scale and joint_offset.",
    ),
    Parameter("state_offset", UNSET, "See state_scale.", "policy units"),
    Parameter(
        "delay_window",
        10,
        "b: delays that Q remembers; d is their maximum.",
        "",
        1,
        1000,
        reload=True,
    ),
    Parameter(
        "initial_delay",
        -1,
        "Forecast d until a delay was observed; -1 takes it from the warm-up's inferences.",
        "steps",
        -1,
        1000,
        reload=True,
    ),
    Parameter(
        "memory_warning",
        0.9,
        "Share of the machine's, or of the GPU's, memory in use above which /diagnostics warns.",
        "",
        0.0,
        1.0,
    ),
    Parameter(
        "autostart",
        True,
        "Configure and activate at once; false leaves the lifecycle to a manager.",
    ),
    Parameter(
        "s_min",
        _RTC.s_min,
        "Least number of actions executed between two inference starts; s = max(d, s_min) and "
        "d ≤ s ≤ H − d. (Not LeRobot's execution_horizon, which is where its mask ends: H − s.)",
        "steps",
        1,
        10000,
        live=True,
    ),
    Parameter(
        "beta",
        _RTC.beta,
        "β: the guidance weight is clipped to it (LeRobot: max_guidance_weight).",
        "",
        0.0,
        1000.0,
        live=True,
    ),
    Parameter(
        "schedule",
        _RTC.schedule,
        "How the mask decays from row d to row H − s.",
        choices=tuple(SCHEDULES),
        live=True,
    ),
    Parameter(
        "jacobian",
        _RTC.jacobian,
        "vjp is the algorithm; identity is cheaper and guides worse.",
        choices=JACOBIANS,
        live=True,
    ),
    Parameter(
        "sigma_d",
        _RTC.sigma_d,
        "σ_d: prior standard deviation of the (normalised) actions in r²; 1 is the paper.",
        "",
        0.001,
        100.0,
        live=True,
    ),
    Parameter(
        "num_steps",
        _RTC.num_steps,
        "n: denoising steps; 0 takes the checkpoint's.",
        "",
        0,
        1000,
        live=True,
    ),
    Parameter(
        "strategy",
        _RTC.strategy,
        "How chunks are made and executed: "
        + "; ".join(f"`{s.name}`: {s.description}" for s in STRATEGIES.values())
        + ".",
        choices=tuple(STRATEGIES),
        live=True,
    ),
    Parameter(
        "count_from",
        _RTC.count_from,
        "Where the count for s_min begins: at the last inference start (the paper) or at the "
        "last swap.",
        choices=COUNT_FROM,
        live=True,
    ),
    Parameter(
        "anchor",
        _RTC.anchor,
        "Which step row 0 is for: that of the inference start (the paper), or that at which "
        "the oldest image used was taken.",
        choices=ANCHORS,
        live=True,
    ),
    Parameter(
        "inject_latency_ms",
        _RTC.inject_latency_ms,
        "Waits this much longer before each chunk is handed over, to try +100 and +200 ms.",
        "ms",
        0.0,
        10000.0,
        live=True,
    ),
    Parameter(
        "ensemble_decay",
        _RTC.ensemble_decay,
        "m of `temporal_ensembling`: the j-th oldest prediction of a step weighs exp(−m j). 0 is "
        "the mean; ACT has 0.01, the oldest weighs most; below 0 the newest does.",
        "",
        -10.0,
        10.0,
        live=True,
    ),
    Parameter(
        "average_new",
        _RTC.average_new,
        "The new chunk's share in `weighted_average`; 0.7 is LeRobot's weighted_average, 0.5 its "
        "average, 0.3 its conservative.",
        "",
        0.0,
        1.0,
        live=True,
    ),
    Parameter(
        "bid_candidates",
        _RTC.bid_candidates,
        "N: chunks that `bid` makes in one batch and chooses among.",
        "chunks",
        1,
        1024,
        live=True,
    ),
    Parameter(
        "bid_contrast",
        _RTC.bid_contrast,
        "K of `bid`: chunks of the policy and of weak_policy_path that the forward contrast "
        "compares with; not used without weak_policy_path.",
        "chunks",
        0,
        1024,
        live=True,
    ),
    Parameter("task", "", "The task sentence that the policy is given.", live=True),
)

CONTROLLER = (
    Parameter(
        "command_groups",
        [""],
        "Names of the groups that commands go out to. Each has group.NAME.topic, .type, .joints "
        "and more. Together they must hold each joint once.",
    ),
    Parameter(
        "position_lower",
        UNSET,
        "Lower position limit per joint, in the order of `joints`, or one for all (-.inf: none). "
        "Not set, or .nan for a joint: from joint_limits_file, else from the robot description. "
        "A joint without limit is refused.",
        "robot units",
    ),
    Parameter(
        "position_upper",
        UNSET,
        "Upper position limit per joint (.inf: none). Not set: as position_lower.",
        "robot units",
    ),
    Parameter(
        "position_margin",
        [0.0],
        "Kept from both position limits, wherever they come from; per joint, or one for all.",
        "robot units",
    ),
    Parameter(
        "max_velocity",
        UNSET,
        "Velocity limit per joint: no step changes a command by more than this times Δt. "
        "Not set: as position_lower.",
        "robot units / s",
    ),
    Parameter(
        "max_acceleration",
        UNSET,
        "Acceleration limit per joint: the velocity of the commands changes by no more than this "
        "times Δt in a step, and whatever ends the motion, the arm is braked by it. Not set: from "
        "joint_limits_file, else none (.inf), and the arm stops within a step.",
        "robot units / s²",
    ),
    Parameter(
        "limit_mode",
        "joint",
        "joint: a limit changes the joint that it is for. path: one factor shortens the step of "
        "all joints, so both arms stay on their common path and catch up later.",
        choices=("joint", "path"),
    ),
    Parameter(
        "joint_limits_file",
        "",
        "A joint_limits.yaml as MoveIt has it (max_velocity, max_acceleration, min_position and "
        "max_position by joint), for limits that no parameter sets. The lesser of "
        "max_acceleration and max_deceleration holds for both; jerk isn't limited here.",
    ),
    Parameter(
        "robot_description",
        "",
        "The URDF as text, for limits that neither parameter nor file has (continuous joints have "
        "no position limit). Empty: from robot_description_topic, if it is needed.",
    ),
    Parameter(
        "robot_description_topic",
        "robot_description",
        "Where the URDF comes from (std_msgs/String, transient local); empty: not asked.",
    ),
    Parameter(
        "robot_description_timeout",
        15.0,
        "How long to wait for it at start.",
        "s",
        0.0,
        300.0,
    ),
    Parameter(
        "wrap_joints",
        [""],
        "Joints that turn endlessly and go the short way to a wanted angle, whatever turn it is "
        "in. Only for joints without position limits; radians.",
    ),
    Parameter(
        "soft_start",
        1.0,
        "After `start` the velocity limit rises from almost 0 to its value over this time.",
        "s",
        0.0,
        60.0,
    ),
    Parameter(
        "resume_tolerance",
        [0.3],
        "Once missing joint states are back, the motion goes on from the last command. A joint "
        "whose distance from it has grown by more than this was moved meanwhile: a fault, until "
        "it is back or `~/stop` and `~/start` begin at the measured pose. Per joint, or one for "
        "all; .inf, for grippers, which may close on something meanwhile: any.",
        "robot units",
    ),
    Parameter(
        "start_when_ready",
        False,
        "Open the motion gate as soon as joint states are there, without waiting for `~/start`.",
    ),
    Parameter(
        "dry_run",
        False,
        "Do everything but command: nothing is published to any driver. In `~/executed` is what "
        "would have been.",
    ),
    Parameter(
        "tick_source",
        "deadline",
        "What times the tick: a loop on absolute deadlines in a thread of its own, or an rclpy "
        "timer. With use_sim_time it is always the timer.",
        choices=("deadline", "timer"),
    ),
    Parameter(
        "realtime_priority",
        0,
        "SCHED_FIFO priority to ask for; 0 asks for none. Where the machine refuses, that is "
        "reported and the node goes on.",
        "",
        0,
        98,
    ),
)

CAMERA = (
    Parameter("topic", "", "Image topic. Must be set."),
    Parameter(
        "transport",
        "raw",
        "raw: sensor_msgs/Image; compressed: CompressedImage.",
        choices=("raw", "compressed"),
    ),
    Parameter("feature", "", "The policy's image feature; empty: observation.images.NAME."),
)

GROUP = (
    Parameter("topic", "", "Command topic. Must be set."),
    Parameter(
        "type",
        "",
        "joint_state; float64_multi_array (forward_command_controller); joint_trajectory (a "
        "joint_trajectory_controller gets one point a tick); joint_trajectory_chunk (it gets the "
        "rest of the chunk at each swap); joint_group_command, joint_single_command (Interbotix "
        "X-series arms). Must be set.",
        choices=(
            "joint_state",
            "float64_multi_array",
            "joint_trajectory",
            "joint_trajectory_chunk",
            "joint_group_command",
            "joint_single_command",
        ),
    ),
    Parameter("joints", [""], "The group's joints, in the order that the driver expects."),
    Parameter(
        "joint_prefix",
        "",
        "Taken off the joints' names in the messages: what joint_state_prefixes put there.",
    ),
    Parameter(
        "driver_group",
        "arm",
        "The driver's own name for the group, with type joint_group_command.",
    ),
    Parameter(
        "time_from_start",
        0.0,
        "When a trajectory's first point is due, after it was sent; 0: 1.5 periods.",
        "s",
        0.0,
        10.0,
    ),
)


def names(table: Iterable[Parameter], *, live: bool) -> list[str]:
    """Return the names of the parameters that may (or may not) change while running."""
    return [p.name for p in table if p.live == live]
