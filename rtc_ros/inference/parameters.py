"""The parameters of the inference node, and those of each of its cameras."""

from __future__ import annotations

from rtc_ros.core.prefix import SCHEDULES
from rtc_ros.core.settings import ANCHORS, COUNT_FROM, JACOBIANS, RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.image_positions import CHOICES
from rtc_ros.ros.parameter_table import UNSET, Parameter

_RTC = RtcSettings()

INFERENCE = (
    Parameter(
        "policy_path",
        "",
        "Folder of a LeRobot checkpoint (SmolVLA, pi0, pi0.5; ACT, unguided), or `package:NAME` "
        "for one that ships with rtc_ros. Must be set.",
        reload=True,
        path=True,
    ),
    Parameter(
        "backbone_path",
        "",
        "Folder of the vision-language backbone's configuration and tokenizer. Empty: the "
        "checkpoint's `backbone` folder, else what its configuration names.",
        reload=True,
        path=True,
    ),
    Parameter(
        "weak_policy_path",
        "",
        "Folder of a weaker checkpoint of the same shape, an early one of the same training, for "
        "the forward contrast of `bid`. Empty: none.",
        reload=True,
        path=True,
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
        "image_positions",
        "auto",
        "At which positions the policy is shown the patches of its images: `shifted` as in a "
        "training with transformers 4.55 to 4.57 in float32, `right` as in any other, `auto` as "
        "the checkpoint's files tell. Displaced pictures cost most of what a policy can.",
        choices=CHOICES,
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
        "left_out_images",
        [""],
        "Image features of the policy that it isn't shown, by their names: a policy that was "
        "fine-tuned with fewer cameras than its base model has keeps the base's features in its "
        "configuration. They are hidden from it as LeRobot hides missing images in training. "
        "Never one that it was trained with. Empty: none.",
        reload=True,
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
        "vjp is the algorithm. identity is cheaper, and with the same beta it pulls harder: "
        "smoother, but it follows less what moves.",
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
    Parameter(
        "filter_cutoff",
        _RTC.filter_cutoff,
        "Low-pass along each chunk for what the policy itself shakes: half the amplitude is left "
        "at this frequency, and no phase is added. Frozen rows stay as they are, and A_prev has "
        "what is left. 0: none.",
        "Hz",
        0.0,
        500.0,
        live=True,
    ),
    Parameter("task", "", "The task sentence that the policy is given.", live=True),
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
