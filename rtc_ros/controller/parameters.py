"""The parameters of the controller, and those of each of its command groups."""

from __future__ import annotations

from rtc_ros.ros.parameter_table import UNSET, Parameter

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
        "Not set, or .nan for a joint: from joint_limits_file, else from the robot description, "
        "where a continuous joint has none, nor has one of wrap_joints that nobody limits. "
        "Any other joint without limit is refused.",
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
        "Not set, or .inf, which is no limit: from joint_limits_file, else from the robot "
        "description. A joint without a finite one is refused.",
        "robot units / s",
    ),
    Parameter(
        "max_acceleration",
        UNSET,
        "Acceleration limit per joint: the velocity of the commands changes by no more than this "
        "times Δt in a step, and whatever ends the motion, the arm is braked by it. Not set: from "
        "joint_limits_file, else from the robot description if it is needed anyway, else none "
        "(.inf), and the arm stops within a step (with max_jerk later).",
        "robot units / s²",
    ),
    Parameter(
        "max_jerk",
        UNSET,
        "Jerk limit per joint: the acceleration of the commands changes by no more than this "
        "times Δt in a step. Every command is then the mean of the last n rows, and late by "
        "(n - 1) Δt / 2: n = 2 a / (max_jerk Δt), rounded up, of the joint that needs most, with "
        "a the lesser of max_acceleration and 2 max_velocity / Δt. Not set: from "
        "joint_limits_file, else none (.inf).",
        "robot units / s³",
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
        "A joint_limits.yaml as MoveIt has it (max_velocity, max_acceleration, max_jerk, "
        "min_position and max_position by joint), for limits that no parameter sets. The lesser "
        "of max_acceleration and max_deceleration holds for both. A limit whose has_… is false "
        "or that is .inf is not stated: the robot description's holds. Its "
        "default_velocity_scaling_factor scales all velocity limits that no parameter sets.",
        path=True,
    ),
    Parameter(
        "robot_description",
        "",
        "The URDF as text, for limits that neither parameter nor file has (continuous joints have "
        "no position limit). The narrowest of its limits, its safety_controller's and its "
        "ros2_control's counts. Empty: from robot_description_topic, if it is needed.",
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
        "After a hold (starved, joint states missing) the motion goes on where the arm stands: at "
        "the last command, or beside the arm, no farther from it than its own lag was. A joint "
        "whose distance from its command has grown by more than this was moved meanwhile: the "
        "gate closes, and only `~/start` goes on, at the measured pose. Per joint, or one for "
        "all; .inf, for grippers, which may close on something meanwhile: any.",
        "robot units",
    ),
    Parameter(
        "following_tolerance",
        [0.3],
        "A joint that is farther than this from its command doesn't follow: its driver's "
        "controller isn't active, or something stops or holds it. The arm is braked at once; if "
        "it isn't back within half of this in 0.2 s, the gate closes, and only `~/start` goes "
        "on, at the measured pose. Per joint, or one for all; .inf, for grippers, which close on "
        "something: any. Must be more than the driver's lag at full speed, and no more than an "
        "arm may jump that is let go within that time.",
        "robot units",
    ),
    Parameter(
        "first_chunk_timeout",
        15.0,
        "A gate that was opened and in which nothing has moved for this long closes itself: an "
        "arm that begins to move long after `~/start` surprises whoever stands there. More than "
        "one inference takes; the time of a driver on its way to the start isn't counted. 0: "
        "never.",
        "s",
        0.0,
        3600.0,
    ),
    Parameter(
        "hold_timeout",
        15.0,
        "An arm that moved and is held (its chunk ran out, joint states are missing, a driver "
        "isn't heard of, the process stood still) goes on by itself when that is over. After this "
        "long the gate closes, and only `~/start` goes on. With `strategy: synchronous` more than "
        "one inference takes. 0: never.",
        "s",
        0.0,
        3600.0,
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
        "would have been executed.",
    ),
    Parameter(
        "command_rate",
        0.0,
        "Commands per second to drivers of rows, a multiple of 1/control_period: between two "
        "executed rows they get set points on a curve that is continuous in acceleration, within "
        "all limits. The row of a tick is reached at the next one. 0: one command per period. A "
        "driver of joint_trajectory_chunk makes its own points in between; beside drivers of rows "
        "it is refused.",
        "Hz",
        0.0,
        1000.0,
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
        "When the row of a tick is due at a trajectory driver, after it was sent; 0: 1.5 "
        "periods, and 3 with joint_trajectory_chunk and max_acceleration. Then it must be 2 to 3 "
        "periods: only there a new chunk joins the old one without a kink, with 3 also in a tick "
        "that is late by up to 0.9 periods.",
        "s",
        0.0,
        10.0,
    ),
)
