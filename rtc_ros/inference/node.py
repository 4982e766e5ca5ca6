"""rtc_inference: turns images and joint states into action chunks, guided to the running one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.inference.camera_input import CameraInput
from rtc_ros.inference.chunk_costs import ChunkCosts
from rtc_ros.inference.live_settings import LiveSettings
from rtc_ros.inference.memory import MemoryWatch, give_back
from rtc_ros.inference.observation import ObservationSource
from rtc_ros.inference.output import InferenceOutput
from rtc_ros.inference.policy_loading import first_estimator, load_policy
from rtc_ros.inference.reports import delay_report, inference_report
from rtc_ros.inference.worker import InferenceWorker
from rtc_ros.ros.diagnostics import Diagnostics, Report, logged
from rtc_ros.ros.guarded_executor import GuardedThreads
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameter_record import announce_parameters
from rtc_ros.ros.parameters import declare_all, handoff_base, require
from rtc_ros.ros.runner import run_node
from rtc_ros.running.entry import leave_after

if TYPE_CHECKING:
    from rtc_ros.policy.protocol import Policy
    from rtc_ros.policy.state_spread import StateSpread


class InferenceNode(LifecycleNode):
    """Loads and warms up in configure, makes chunks while active."""

    executor_priority = 0
    abandoned = False

    def __init__(self) -> None:
        """Declare and check the parameters; nothing heavy happens before configure."""
        super().__init__("rtc_inference")
        p = declare_all(self, "rtc_inference")
        require(p, "joints", "policy_path", "cameras")
        self._p: dict[str, Any] = p
        self._joints: list[str] = p["joints"]
        self._period_s: float = p["control_period"]
        self._handoff_base = handoff_base(self, p["handoff_name"])
        self._units = PolicyUnits.of(p)
        self._cameras = [
            CameraInput(self, name, MutuallyExclusiveCallbackGroup()) for name in p["cameras"]
        ]
        self._joint_input = JointInput(
            self,
            p["joint_state_topics"],
            self._units.state.joints,
            MutuallyExclusiveCallbackGroup(),
            p["joint_state_prefixes"],
        )
        self._policy: Policy | None = None
        self._spread: StateSpread | None = None
        self._ring: ChunkRing | None = None
        self._worker: InferenceWorker | None = None
        self._left: InferenceWorker | None = None
        """One whose inference didn't end in time, and still runs the policy."""
        self._state_text = "not configured"
        self._starting: threading.Thread | None = None
        self._loading = threading.Event()
        self._live = LiveSettings(
            self,
            p,
            lambda: self._out.publish_settings(),
        )
        self._out = InferenceOutput(self, p, self._units, self._cameras, self._live)
        self._memory = MemoryWatch(p["memory_warning"], lambda: str(p["device"]))
        self._diagnostics = Diagnostics(
            self,
            {
                "inference": logged(self, self._report, lambda: self._worker is not None),
                "delay": lambda: delay_report(self._worker, self._live),
                "memory": self._memory.report,
            },
        )
        # Before the policy is there: a recorder wants to know the cameras.
        self._out.publish_settings()
        announce_parameters(self)

    def _report(self) -> Report:
        joints, worker = self._joint_input, self._worker
        return inference_report(self._state_text, worker, self._live, self._cameras, joints)

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
        self._state_text, self._live.fixed = "loading the policy", True
        self._loading.set()
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 - a checkpoint can fail in any way; it is said
            self._forget_policy()
            return self._refused("configured", error)
        finally:
            self._loading.clear()
        self._state_text = "configured"
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> None:
        features = [camera.feature for camera in self._cameras]
        self._policy, warm_s, self._spread, reader = load_policy(
            self._p, self._units, features, self._live.task
        )
        self.get_logger().info(
            f"{self._policy.spec.description}: loaded, a guided chunk takes {warm_s * 1e3:.0f} ms"
        )
        costs = ChunkCosts(self._policy.spec, warm_s)
        estimator = first_estimator(self._p, costs.first_s(self._live.settings))
        self._live.use(self._policy.spec, estimator, reader, costs)
        self._out.spec = self._policy.spec

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the ring and begin to make chunks."""
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - rclpy would pass over it without a word
            self._end_worker()
            return self._refused("activated", error)
        return super().on_activate(state)

    def _refused(self, what: str, error: Exception) -> TransitionCallbackReturn:
        self._state_text = f"can't be {what}: {error}"
        self.get_logger().error(self._state_text)
        return TransitionCallbackReturn.FAILURE

    def _begin(self) -> None:
        live = self._live
        assert self._policy is not None and live.loop is not None
        if self._left is not None and self._left.alive:
            raise RuntimeError(
                "the inference that was running at the last deactivation still is, and the policy "
                "can't make two at once: try again, or clean up and configure anew"
            )
        self._left, self.abandoned = None, False
        name = self._handoff_base
        spec = HandoffSpec(tuple(self._joints), self._period_s, self._policy.spec.horizon)
        self._ring = ChunkRing.create(f"{name}.ring", spec)
        loop = live.begin(self._ring.inherited)
        source = ObservationSource(
            self._cameras,
            self._joint_input,
            self._units,
            self._p["camera_timeout"],
            self._p["joint_state_timeout"],
            self._spread,
        )
        seed = self._p["seed"]
        self._worker = InferenceWorker(
            self._policy,
            loop,
            self._ring,
            f"{name}.cursor",
            source,
            lambda: live.task,
            self._out.publish_chunk,
            None if seed < 0 else seed,
            live.costs,
        )
        self._worker.start()
        self._memory.begin()
        self._state_text = "active"
        self._out.publish_settings()
        self.get_logger().info(
            f"ready: H = {spec.horizon}, first forecast d = {loop.estimator.forecast()} steps"
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make no more chunks; the controller executes what it has, then holds."""
        self._end_worker()
        self._state_text = "configured, not active"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy."""
        self._forget_policy()
        self._state_text = "not configured"
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy after a transition that failed half way: unconfigured again."""
        self._forget_policy()
        self._state_text = "not configured: the last transition failed half way; see the log"
        self.get_logger().error(self._state_text)
        return TransitionCallbackReturn.SUCCESS

    def _forget_policy(self) -> None:
        self._end_worker()
        self._left = None  # what it still runs is another policy than the next
        self._policy = self._out.spec = None
        self._live.forget()
        give_back()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy, for good."""
        self._forget_policy()
        self._state_text = "shut down"
        return TransitionCallbackReturn.SUCCESS

    def _end_worker(self) -> None:
        if self._worker is not None and not self._worker.stop():
            self.get_logger().warning("an inference is still running; it will be thrown away")
            self._left, self.abandoned = self._worker, True
        if self._ring is not None:
            self._ring.close()
        self._worker, self._ring = None, None

    def close(self) -> None:
        """End the worker and the ring; the controller goes on with the actions it has."""
        if self._starting is not None:
            self._starting.join(timeout=1.0)
        end = time.monotonic() + 1.0
        while self._loading.is_set() and time.monotonic() < end:
            time.sleep(0.02)
        if self._loading.is_set() or (self._starting is not None and self._starting.is_alive()):
            self.get_logger().warning("the policy is still being loaded; leaving it")
            self.abandoned = True
            return
        self._end_worker()


def main() -> None:
    """Run the node until a signal asks to end."""
    run_node(InferenceNode, lambda: GuardedThreads(num_threads=3), "rtc_inference")


if __name__ == "__main__":
    leave_after(main)
