"""rtc_inference: turns images and joint states into action chunks, guided to the running one."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.nodes.camera_input import CameraInput
from rtc_ros.nodes.checks import policy_problems
from rtc_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Report
from rtc_ros.nodes.inference_worker import InferenceWorker
from rtc_ros.nodes.joint_input import JointInput
from rtc_ros.nodes.observation import JointUnits, ObservationSource
from rtc_ros.nodes.parameter_table import COMMON, INFERENCE
from rtc_ros.nodes.parameters import (
    ConfigurationError,
    check_words,
    declare,
    handoff_base,
    per_joint,
    require,
)
from rtc_ros.nodes.provenance import ChunkSource, chunk_message
from rtc_ros.nodes.runner import run_node

if TYPE_CHECKING:
    from rtc_ros.policy.protocol import Policy, PolicyResult

_LIVE = {p.name: p for p in INFERENCE if p.live}
_SETTINGS = {f.name for f in fields(RtcSettings)}
_HANG_S = 1.0
"""No inference is called hanging before this."""
_SAY_CHANGE_S = 5.0
"""How long /diagnostics speaks of a camera that changed its images."""
_LIMITS = ("lower", "upper", "max_step", "max_bend", "turn")


class InferenceNode(LifecycleNode):
    """Loads and warms up in configure, makes chunks while active."""

    executor_priority = 0
    abandoned = False

    def __init__(self) -> None:
        """Declare and check the parameters; nothing heavy happens before configure."""
        super().__init__("rtc_inference")
        p = declare(self, COMMON) | declare(self, INFERENCE)
        require(p, "joints", "policy_path", "cameras")
        self._p: dict[str, Any] = p
        self._joints: list[str] = p["joints"]
        self._period_s: float = p["control_period"]
        self._handoff_base = handoff_base(self, p["handoff_name"])
        self._settings = RtcSettings(**{name: p[name] for name in _SETTINGS})
        self._task: str = p["task"]
        try:
            self._units = JointUnits(
                np.asarray(per_joint(p, "joint_scale", self._joints)),
                np.asarray(per_joint(p, "joint_offset", self._joints)),
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        self._cameras = [
            CameraInput(self, name, MutuallyExclusiveCallbackGroup()) for name in p["cameras"]
        ]
        self._joint_input = JointInput(
            self, p["joint_state_topics"], self._joints, MutuallyExclusiveCallbackGroup()
        )
        self._policy: Policy | None = None
        self._ring: ChunkRing | None = None
        self._loop: InferenceLoop | None = None
        self._worker: InferenceWorker | None = None
        self._limits: JointLimits | None = None
        self._state_text = "not configured"
        self._starting: threading.Thread | None = None
        self._chunks = self.create_publisher(JointTrajectory, "~/chunk", 10)
        self._effective = self.create_publisher(
            String, "~/settings", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        self.create_subscription(String, "~/task", self._on_task, 10)
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._on_changed)
        self._diagnostics = Diagnostics(
            self, {"inference": self._report, "delay": self._report_delay}
        )

    # -- lifecycle --------------------------------------------------------------------------

    def run(self) -> None:
        """Configure and activate, where ``autostart`` says so."""
        if self._p["autostart"]:
            self._starting = threading.Thread(target=self._autostart, daemon=True)
            self._starting.start()

    def _autostart(self) -> None:
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, check it against the configuration, warm it up."""
        self._state_text = "loading the policy"
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 - a checkpoint can fail in any way; it is said
            self._state_text = f"can't be configured: {error}"
            self.get_logger().error(self._state_text)
            self._policy = None
            return TransitionCallbackReturn.FAILURE
        self._state_text = "configured"
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> None:
        # Imported here: torch takes seconds, and the node answers meanwhile.
        from rtc_ros.policy.shipped import checkpoint_path
        from rtc_ros.policy.smolvla import SmolVLAAdapter

        p = self._p
        begun = time.monotonic()
        policy = SmolVLAAdapter.load(
            checkpoint_path(p["policy_path"]),
            backbone=p["backbone_path"] or None,
            device=p["device"],
            dtype=p["dtype"],
            torch_threads=p["torch_threads"] or None,
            fast=p["fast"],
        )
        features = [camera.feature for camera in self._cameras]
        problems = policy_problems(policy.spec, self._joints, features)
        if problems:
            raise ConfigurationError("; ".join(problems))
        if p["weak_policy_path"]:
            weak = SmolVLAAdapter.load(
                checkpoint_path(p["weak_policy_path"]),
                backbone=p["backbone_path"] or None,
                device=p["device"],
                dtype=p["dtype"],
                fast=False,
            )
            policy.contrast_with(weak)
        warm_s = policy.warm_up(self._task)
        self.get_logger().info(
            f"{policy.spec.description}: loaded in {time.monotonic() - begun:.1f} s, a guided "
            f"chunk takes {warm_s * 1e3:.0f} ms"
        )
        initial = p["initial_delay"]
        if initial < 0:
            total_s = warm_s + self._settings.inject_latency_ms * 1e-3
            initial = math.ceil(total_s / self._period_s) + 1
        estimator = DelayEstimator(p["delay_window"], initial)
        spec = policy.spec
        problems = self._settings.problems(
            spec.horizon, estimator.forecast(), spec.max_candidates
        )
        if problems:
            raise ConfigurationError("; ".join(problems))
        self._loop = InferenceLoop(policy.spec.horizon, estimator, self._settings)
        self._policy = policy

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the ring and begin to make chunks."""
        assert self._policy is not None and self._loop is not None
        name = self._handoff_base
        spec = HandoffSpec(tuple(self._joints), self._period_s, self._policy.spec.horizon)
        try:
            self._ring = ChunkRing.create(f"{name}.ring", spec)
        except HandoffError as error:
            self._state_text = f"can't be activated: {error}"
            self.get_logger().error(self._state_text)
            return TransitionCallbackReturn.FAILURE
        # After a crash the controller may still be executing our last chunk: go on from it.
        self._loop = InferenceLoop(
            self._loop.horizon, self._loop.estimator, self._settings, self._ring.inherited
        )
        source = ObservationSource(
            self._cameras,
            self._joint_input,
            self._units,
            self._p["camera_timeout"],
            self._p["joint_state_timeout"],
        )
        seed = self._p["seed"]
        self._worker = InferenceWorker(
            self._policy,
            self._loop,
            self._ring,
            f"{name}.cursor",
            source,
            lambda: self._task,
            self._on_chunk,
            None if seed < 0 else seed,
        )
        self._worker.start()
        self._state_text = "active"
        self._publish_effective()
        self.get_logger().info(
            f"ready: H = {spec.horizon}, first forecast d = "
            f"{self._loop.estimator.forecast()} steps"
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make no more chunks; the controller executes what it has, then holds."""
        self._end_worker()
        self._state_text = "configured, not active"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy."""
        self._end_worker()
        self._policy = None
        self._state_text = "not configured"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End."""
        self._end_worker()
        return TransitionCallbackReturn.SUCCESS

    def _end_worker(self) -> None:
        if self._worker is not None and not self._worker.stop():
            self.get_logger().warning("an inference is still running; it will be thrown away")
            self.abandoned = True
        if self._ring is not None:
            self._ring.close()
        self._worker, self._ring = None, None

    def close(self) -> None:
        """End the worker and the ring; the controller goes on with the actions it has."""
        if self._starting is not None:
            self._starting.join(timeout=1.0)
            if self._starting.is_alive():
                self.get_logger().warning("the policy is still being loaded; leaving it")
                self.abandoned = True
                return
        self._end_worker()

    # -- what comes in and goes out ----------------------------------------------------------

    def _on_task(self, message: String) -> None:
        self.set_parameters([Parameter("task", value=message.data)])

    def _forecast(self, settings: RtcSettings) -> int:
        """D under ``settings``: a change of the injected latency is known before it is seen."""
        if self._loop is None:
            return 0
        extra_ms = settings.inject_latency_ms - self._settings.inject_latency_ms
        return self._loop.estimator.forecast() + max(
            0, math.ceil(extra_ms * 1e-3 / self._period_s)
        )

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse a change, as a whole and with a sentence, that can't work."""
        values = {p.name: p.value for p in parameters}
        for name, value in values.items():
            problem = check_words(_LIVE[name], name, value) if name in _LIVE else None
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        changes = {k: v for k, v in values.items() if k in _SETTINGS}
        settings = self._settings.changed(**changes)
        if changes and self._loop is not None and self._policy is not None:
            d_now = self._loop.estimator.forecast()
            problems = settings.problems_after(
                self._settings,
                self._loop.horizon,
                self._forecast(settings),
                d_now,
                self._policy.spec.max_candidates,
            )
            if problems:
                return SetParametersResult(successful=False, reason="; ".join(problems))
        return SetParametersResult(successful=True)

    def _on_changed(self, parameters: list[Parameter]) -> None:
        """Take over a change that was accepted; the next inference uses it."""
        values = {p.name: p.value for p in parameters}
        self._task = values.get("task", self._task)
        settings = self._settings.changed(**{k: v for k, v in values.items() if k in _SETTINGS})
        if self._loop is not None:
            if settings.inject_latency_ms > self._settings.inject_latency_ms:
                self._loop.estimator.observe(self._forecast(settings))
            self._loop.settings = settings
        self._settings = settings
        self._publish_effective()

    def _publish_effective(self) -> None:
        effective: dict[str, Any] = asdict(self._settings) | {
            "task": self._task,
            "mask_schedule": self._settings.mask_schedule,
            "control_period": self._period_s,
        }
        if self._loop is not None and self._policy is not None:
            d = self._loop.estimator.forecast()
            effective["horizon"] = self._loop.horizon
            effective["num_steps"] = self._settings.num_steps or self._policy.spec.num_steps
            effective["d_forecast"] = d
            effective["s"] = max(d, self._settings.least_stride)
            effective["policy"] = self._policy.spec.description
        effective |= self._made_of()
        self._effective.publish(String(data=json.dumps(effective)))

    def _made_of(self) -> dict[str, Any]:
        """Return what a replay has to know beside the settings."""
        p = self._p
        known: dict[str, Any] = {
            name: p[name]
            for name in (
                *("policy_path", "weak_policy_path", "backbone_path"),
                *("device", "dtype", "torch_threads", "fast"),
            )
        }
        known["joints"] = self._joints
        known["joint_scale"] = self._units.scale.tolist()
        known["joint_offset"] = self._units.offset.tolist()
        known["joint_state_topics"] = [self.resolve_topic_name(t) for t in p["joint_state_topics"]]
        known["cameras"] = {c.feature: self.resolve_topic_name(c.topic) for c in self._cameras}
        if self._limits is not None:
            for name in _LIMITS:
                values = getattr(self._limits, name).tolist()
                # JSON has no infinity: null is no limit.
                known[name] = [x if math.isfinite(x) else None for x in values]
            known["limit_mode"] = "path" if self._limits.coherent else "joint"
        return known

    def _on_chunk(
        self,
        chunk: ActionChunk,
        result: PolicyResult,
        request: InferenceRequest,
        source: ChunkSource,
    ) -> None:
        # Row 0 is for the step at which the inference started (or earlier, by the anchor).
        ago_ns = time.monotonic_ns() - chunk.start_ns
        early = request.horizons.delay - request.forecast
        now_ns = self.get_clock().now().nanoseconds
        row_0 = max(0, now_ns - ago_ns - round(early * self._period_s * 1e9))
        stamp = Time(nanoseconds=row_0).to_msg()
        latency_ms = (chunk.end_ns - chunk.start_ns) * 1e-6
        limits = None if self._worker is None else self._worker.limits
        if limits is not None and not _same(limits, self._limits):
            self._limits = limits
            self._publish_effective()
        self._chunks.publish(
            chunk_message(chunk, self._joints, self._period_s, stamp, latency_ms, source)
        )

    # -- diagnostics --------------------------------------------------------------------------

    def _report(self) -> Report:
        worker = self._worker
        if worker is None:
            failed = self._state_text.startswith("can't")
            return Report(ERROR if failed else WARN, self._state_text)
        durations = {} if worker.last_result is None else worker.last_result.durations_s
        values: dict[str, object] = {
            "state": self._state_text,
            "waiting for": worker.waiting_for,
            "chunks": worker.counts["chunks"],
            "failures": worker.counts["failures"],
            "last chunk [ms]": worker.last_duration_s * 1e3,
            "strategy": self._settings.strategy,
            "task": self._task,
        }
        values.update({f"{k} [ms]": v * 1e3 for k, v in durations.items()})
        values.update({f"camera {c.name} [Hz]": c.rate_hz for c in self._cameras})
        if worker.failure:
            return Report(ERROR, worker.failure, values)
        running_s = _seconds_since(worker.running_since_ns)
        if running_s > max(_HANG_S, 5 * worker.last_duration_s):
            return Report(
                WARN,
                f"an inference has been running for {running_s:.1f} s: the policy or its device "
                "hangs",
                values,
            )
        if worker.hindered:
            return Report(WARN, f"waiting for {worker.waiting_for}", values)
        for camera in self._cameras:
            if camera.changed_ns and _seconds_since(camera.changed_ns) < _SAY_CHANGE_S:
                return Report(WARN, camera.change, values)
        return Report(OK, f"waiting for {worker.waiting_for}", values)

    def _report_delay(self) -> Report:
        loop, worker = self._loop, self._worker
        if loop is None:
            return Report(OK, "nothing observed yet")
        d = loop.estimator.forecast()
        values = {
            "d forecast [steps]": d,
            "Q": list(loop.estimator.observed),
            "s_min": self._settings.s_min,
            "s": max(d, self._settings.least_stride),
            "H": loop.horizon,
            "under-forecasts": loop.under_forecasts,
            "chunks refused by the controller": loop.refused_chunks,
            "over budget": 0 if worker is None else worker.counts["over budget"],
        }
        problems = self._settings.problems(loop.horizon, d)
        if problems:
            return Report(WARN, f"over budget: {problems[0]}", values)
        return Report(
            OK, f"d = {d}, s = {values['s']}, H = {loop.horizon}", values
        )


def _seconds_since(monotonic_ns: int) -> float:
    """Return the time since then [s]; for 0, which is never: before the boot."""
    return (time.monotonic_ns() - monotonic_ns) * 1e-9 if monotonic_ns else 0.0


def _same(one: JointLimits, two: JointLimits | None) -> bool:
    return two is not None and all(
        np.array_equal(getattr(one, n), getattr(two, n)) for n in (*_LIMITS, "coherent")
    )


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    run_node(InferenceNode, lambda: MultiThreadedExecutor(num_threads=3))


if __name__ == "__main__":
    main()
