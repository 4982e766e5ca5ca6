"""What the inference node says of itself: /diagnostics, and the facts that a replay needs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.node import Node

from rtc_ros.core.limits import JointLimits
from rtc_ros.inference.camera_input import CameraInput
from rtc_ros.inference.live_settings import LiveSettings
from rtc_ros.inference.policy_loading import left_out_images
from rtc_ros.inference.worker import InferenceWorker
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.joint_units import PolicyUnits

_HANG_S = 1.0
"""No inference is called hanging before this."""
_SAY_CHANGE_S = 5.0
"""How long /diagnostics speaks of a joint that jumped or a camera that changed its images."""
_LIMITS = ("lower", "upper", "max_step", "max_bend", "turn")


def inference_report(
    state: str,
    worker: InferenceWorker | None,
    live: LiveSettings,
    cameras: Sequence[CameraInput],
    joints: JointInput,
) -> Report:
    """Return the entry ``inference``: what keeps chunks from being made, if anything."""
    if worker is None:
        return Report(ERROR if state.startswith("can't") else WARN, state)
    durations = {} if worker.last_result is None else worker.last_result.durations_s
    values: dict[str, object] = {
        "state": state,
        "waiting for": worker.waiting_for,
        "chunks": worker.counts["chunks"],
        "failures": worker.counts["failures"],
        "last chunk [ms]": worker.last_duration_s * 1e3,
        "strategy": live.settings.strategy,
        "task": live.task,
    }
    values.update({f"{k} [ms]": v * 1e3 for k, v in durations.items()})
    values.update({f"camera {c.name} [Hz]": c.rate_hz for c in cameras})
    values.update({f"camera {c.name}, decode [ms]": c.decode_s * 1e3 for c in cameras})
    if worker.failure:
        return Report(ERROR, worker.failure, values)
    running_s = _seconds_since(worker.running_since_ns)
    if running_s > max(_HANG_S, 5 * worker.last_duration_s):
        return Report(
            WARN,
            f"an inference has been running for {running_s:.1f} s: the policy or its device hangs",
            values,
        )
    if worker.hindered:
        return Report(WARN, f"waiting for {worker.waiting_for}", values)
    if worker.odd_pose:
        return Report(WARN, f"before ~/start: {worker.odd_pose}", values)
    changes = [(camera.changed_ns, camera.change) for camera in cameras]
    for at_ns, change in [(joints.jump_ns, joints.jump), *changes]:
        if at_ns and _seconds_since(at_ns) < _SAY_CHANGE_S:
            return Report(WARN, change, values)
    return Report(OK, f"waiting for {worker.waiting_for}", values)


def delay_report(worker: InferenceWorker | None, live: LiveSettings) -> Report:
    """Return the entry ``delay``: d, s and H, and whether they fit."""
    loop, settings = live.loop, live.settings
    if loop is None:
        return Report(OK, "nothing observed yet")
    d = loop.estimator.forecast()
    s = max(d, settings.least_stride)
    values = {
        "d forecast [steps]": d,
        "Q": list(loop.estimator.observed),
        "s_min": settings.s_min,
        "s": s,
        "H": loop.horizon,
        "under-forecasts": loop.under_forecasts,
        "chunks refused by the controller": loop.refused_chunks,
        "over budget": 0 if worker is None else worker.counts["over budget"],
        "chunks with fewer given rows than d": (
            0 if worker is None else worker.counts["beyond training"]
        ),
    }
    problems = settings.problems(loop.horizon, d, trained_delay=loop.trained_delay)
    if problems:
        if settings.rows_cut(d, loop.trained_delay or 0):
            said = f"only the first {loop.trained_delay} of d = {d} rows are given: {problems[0]}"
            return Report(WARN, said, values)
        return Report(WARN, f"over budget: {problems[0]}", values)
    return Report(OK, f"d = {d}, s = {s}, H = {loop.horizon}", values)


def made_of(
    node: Node,
    p: Mapping[str, Any],
    units: PolicyUnits,
    cameras: Sequence[CameraInput],
    limits: JointLimits | None,
) -> dict[str, Any]:
    """Return what a replay has to know beside the settings; ``p`` are the parameters."""
    known: dict[str, Any] = {
        name: p[name]
        for name in (
            *("policy_path", "weak_policy_path", "backbone_path"),
            *("device", "dtype", "torch_threads", "fast", "joints", "joint_state_prefixes"),
        )
    }
    for what, own in (("joint", units.actions), ("state", units.state)):
        known[f"{what}_scale"] = own.scale.tolist()
        known[f"{what}_offset"] = own.offset.tolist()
    known["state_joints"] = list(units.state.joints)
    known["left_out_images"] = left_out_images(p)
    known["joint_state_topics"] = [node.resolve_topic_name(t) for t in p["joint_state_topics"]]
    known["cameras"] = {c.feature: node.resolve_topic_name(c.topic) for c in cameras}
    if limits is not None:
        for name in _LIMITS:
            values = getattr(limits, name).tolist()
            # JSON has no infinity: null is no limit.
            known[name] = [x if math.isfinite(x) else None for x in values]
        known["limit_mode"] = "path" if limits.coherent else "joint"
    return known


def same_limits(one: JointLimits, two: JointLimits | None) -> bool:
    """Tell whether two limits are the same to a replay."""
    return two is not None and all(
        np.array_equal(getattr(one, n), getattr(two, n)) for n in (*_LIMITS, "coherent")
    )


def _seconds_since(monotonic_ns: int) -> float:
    """Return the time since then [s]; 0 for 0, which is never."""
    return (time.monotonic_ns() - monotonic_ns) * 1e-9 if monotonic_ns else 0.0
