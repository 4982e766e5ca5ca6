"""The thread beside the executor: waits for its turn, runs the policy, writes the ring."""

from __future__ import annotations

import secrets
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import CursorState, Mode
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.inference.chunk_costs import ChunkCosts
from rtc_ros.inference.observation import Gathered, ObservationSource
from rtc_ros.policy.protocol import Guidance, Policy, PolicyResult
from rtc_ros.ros.provenance import ChunkSource

_POLL_S = 0.001
_NOT_YET_NS = 1
_RETRY_S = 0.2
_CURSOR_STALE_PERIODS = 25
_LOOK_S = 0.5
"""How often the inputs are looked at while nothing is asked for."""
_LOOK_MOVING_S = 1.0
"""The same while the arm moves: where chunks are asked for more often, by those looks alone."""


class InferenceWorker:
    """Runs Algorithm 1's inference half against the shared memory.

    Args:
        policy: makes the chunks.
        loop: decides when; its ``settings`` may be replaced at any time.
        ring: this process writes it.
        cursor_name: the controller's cursor, which may come and go.
        source: where observations come from.
        task: returns the sentence in effect.
        on_chunk: called with each written chunk, and the controller's limits.
        seed: noise seed of the first chunk, counted up from there; None for another one each
            time the node starts.
        costs: gets to know where each chunk's time went.
    """

    def __init__(
        self,
        policy: Policy,
        loop: InferenceLoop,
        ring: ChunkRing,
        cursor_name: str,
        source: ObservationSource,
        task: Callable[[], str],
        on_chunk: Callable[[ActionChunk, InferenceRequest, ChunkSource, JointLimits], None],
        seed: int | None = None,
        costs: ChunkCosts | None = None,
    ) -> None:
        self.loop = loop
        self.counts: Counter[str] = Counter()
        self.waiting_for = "the controller"
        self.hindered = False
        """Whether ``waiting_for`` is something that ought to be there."""
        self.odd_pose = ""
        """What was odd about the pose when the gate was closed."""
        self.running_since_ns = 0
        """When the inference that runs began; 0: none runs."""
        self.failure = ""
        self.last_request: InferenceRequest | None = None
        self.last_result: PolicyResult | None = None
        self.last_duration_s = 0.0
        self.limits: JointLimits | None = None
        self._policy = policy
        self._ring = ring
        self._cursor_name = cursor_name
        self._cursor: StepCursor | None = None
        self._spec = HandoffSpec(ring.spec.joint_names, ring.spec.control_period_s)
        self._source = source
        self._task = task
        self._on_chunk, self._costs = on_chunk, costs
        # Never unknown: with it and its observation a recorded chunk can be made again.
        self._seed = secrets.randbits(31) if seed is None else seed
        self._looked_at_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._ring.say_ready(_NOT_YET_NS)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs, with the policy."""
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Ask for the end and wait for it; False if an inference is still running."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause_s = self._once()
                if not pause_s:
                    self.failure = ""
            except Exception as error:  # noqa: BLE001 - whatever it is, the arm holds and we say so
                self.counts["failures"] += 1
                if not self.failure:  # the first of those in a row
                    traceback.print_exc()
                self.failure = f"inference failed: {type(error).__name__}: {error}"
                pause_s = _RETRY_S
            self._stop.wait(pause_s)
        if self._cursor is not None:
            self._cursor.close()

    def _once(self) -> float:
        """Run one inference if one is due; return how long to wait before the next look [s]."""
        cursor = self._read_cursor()
        if cursor is None:
            return _POLL_S if self._cursor is not None else _RETRY_S
        request = self.loop.next_request(cursor)
        if request is None:
            self._await_turn(cursor.mode)
            return _POLL_S
        gathered, problem = self._look()
        if gathered is None:
            self._wait_for(problem)
            return 10 * _POLL_S
        if request.settings.anchor == "observation":
            taken = cursor.step_at(gathered.oldest_image_ns, self._spec.control_period_s)
            request = self.loop.next_request(cursor, taken) or request
        self._wait_for("the running inference", hindered=False)
        self.running_since_ns = time.monotonic_ns()
        try:
            self._infer(request, gathered, cursor)
        finally:
            self.running_since_ns = 0
        return 0.0

    def _await_turn(self, mode: Mode) -> None:
        """Say whose turn it is; while the gate is closed also what a chunk would lack."""
        problem = ""
        if mode in (Mode.STOPPED, Mode.LATCHED):
            if time.monotonic() < self._looked_at_s + _LOOK_S:
                return
            gathered, problem = self._look()
            self.odd_pose = "" if gathered is None else self._source.odd(gathered.observation)
        elif time.monotonic() > self._looked_at_s + _LOOK_MOVING_S:
            self._look()
        turn = f"its turn (the controller is {mode.name})"
        self._wait_for(f"{problem}, and for {turn}" if problem else turn, hindered=bool(problem))

    def _look(self) -> tuple[Gathered | None, str]:
        """Gather an observation; tell the controller that it could be one, or what is missing."""
        gathered, problem = self._source.gather(self._task())
        self._looked_at_s = time.monotonic()
        self._ring.say_hindrance(problem)
        if gathered is not None:
            # Nobody looks while the policy runs: it is believed for as long as it ran last.
            runs_ns = round(self.last_duration_s * 1e9)
            self._ring.say_ready(time.monotonic_ns() + runs_ns)
        return gathered, problem

    def _wait_for(self, what: str, *, hindered: bool = True) -> None:
        self.waiting_for, self.hindered = what, hindered

    def _read_cursor(self) -> CursorState | None:
        try:
            if self._cursor is None:
                self._cursor = StepCursor.attach_or_none(self._cursor_name, self._spec)
            if self._cursor is None:
                self._wait_for("the controller: it has not made its step cursor yet")
                return None
            state = self._cursor.read()
        except HandoffError as error:
            self._wait_for(str(error))
            self._cursor = None
            return None
        if state is None:
            self._wait_for("the controller's first tick")
            return None
        silent_s = (time.monotonic_ns() - state.tick_ns) * 1e-9
        if silent_s < 0:  # or it would count as alive until then, whoever wrote it
            self._wait_for(
                f"the controller: by its step cursor it ticked {-silent_s:.1f} s in the future. "
                "Run both nodes on one machine and CLOCK_MONOTONIC, without a time namespace "
                "between them; a cursor from before a reboot goes when rtc_controller starts"
            )
            return None
        if silent_s > _CURSOR_STALE_PERIODS * self._spec.control_period_s:
            self._wait_for(f"the controller: it has not ticked for {silent_s:.1f} s")
            return None
        return state

    def _infer(self, request: InferenceRequest, gathered: Gathered, cursor: CursorState) -> None:
        start_ns = time.monotonic_ns()
        settings, units = request.settings, self._source.units.actions
        prev = None if request.prev is None else units.to_policy(request.prev)
        guidance = Guidance.of(settings, prev, request.weights)
        seed = self._seed + self.counts["chunks"]
        result = self._policy.infer(
            gathered.observation, guidance, num_steps=settings.num_steps or None, seed=seed
        )
        if settings.inject_latency_ms > 0:
            self._stop.wait(settings.inject_latency_ms * 1e-3)
        end_ns = time.monotonic_ns()
        made = ActionChunk(
            self.loop.blended(units.to_robot(result.actions), request),
            request.origin_step,
            step_epoch=request.step_epoch,
            rows=request.rows,
            delay=request.horizons.delay,
            stride=request.horizons.stride,
            guided=guidance is not None,
            observation_ns=gathered.oldest_image_ns,
            start_ns=start_ns,
            end_ns=end_ns,
        )
        now = self._read_cursor()
        if now is not None:
            self.loop.look(now)
        chunk = self._ring.write(made)
        self.loop.wrote(chunk, request)
        self.counts["chunks"] += 1
        self.counts["over budget"] += request.continues and request.horizons.over_budget
        self.counts["beyond training"] += request.cut(self.loop.trained_delay) > 0
        self.last_request, self.last_result = request, result
        if self._costs is not None:
            self._costs.saw(settings, guidance is not None, result.durations_s)
        self.last_duration_s = (end_ns - start_ns) * 1e-9
        self.limits = cursor.limits
        self._source.expect(self.limits.bounded_speed(self._spec.control_period_s))
        source = ChunkSource(
            seed,
            request.start_step,
            request.previous,
            cursor.velocity_scale,
            settings,
            gathered.image_stamps,
            gathered.joint_stamps,
            gathered.observation.task,
            cursor.points,
            cursor.motion,
        )
        self._on_chunk(chunk, request, source, self.limits)
